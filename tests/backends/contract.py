"""The contract of `acp_broker/contract.py` as tests: every kind of backend must pass them all.

A kind's test class inherits `BackendContract`, or `TurnContract` where it has no runtime that lives by itself, and says
how one of its backends is opened whose runtime plays a script of docs/scripted.md. The runtime may be anything that
can play it: the script in process, a child, a fake provider.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import anyio
import pytest

from acp_broker.contract import Backend, CancelAsked
from acp_broker.core.failures import FailureKind
from acp_broker.errors import BackendFailure, RpcError
from tests.support.apis import Api
from tests.support.client import DEADLINE_S, FakeClient, FakeTools, plain, raw, setup, turn

Script = Mapping[str, object]

ANSWERS = {"turns": [[{"do": "say", "text": "one "}, {"do": "say", "text": "two "}, {"do": "say", "text": "three"}]]}
COUNTS = {"turns": [[{"do": "say", "text": "first"}], [{"do": "say", "text": "second"}]]}
WAITS_THEN_ANSWERS = {"turns": [[{"do": "say", "text": "wait"}, {"do": "stall"}], [{"do": "say", "text": "again"}]]}
FAILS = {"turns": [[{"do": "fail", "code": -32000, "message": "Authentication required"}]]}
ASKS = {"turns": [[{"do": "askPermission"}, {"do": "sayAnswer"}]]}
DIES = {"turns": [[{"do": "say", "text": "last words"}, {"do": "die"}]]}
SPEAKS_LATE = {
    "turns": [
        [{"do": "say", "text": "answer"}, {"do": "lateUpdates", "steps": [{"do": "note", "info": {"title": "T"}}]}]
    ]
}
HAS_MODES = {
    "modes": {"currentModeId": "ask", "availableModes": [{"id": "ask", "name": "Ask"}, {"id": "code", "name": "Code"}]},
    "calls": {"_test/ping": [{"do": "answer", "result": {"pong": True}}]},
}


class TurnContract:
    """What holds for every kind. Inherit as `class TestX(TurnContract)` and define `open`; `tools` has a setup whose
    cwd exists."""

    pytestmark = pytest.mark.anyio

    def open(self, script: Script, tools: FakeTools) -> AbstractAsyncContextManager[Backend]:
        raise NotImplementedError

    @pytest.fixture
    def tools(self, tmp_path) -> FakeTools:
        return FakeTools(setup=setup(str(tmp_path)))

    @pytest.fixture
    def client(self) -> FakeClient:
        return FakeClient()

    async def test_updates_are_shown_in_the_order_in_which_the_runtime_said_them(self, tools, client):
        """A frontend concatenates chunks: another order is another answer."""
        async with self._opened(ANSWERS, tools) as backend:
            await backend.run(turn(), client)

        assert "".join(client.texts) == "one two three"

    async def test_everything_is_shown_before_run_returns(self, tools, client):
        """The end of the turn must not overtake its words."""
        async with self._opened(ANSWERS, tools) as backend:
            await backend.run(turn(), client)
            shown_at_the_end = "".join(client.texts)

        assert shown_at_the_end == "one two three"

    async def test_an_error_of_the_runtime_is_a_failure_with_a_kind(self, tools, client):
        """The machine decides by kind what is tried next."""
        async with self._opened(FAILS, tools) as backend:
            with pytest.raises(BackendFailure) as raised:
                await backend.run(turn(), client)

        assert raised.value.failure.kind == FailureKind.AUTH_MISSING

    async def test_a_turn_that_is_asked_to_end_returns_soon(self, tools, client):
        """ACP v1, prompt-turn, "Cancellation": the agent stops as soon as possible."""
        asked = CancelAsked()
        async with self._opened(WAITS_THEN_ANSWERS, tools) as backend, anyio.create_task_group() as tasks:
            tasks.start_soon(self._cancel_politely, client, asked)
            finished = await backend.run(turn(cancel_asked=asked), client)

        assert finished.stop_reason == "cancelled"

    async def test_a_turn_that_was_asked_to_end_before_it_began_ends(self, tools, client):
        """A cancel may arrive while the backend still opens."""
        asked = CancelAsked()
        asked.set()
        async with self._opened(WAITS_THEN_ANSWERS, tools) as backend:
            finished = await backend.run(turn(cancel_asked=asked), client)

        assert finished.stop_reason == "cancelled"

    async def test_a_cancelled_run_shows_nothing_any_more(self, tools, client):
        """Cancelled means gone: two attempts never act at the same time."""
        script = {"turns": [[{"do": "say", "text": "a"}, {"do": "repeat", "steps": [{"do": "say", "text": "b"}]}]]}
        async with self._opened(script, tools) as backend:
            await self._cancel_when_it_speaks(backend, client)
            shown = len(client.updates)
            await anyio.wait_all_tasks_blocked()

            assert shown == len(client.updates)

    async def test_after_a_cancelled_run_the_backend_runs_again_or_is_gone(self, tools, client):
        """Nothing between the two: a runtime still busy with a turn that nobody waits for would mix two answers."""
        async with self._opened(WAITS_THEN_ANSWERS, tools) as backend:
            await self._cancel_when_it_speaks(backend, client)
            again = FakeClient()
            try:
                await backend.run(turn(), again)
            except BackendFailure:
                await backend.gone()
            else:
                assert again.texts == ["again"]

    async def test_a_new_backend_opens_after_one_whose_run_was_cancelled(self, tools, client):
        """A cancelled attempt leaves no lock, port or file that stands in the way of the next."""
        async with self._opened(WAITS_THEN_ANSWERS, tools) as backend:
            await self._cancel_when_it_speaks(backend, client)
        again = FakeClient()
        async with self._opened(ANSWERS, tools) as backend:
            await backend.run(turn(), again)

        assert "".join(again.texts) == "one two three"

    async def test_two_turns_are_turns_of_one_session(self, tools, client):
        """The runtime remembers: only what it has not seen is handed over to it."""
        async with self._opened(COUNTS, tools) as backend:
            await backend.run(turn(), client)
            await backend.run(turn(), client)

        assert client.texts == ["first", "second"]

    async def test_words_said_before_a_death_are_shown(self, tools, client):
        """What the runtime wrote before it died is still in the pipe, and counts as output."""
        async with self._opened(DIES, tools) as backend:
            with pytest.raises(BackendFailure):
                await backend.run(turn(), client)

        assert client.texts == ["last words"]

    async def test_the_phases_of_opening_come_in_order(self, tools):
        """Each phase has a limit of its own."""
        async with self._opened(ANSWERS, tools):
            pass

        assert tools.phases == ["starting", "opening"]

    async def test_submitted_is_said_before_anything_is_shown(self, tools, client):
        """Under the commit point `submitted` nobody re-runs a prompt that a runtime may have read."""
        async with self._opened(ANSWERS, tools) as backend:
            await backend.run(turn(), client)

        assert (client.story[0], len(client.phases)) == (("reached", "submitted"), 1)

    async def test_a_backend_without_a_session_only_introduces_itself(self, tmp_path):
        """Before the first session a frontend is told what the primary can do, and nothing more is started."""
        tools = FakeTools()
        async with self._opened(ANSWERS, tools) as backend:
            introduced = plain(backend.about.initialized)

        assert (introduced.get("protocolVersion"), tools.phases) == (1, ["starting"])

    async def test_a_method_that_the_runtime_does_not_know_is_method_not_found(self, tools):
        """ACP v1, extensibility: an unknown request is answered with -32601."""
        async with self._opened(HAS_MODES, tools) as backend:
            with pytest.raises(RpcError) as raised:
                await backend.call("_test/unknown", {})

        assert raised.value.code == -32601

    @asynccontextmanager
    async def _opened(self, script: Script, tools: FakeTools) -> AsyncIterator[Backend]:
        with anyio.fail_after(DEADLINE_S):
            async with self.open(script, tools) as backend:
                yield backend

    async def _cancel_politely(self, client: FakeClient, asked: CancelAsked) -> None:
        await client.until(lambda heard: bool(heard.updates))
        asked.set()

    async def _cancel_when_it_speaks(self, backend: Backend, client: FakeClient) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(backend.run, turn(), client)
            await client.until(lambda heard: bool(heard.updates))
            tasks.cancel_scope.cancel()


class ApiContract(TurnContract):
    """Of a kind that asks a provider: the script is played by a server that speaks its `api`."""

    api: Api

    @asynccontextmanager
    async def open(self, script: Script, tools: FakeTools) -> AsyncIterator[Backend]:
        async with self.api.played(script.get("turns", [[]]), tools) as (backend, _):
            yield backend


class BackendContract(TurnContract):
    """What holds for runtimes beside: they ask, can die, have methods of their own and speak between turns."""

    async def test_a_finished_turn_carries_the_runtimes_own_answer(self, tools, client):
        """Usage and `_meta` pass on to the frontend as they came."""
        script = {"turns": [[{"do": "say", "text": "x"}, {"do": "end", "stopReason": "max_tokens", "meta": {"a": 1}}]]}
        async with self._opened(script, tools) as backend:
            finished = await backend.run(turn(), client)

        assert (finished.stop_reason, plain(finished.answer).get("_meta")) == ("max_tokens", {"a": 1})

    async def test_the_answer_to_a_request_goes_back_to_the_runtime(self, tools):
        """A permission that is granted must reach who asked for it."""
        allow = {"outcome": {"outcome": "selected", "optionId": "allow"}}
        client = FakeClient(replies={"session/request_permission": allow})
        async with self._opened(ASKS, tools) as backend:
            await backend.run(turn(), client)

        assert client.texts == ["allow"]

    async def test_a_request_may_be_answered_later(self, tools, client):
        """People think: the runtime waits for as long as they do."""
        async with self._opened(ASKS, tools) as backend, anyio.create_task_group() as tasks:
            tasks.start_soon(partial(self._answer, client, {"outcome": {"outcome": "selected", "optionId": "reject"}}))
            await backend.run(turn(), client)

        assert client.texts == ["reject"]

    async def test_an_error_as_answer_goes_back_to_the_runtime_too(self, tools):
        """Clients exist that answer a permission request with -32601: the runtime must not wait for ever."""
        client = FakeClient(replies={"session/request_permission": RpcError(-32601, "Method not found")})
        async with self._opened(ASKS, tools) as backend:
            finished = await backend.run(turn(), client)

        assert finished.stop_reason == "end_turn"

    async def test_a_runtime_that_dies_in_a_turn_is_a_crash(self, tools, client):
        """A dead runtime is not a finished turn."""
        async with self._opened(DIES, tools) as backend:
            with pytest.raises(BackendFailure) as raised:
                await backend.run(turn(), client)

        assert raised.value.failure.kind == FailureKind.CRASHED

    async def test_gone_tells_why_the_runtime_died(self, tools, client):
        """The session must learn of a death between turns too, and its log wants the reason."""
        async with self._opened(DIES, tools) as backend:
            with pytest.raises(BackendFailure):
                await backend.run(turn(), client)
            why = await backend.gone()

        assert "SIGKILL" in why

    async def test_a_dead_runtime_fails_every_further_turn(self, tools, client):
        """A turn given to a corpse must fail over, not hang."""
        async with self._opened(DIES, tools) as backend:
            with pytest.raises(BackendFailure):
                await backend.run(turn(), client)
            with pytest.raises(BackendFailure):
                await backend.run(turn(), client)

    async def test_what_comes_after_the_answer_belongs_to_no_attempt(self, tools, client):
        """A late title must reach the session, and must not speak for a turn that has its answer."""
        async with self._opened(SPEAKS_LATE, tools) as backend:
            await backend.run(turn(), client)
            await tools.between.until(lambda between: "session_info_update" in kinds(between))

        assert "session_info_update" not in kinds(client)

    async def test_a_call_is_answered_by_the_runtime(self, tools):
        """Extension methods are the runtime's own business."""
        async with self._opened(HAS_MODES, tools) as backend:
            answer = await backend.call("_test/ping", {})

        assert plain(answer) == {"pong": True}

    async def test_a_call_for_the_session_reaches_the_runtimes_own(self, tools):
        """Session ids are ours; the runtime knows only its own."""
        async with self._opened(HAS_MODES, tools) as backend:
            await backend.call("session/set_mode", {"sessionId": raw("session-of-the-broker"), "modeId": raw("code")})
            await tools.between.until(lambda between: "current_mode_update" in kinds(between))

    async def test_a_call_that_the_runtime_refuses_raises_its_error(self, tools):
        """The frontend is told what the runtime said, not that something failed."""
        async with self._opened(HAS_MODES, tools) as backend:
            with pytest.raises(RpcError) as raised:
                await backend.call("session/set_mode", {"sessionId": raw("x"), "modeId": raw("nowhere")})

        assert raised.value.code == -32602

    async def _answer(self, client: FakeClient, result: object) -> None:
        await client.until(lambda heard: bool(heard.questions))
        client.questions[0].answer(result)


def kinds(client: FakeClient) -> list[str]:
    return [update.kind for update in client.updates]
