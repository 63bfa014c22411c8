"""Every text of the corpora through a whole broker: honest answers arrive, failures never do."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from acp_broker.contract import Finished
from acp_broker.core.names import BackendId, Candidate, StopReason
from acp_broker.wire.acp import Update, message
from tests.support import corpora
from tests.support.harness import Editor, House, house, is_update
from tests.support.player import Player

pytestmark = pytest.mark.anyio

T = TypeVar("T")

_RETRIES = [message("Retrying (attempt 1/2, waiting 0s)..."), message("Retry finished, resuming.")]


def whole(text: str) -> list[Update]:
    return [message(text)]


def halves(text: str) -> list[Update]:
    middle = (len(text) + 1) // 2
    return [message(text[:middle]), message(text[middle:])]


def after_retries(text: str) -> list[Update]:
    return [*_RETRIES, message(text)]


def with_a_newline(text: str) -> list[Update]:
    return [message(f"{text}\n")]


def in_bold(text: str) -> list[Update]:
    return [message(f"**{text}**")]


WAYS = [whole, halves, after_retries, with_a_newline, in_bold]
ENDS: list[tuple[object, StopReason]] = [*((way, "end_turn") for way in WAYS), (whole, "refusal")]


class Stage:
    """A broker with a primary that plays what it is told, and a spare that says so."""

    def __init__(self, home: House, editor: Editor, primary: Player) -> None:
        self._home, self._editor, self._primary = home, editor, primary

    async def play(self, updates: list[Update], reason: StopReason) -> tuple[str, list[str]]:
        """The words that arrived in a session of its own, and who was tried."""
        self._primary.plays, self._primary.end = updates, Finished(reason)
        turn = await self._editor.prompt(session := await self._editor.new())
        await self._editor.call("session/close", sessionId=session)
        # No text may find the primary resting for the one before it.
        self._home.broker.chain.served(Candidate(BackendId("primary")))
        said = [message["params"]["update"] for message in turn.heard if is_update(message)]
        return "".join(one["content"]["text"] for one in said), turn.attempts


def _parts(texts: list[T]) -> Iterator[list[T]]:
    """So many at a time as a broker on a busy machine is done with before the harness takes it for hung."""
    yield from (texts[start : start + 50] for start in range(0, len(texts), 50))


@asynccontextmanager
async def staged(path: Path) -> AsyncIterator[Stage]:
    primary, spare = Player(), Player()
    spare.plays = [message("spare")]
    async with house(path, primary=primary.open, spare=spare.open) as home:
        yield Stage(home, await home.editor(), primary)


@pytest.mark.parametrize(("way", "reason"), ENDS)
async def test_no_honest_answer_is_taken_for_a_failure(tmp_path, way, reason):
    """False alarms are as bad as misses: somebody has paid for these words, and waits for them."""
    lost = []

    for number, some in enumerate(_parts(corpora.honest())):
        async with staged(tmp_path / str(number)) as stage:
            for one in some:
                words, attempts = await stage.play(way(one.text), reason)
                if attempts != ["primary"] or one.text not in words:
                    lost.append((one.text, attempts))

    assert [] == lost


@pytest.mark.parametrize(("way", "reason"), ENDS)
async def test_no_failure_is_taken_for_an_answer(tmp_path, way, reason):
    """Not one word of it may arrive, and somebody else answers."""
    shown = []

    for number, some in enumerate(_parts(corpora.failing())):
        async with staged(tmp_path / str(number)) as stage:
            for one in some:
                words, attempts = await stage.play(way(one.text), reason)
                expected = "" if one.kind == "context_overflow" else "spare"
                if (expected, f"primary {one.kind}") != (words, attempts[0]):
                    shown.append((one.text, words, attempts))

    assert [] == shown


async def test_every_error_is_told_for_what_it_is_and_somebody_else_answers(tmp_path):
    """As JSON-RPC errors, in every shape that agents were seen to send."""
    errors = corpora.errors()
    fails = [[{"do": "fail", **_members(one)}] for one in errors]
    told = []
    async with house(tmp_path, primary={"turns": fails}, spare={"turns": [[{"do": "say", "text": "spare"}]]}) as home:
        editor = await home.editor()
        session = await editor.new()
        for _ in errors:
            turn = await editor.prompt(session)
            home.broker.chain.served(Candidate(BackendId("primary")))
            told.append(turn.attempts)

    # Of a request that is malformed nobody knows here whether another agent would have written it.
    ends = {"bad_request": [], "context_overflow": []}
    assert [[f"primary {one.kind}", *ends.get(one.kind, ["spare"])] for one in errors] == told


def _members(one: corpora.Failing) -> dict[str, object]:
    assert one.rpc is not None
    data = {} if one.rpc.data is None else {"data": one.rpc.data}
    return {"code": one.rpc.code, "message": one.rpc.message, **data}
