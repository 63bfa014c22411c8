"""Whichever backend answers next knows what was said: what it has missed is handed over, and nothing twice."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from anyio import sleep_forever

from acp_broker.contract import About, Client, Finished, Tools, TurnRequest
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.errors import BackendFailure
from acp_broker.wire import acp
from tests.support.harness import house, runtime

pytestmark = pytest.mark.anyio


class Recorder:
    """A backend that keeps what it is given and answers with its name; `is_down` makes it fail.

    One that `comes_back` finds its session again by the id that it had given; another begins anew each time.
    """

    def __init__(self, name: str, *, comes_back: bool = False) -> None:
        self.name = name
        self.is_down = False
        self.fails_submitted = False
        self.answer: Finished = Finished("end_turn")
        self.prompts: list[list[str]] = []
        # What it was told that they hold.
        self.kinds: list[frozenset[str] | None] = []
        self.about = About()
        self._comes_back = comes_back

    @asynccontextmanager
    async def open(self, tools: Tools) -> AsyncIterator["Recorder"]:
        if self.is_down:
            raise BackendFailure(Failure(FailureKind.CRASHED, "down"))
        if self._comes_back and tools.remembered() is None:
            tools.remember(f"{self.name}-1")
        yield self

    async def run(self, turn: TurnRequest, client: Client) -> Finished:
        if self.is_down:
            raise BackendFailure(Failure(FailureKind.OVERLOADED, "busy"))
        client.reached("submitted")
        if self.fails_submitted:
            raise BackendFailure(Failure(FailureKind.SERVER_ERROR, "fell over"))
        self.prompts.append([text_of(block) for block in msgspec.json.decode(turn.prompt)])
        self.kinds.append(turn.kinds)
        client.show([acp.message(f"{self.name} answers", messageId=f"{self.name}-{len(self.prompts)}")])
        return self.answer

    async def gone(self) -> str:
        await sleep_forever()
        return ""

    def tell(self, method: str, params: object) -> None:
        """It hears nothing."""


def text_of(block: dict) -> str:
    return block["text"] if block["type"] == "text" else block["resource"]["text"]


def said(text: str) -> list[str]:
    """The lines of a handoff behind its opening words."""
    return [line for line in text.split("\n")[1:] if line]


def reopen(path: Path, session: str) -> dict:
    return {"sessionId": session, "cwd": str(path), "mcpServers": []}


async def test_a_fallback_is_told_what_the_primary_was(tmp_path):
    """The question and the answer, before the prompt."""
    a, b = Recorder("a"), Recorder("b")
    async with house(tmp_path, a=a.open, b=b.open) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session, "one")
        a.is_down = True
        await editor.prompt(session, "two")
    handed, prompt = b.prompts[0]

    assert (["[user]", "one", "[answer of a]", "a answers"], "two") == (said(handed), prompt)


async def test_a_backend_is_told_what_a_prompt_holds_unless_that_was_changed(tmp_path):
    """A prompt may be megabytes: it is not read again to find that out."""
    primary, spare = Recorder("primary"), Recorder("spare")
    async with house(tmp_path, primary=primary.open, spare=spare.open) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session, "one")
        primary.is_down = True
        await editor.prompt(session, "two")

    assert ([{"text"}], [None]) == (primary.kinds, spare.kinds)


async def test_a_backend_that_has_seen_it_all_is_handed_nothing(tmp_path):
    """Its own memory is enough."""
    a = Recorder("a")
    async with house(tmp_path, a=a.open) as home:
        editor = await home.editor()
        session = await editor.new()
        for text in ("one", "two", "three"):
            await editor.prompt(session, text)

    assert [["one"], ["two"], ["three"]] == a.prompts


async def test_the_primary_is_told_what_it_missed_when_it_is_back(tmp_path):
    """Only that: it remembers what it answered itself."""
    a, b = Recorder("a"), Recorder("b")
    async with house(tmp_path, a=a.open, b=b.open) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session, "one")
        a.is_down = True
        await editor.prompt(session, "two")
        a.is_down = False
        await home.clock.advance(31)
        await editor.prompt(session, "three")
    handed, prompt = a.prompts[1]

    assert (["[user]", "two", "[answer of b]", "b answers"], "three") == (said(handed), prompt)


async def test_nothing_is_handed_over_twice(tmp_path):
    """A fallback that serves on knows what it was told."""
    a, b = Recorder("a"), Recorder("b")
    async with house(tmp_path, a=a.open, b=b.open) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session, "one")
        a.is_down = True
        await editor.prompt(session, "two")
        await editor.prompt(session, "three")

    assert ["three"] == b.prompts[1]


async def test_a_prompt_that_it_was_given_is_handed_over_as_its_answer_alone(tmp_path):
    """It was submitted to the primary, which fell over; the fallback answered."""
    a, b = Recorder("a"), Recorder("b")
    async with house(tmp_path, a=a.open, b=b.open) as home:
        editor = await home.editor()
        session = await editor.new()
        a.fails_submitted = True
        await editor.prompt(session, "one")
        a.fails_submitted = False
        await home.clock.advance(31)
        await editor.prompt(session, "two")
    handed, prompt = a.prompts[0]

    assert (["[answer of b]", "b answers"], "two") == (said(handed), prompt)


async def test_so_it_is_by_the_next_broker(tmp_path):
    """The log says which prompts a runtime was given."""
    a, b = Recorder("a", comes_back=True), Recorder("b")
    async with house(tmp_path, a=a.open, b=b.open) as home:
        editor = await home.editor()
        session = await editor.new()
        a.fails_submitted = True
        await editor.prompt(session, "one")
        a.fails_submitted = False
    async with house(tmp_path, a=a.open, b=b.open) as home:
        editor = await home.editor()
        await editor.result("session/resume", **reopen(tmp_path, session))
        await home.clock.advance(31)
        await editor.prompt(session, "two")
    handed, prompt = a.prompts[0]

    assert (["[answer of b]", "b answers"], "two") == (said(handed), prompt)


async def test_what_was_refused_is_handed_to_nobody(tmp_path):
    """ACP v1, prompt-turn: a refused prompt is not part of the next."""
    a, b = Recorder("a"), Recorder("b")
    a.answer = Finished("refusal")
    async with house(tmp_path, a=a.open, b=b.open) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session, "one")
        a.is_down = True
        await editor.prompt(session, "two")

    assert [["two"]] == b.prompts


async def test_a_slash_command_stays_in_front(tmp_path):
    """An agent that finds it anywhere else takes it for words."""
    a, b = Recorder("a"), Recorder("b")
    async with house(tmp_path, a=a.open, b=b.open) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session, "one")
        a.is_down = True
        await editor.prompt(session, "/compact now")

    assert "/compact now" == b.prompts[0][0]


async def test_the_reply_says_how_much_was_handed_over(tmp_path):
    """Nothing is silent."""
    a, b = Recorder("a"), Recorder("b")
    async with house(tmp_path, a=a.open, b=b.open) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session, "one")
        a.is_down = True
        turn = await editor.prompt(session, "two")

    assert {"turns": 1, "leftOut": 0} == turn.told["handoff"]


async def test_a_backend_that_opens_anew_is_told_everything(tmp_path):
    """One that cannot come back to its session remembers nothing of it."""
    a = Recorder("a")
    async with house(tmp_path, a=a.open) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session, "one")
    async with house(tmp_path, a=a.open) as home:
        editor = await home.editor()
        await editor.result("session/resume", **reopen(tmp_path, session))
        await editor.prompt(session, "two")

    assert ["[user]", "one", "[answer of a]", "a answers"] == said(a.prompts[1][0])


async def test_a_backend_that_finds_its_session_again_is_told_nothing(tmp_path):
    """Its id is in the log: the next broker gives it back."""
    a = Recorder("a", comes_back=True)
    async with house(tmp_path, a=a.open) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session, "one")
    async with house(tmp_path, a=a.open) as home:
        editor = await home.editor()
        await editor.result("session/resume", **reopen(tmp_path, session))
        await editor.prompt(session, "two")

    assert [["one"], ["two"]] == a.prompts


async def test_three_turns_three_brokers_two_backends(tmp_path):
    """A fallback answers the second; the third returns to the primary: each is given what it had missed."""
    a, b = Recorder("a", comes_back=True), Recorder("b", comes_back=True)
    session = ""
    for number, text in enumerate(("one", "two", "three")):
        a.is_down = text == "two"
        async with house(tmp_path, a=a.open, b=b.open) as home:
            editor = await home.editor()
            if session:
                await editor.result("session/load", **reopen(tmp_path, session))
            session = session or await editor.new()
            # The one that was down in the broker before rests for a while in this one, too.
            await home.clock.advance(60 * number)
            await editor.prompt(session, text)

    first = ["[user]", "one", "[answer of a]", "a answers"]
    second = ["[user]", "two", "[answer of b]", "b answers"]
    assert ([first], [second]) == (
        [said(handed) for handed, _ in b.prompts],
        [said(prompts[0]) for prompts in a.prompts if len(prompts) == 2],
    )


async def test_who_was_cancelled_before_it_had_the_prompt_has_missed_what_was_before(tmp_path):
    """In the next broker too: it was about to be told of the second turn, and never was."""
    a, b = Recorder("a", comes_back=True), Recorder("b")
    session = ""
    for number, text in enumerate(("one", "two", "three", "four")):
        a.is_down = text == "two"
        async with house(tmp_path, a=_never_opens if text == "three" else a.open, b=b.open) as home:
            editor = await home.editor()
            if session:
                editor.request("session/load", **reopen(tmp_path, session))
            session = session or await editor.new()
            await home.clock.advance(60 * number)
            await editor.prompt(session, text)
            editor.cancel(session)
            await home.clock.advance(10)

    assert ["[user]", "two", "[answer of b]", "b answers"] == said(a.prompts[-1][0])


@asynccontextmanager
async def _never_opens(_tools: Tools) -> AsyncIterator[Recorder]:
    await sleep_forever()
    yield Recorder("")


async def test_a_changed_backend_is_told_everything(tmp_path):
    """Another model under the same name has not seen what the one before it did."""
    a = Recorder("a", comes_back=True)
    async with house(tmp_path, a=runtime("a", a.open, fingerprint="old")) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session, "one")
    async with house(tmp_path, a=runtime("a", a.open, fingerprint="new")) as home:
        editor = await home.editor()
        await editor.result("session/resume", **reopen(tmp_path, session))
        await editor.prompt(session, "two")

    assert [1, 2] == [len(prompt) for prompt in a.prompts]


async def test_the_log_keeps_the_prompt_as_it_came(tmp_path):
    """A handoff is for the backend: session/load replays what the person said."""
    a, b = Recorder("a"), Recorder("b")
    async with house(tmp_path, a=a.open, b=b.open) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session, "one")
        a.is_down = True
        await editor.prompt(session, "two")
        prompts = [record["prompt"] for record in home.records(session) if record["record"] == "accepted"]

    assert [[{"type": "text", "text": "one"}], [{"type": "text", "text": "two"}]] == json.loads(json.dumps(prompts))
