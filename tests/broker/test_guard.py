"""A bug, of ours or of a kind's module: our name on it, its traceback in the log, and the chain is not walked."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from msgspec import Raw

from acp_broker.broker import methods
from acp_broker.broker.guard import call, guarded
from acp_broker.contract import About, Backend, Client, Finished, Tools, TurnRequest
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.errors import BackendFailure, StoreError
from tests.support.harness import Log, house

pytestmark = pytest.mark.anyio

SPARE = {"turns": [[{"do": "say", "text": "spare"}]]}


async def test_what_a_backend_can_name_is_passed_on():
    """It is a failure of the backend's."""
    failure = Failure(FailureKind.CRASHED, "gone")

    async def work() -> None:
        raise BackendFailure(failure)

    assert failure == await guarded(work(), Log())


async def test_a_fault_of_our_disk_is_a_broker_fault():
    """A local fault never walks the chain."""

    async def work() -> None:
        raise StoreError("disk full")

    assert Failure(FailureKind.BROKER_FAULT, "disk full") == await guarded(work(), Log())


async def test_a_bug_leaves_its_traceback_in_the_log():
    """Without it nobody can repair it."""
    log = Log()

    async def work() -> None:
        raise KeyError("nobody thought of this")

    await guarded(work(), log)

    assert "in work" in log.of("broker_fault")[0]["traceback"]


def test_what_is_called_on_this_very_stack_is_guarded_alike():
    """A message is handled where it is read: its bug must not end the connection."""
    log = Log()

    def work(number: int) -> None:
        raise ValueError(number)

    text = "a fault of ACP Broker itself: ValueError(3); its log has the traceback"
    assert (Failure(FailureKind.BROKER_FAULT, text), 1) == (call(log, work, 3), len(log.of("broker_fault")))


def test_what_goes_well_is_no_failure():
    """None."""
    assert call(Log(), lambda: None) is None


class Buggy:
    """A kind with a bug in one place."""

    about = About()

    def __init__(self, place: str) -> None:
        self.place = place

    @asynccontextmanager
    async def open(self, tools: Tools) -> AsyncIterator[Backend]:
        self._fall("open")
        yield self
        self._fall("close")

    async def run(self, turn: TurnRequest, client: Client) -> Finished:
        client.reached("submitted")
        self._fall("run")
        return Finished("refusal", Raw(b'{"usage":{"totalTokens":1}}'))

    async def call(self, method: str, params: object) -> object:
        self._fall("call")
        raise AssertionError

    def tell(self, method: str, params: object) -> None:
        self._fall("tell")

    async def gone(self) -> str:
        await anyio.sleep_forever()
        return ""

    def _fall(self, place: str) -> None:
        if self.place == place:
            raise KeyError(place)


@pytest.mark.parametrize("place", ["open", "run"])
async def test_a_bug_in_a_kind_does_not_walk_the_chain(tmp_path, place):
    """Another backend might hide it for years."""
    async with house(tmp_path, primary=Buggy(place).open, spare=SPARE) as home:
        editor = await home.editor()
        turn = await editor.prompt(await editor.new())

    assert (-33004, ["primary broker_fault"]) == (turn.outcome, turn.attempts)


async def test_a_bug_in_a_kind_is_answered_where_it_was_called(tmp_path):
    """An extension request gets its answer."""
    async with house(tmp_path, primary=Buggy("call").open) as home:
        editor = await home.editor()
        session = await editor.new()
        answer = await editor.call("_x", sessionId=session)

    assert -33004 == answer["error"]["code"]


async def test_a_bug_of_ours_behind_a_request_is_answered(tmp_path, monkeypatch):
    """JSON-RPC 2.0: every request has its answer."""
    monkeypatch.setitem(methods.REQUESTS, "session/list", lambda *_: {}["a bug"])
    async with house(tmp_path, primary=SPARE) as home:
        answer = await (await home.editor()).call("session/list")

    text = "a fault of ACP Broker itself: KeyError('a bug'); its log has the traceback"
    assert {"code": -33004, "message": text} == answer["error"]


async def test_a_bug_behind_a_notification_does_not_end_the_connection(tmp_path):
    """A notification is never answered, but the next request is."""
    async with house(tmp_path, primary=Buggy("tell").open) as home:
        editor = await home.editor()
        session = await editor.new()
        editor.notify("_x", sessionId=session)
        answer = await editor.call("session/list")

    assert ("result" in answer, 1) == (True, len(home.log.of("broker_fault")))


async def test_a_bug_in_closing_does_not_end_the_broker(tmp_path):
    """The other sessions live on."""
    async with house(tmp_path, primary=Buggy("close").open) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.result("session/close", sessionId=session)
        turn = await editor.prompt(await editor.new())

    assert "refusal" == turn.outcome


async def test_a_bug_in_the_middle_of_a_step_still_ends_the_turn(tmp_path, monkeypatch):
    """One reply to each prompt, whatever happens."""
    async with house(tmp_path, is_whole=False, primary=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        monkeypatch.setattr(home.session(session), "voiced", lambda *_: {}["a bug"])
        turn = await editor.prompt(session)

    assert -33004 == turn.outcome


async def test_after_a_bug_in_a_step_nobody_else_is_started(tmp_path, monkeypatch):
    """The turn has its reply: what its attempt still does changes nothing any more."""
    async with house(tmp_path, is_whole=False, primary=SPARE, spare=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        with monkeypatch.context() as patch:
            patch.setattr(home.session(session), "voiced", lambda *_: {}["a bug"])
            turn = await editor.prompt(session)
        await home.clock.advance(60)
        spare = home.session(session).open_standby("spare")

    assert (1, None) == (len(editor.replies(turn.request)), spare)


async def test_after_a_bug_the_next_prompt_is_answered(tmp_path, monkeypatch):
    """The session is not lost."""
    async with house(tmp_path, is_whole=False, primary=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        with monkeypatch.context() as patch:
            patch.setattr(home.session(session), "voiced", lambda *_: {}["a bug"])
            await editor.prompt(session)
        turn = await editor.prompt(session)

    assert ["say spare"] == turn.words


async def test_after_a_bug_in_an_attempt_the_next_one_is_run(tmp_path):
    """One task runs all attempts of a session: it must not end with one of them."""

    class Broken:
        async def run(self, _scope) -> None:
            raise ValueError("nobody thought of this")

        def over(self, _outcome) -> None:
            raise ValueError("nor of that")

    async with house(tmp_path, primary=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        home.session(session).attempts.put_nowait(Broken())
        turn = await editor.prompt(session)

    assert (["say spare"], 2) == (turn.words, len(home.log.of("broker_fault")))


async def test_a_bug_beside_the_turns_ends_no_session(tmp_path, monkeypatch):
    """One session's close goes wrong; whoever works in another must not notice."""
    async with house(tmp_path, faulty_tasks=1, primary=SPARE) as home:
        editor = await home.editor()
        first, second = await editor.new(), await editor.new()
        monkeypatch.setattr(home.session(first), "standbys_closed", _wrong)
        editor.request("session/close", sessionId=first)
        turn = await editor.prompt(second)

    assert ["say spare"] == turn.words


async def _wrong() -> None:
    raise RuntimeError("nobody thought of this")
