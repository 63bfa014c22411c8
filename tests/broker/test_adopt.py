"""What the operator decides anew, while sessions and turns are there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from acp_broker.broker.runtime import Runtime
from acp_broker.contract import Backend, Tools
from acp_broker.core.turnrules import Limits
from tests.support.clock import settled
from tests.support.harness import house, runtime

pytestmark = pytest.mark.anyio

ALIVE = {"capabilities": {"loadSession": True}}


def says(text: str, **members: object) -> dict:
    return {"turns": [[{"do": "say", "text": text}]], **members}


def waits(*then: dict) -> dict:
    """Shows nothing for a second."""
    return {"turns": [[{"do": "stall", "ms": 1000}, *then], [{"do": "say", "text": "again"}]]}


DIES_LATE = waits({"do": "die"})


class Doors:
    """Notes who opens and who is gone, in order: `+spare`, `-spare`."""

    def __init__(self) -> None:
        self.noted: list[str] = []

    def runtime(self, name: str, script: dict, **members: object) -> Runtime:
        return runtime(name, partial(self._open, runtime(name, script), members.get("fingerprint", name)), **members)

    @asynccontextmanager
    async def _open(self, real: Runtime, label: object, tools: Tools) -> AsyncIterator[Backend]:
        async with real.open(tools) as backend:
            if tools.setup is None:  # to introduce itself
                yield backend
                return
            self.noted.append(f"+{label}")
            try:
                yield backend
            finally:
                self.noted.append(f"-{label}")


# --- which turn goes by what


async def test_the_next_turn_walks_the_new_chain(tmp_path):
    """That is what it was edited for."""
    async with house(tmp_path, primary=says("old")) as home:
        editor = await home.editor()
        session = await editor.new()
        await home.adopt(other=says("new"), primary=says("old"))
        turn = await editor.prompt(session)

    assert ["other"] == turn.attempts


async def test_a_running_turn_fails_over_along_the_chain_it_was_accepted_with(tmp_path):
    """Even to a backend that is there no more: its log says that it would."""
    async with house(tmp_path, primary=DIES_LATE, spare=says("spare")) as home:
        editor = await home.editor()
        session = await editor.new()
        turn = editor.start(session)
        await settled()
        await home.adopt(primary=DIES_LATE, other=says("other"))
        await home.clock.advance(1)

    assert ["primary crashed", "spare"] == turn.attempts


async def test_a_turn_that_was_accepted_before_finds_a_changed_backend_as_it_was(tmp_path):
    """What was decided for the next turn must not reach into this one."""
    async with house(tmp_path, primary=DIES_LATE, spare=says("as it was")) as home:
        editor = await home.editor()
        session = await editor.new()
        turn = editor.start(session)
        await settled()
        await home.adopt(primary=DIES_LATE, spare=runtime("spare", says("as it is"), fingerprint="anew"))
        await home.clock.advance(1)

    assert ["say as it was"] == turn.words


async def test_a_prompt_that_waited_is_run_by_what_holds_when_it_begins(tmp_path):
    """It is accepted then: its record in the log holds the chain."""
    primary = waits({"do": "say", "text": "first"})
    async with house(tmp_path, primary=primary) as home:
        editor = await home.editor()
        session = await editor.new()
        editor.start(session)
        second = editor.start(session)
        await settled()
        await home.adopt(other=says("new"), primary=primary)
        await home.clock.advance(1)

    assert ["other"] == second.attempts


async def test_limits_hold_from_the_next_turn(tmp_path):
    """A running turn keeps the time it was given."""
    slow = {"turns": [[{"do": "stall", "ms": 5000}, {"do": "say", "text": "at last"}]]}
    async with house(tmp_path, limits=Limits(first_output=10.0), primary=slow, spare=says("spare")) as home:
        editor = await home.editor()
        one, two = await editor.new(), await editor.new()
        running = editor.start(one)
        await settled()
        await home.adopt(limits=Limits(first_output=2.0), primary=slow, spare=says("spare"))
        after = editor.start(two)
        await home.clock.advance(6)

    assert (["primary"], ["primary silent", "spare"]) == (running.attempts, after.attempts)


async def test_a_turn_tells_of_itself_as_was_decided_when_it_was_accepted(tmp_path):
    """`acp.notice`, with the rest of its plan."""
    primary = waits({"do": "say", "text": "done"})
    async with house(tmp_path, primary=primary) as home:
        editor = await home.editor()
        session = await editor.new()
        turn = editor.start(session)
        await settled()
        await home.adopt(policy={"notice": "off"}, primary=primary)
        await home.clock.advance(1)
        after = await editor.prompt(session)

    assert (True, False) == tuple("acp-broker" in one.reply["result"].get("_meta", {}) for one in (turn, after))


async def test_a_longer_queue_is_there_at_once(tmp_path):
    """It belongs to no turn."""
    primary = waits({"do": "say", "text": "done"})
    async with house(tmp_path, policy={"queued_prompts": 0}, primary=primary) as home:
        editor = await home.editor()
        session = await editor.new()
        editor.start(session)
        refused = await editor.prompt(session)
        await home.adopt(policy={"queued_prompts": 1}, primary=primary)
        queued = await editor.prompt(session)
        await home.clock.advance(1)

    assert (-33003, "end_turn") == (refused.outcome, queued.outcome)


# --- who is open


async def test_a_backend_that_has_not_changed_stays_open(tmp_path):
    """Its agent remembers the session."""
    doors = Doors()
    async with house(tmp_path, primary=doors.runtime("primary", ALIVE), spare=says("spare")) as home:
        await (await home.editor()).new()
        await home.adopt(primary=doors.runtime("primary", ALIVE), other=says("other"))
        noted = tuple(doors.noted)

    assert ("+primary",) == noted


async def test_a_changed_primary_is_opened_anew_once_the_old_one_is_gone(tmp_path):
    """Two agents never hold one session at once."""
    doors = Doors()
    async with house(tmp_path, primary=doors.runtime("primary", ALIVE, fingerprint="a")) as home:
        await (await home.editor()).new()
        await home.adopt(primary=doors.runtime("primary", ALIVE, fingerprint="b"))
        noted = tuple(doors.noted)

    assert ("+a", "-a", "+b") == noted


async def test_a_changed_backend_is_kept_until_its_turn_is_over(tmp_path):
    """It drains."""
    doors, script = Doors(), waits({"do": "say", "text": "done"})
    async with house(tmp_path, primary=doors.runtime("primary", script, fingerprint="a")) as home:
        editor = await home.editor()
        turn = editor.start(await editor.new())
        await settled()
        await home.adopt(primary=doors.runtime("primary", script, fingerprint="b"))
        during = tuple(doors.noted)
        await home.clock.advance(1)
        after = tuple(doors.noted)

    assert (("+a",), ("+a", "-a", "+b"), ["say done"]) == (during, after, turn.words)


async def test_a_removed_backend_is_closed_when_it_is_idle(tmp_path):
    """Nobody will ask it again."""
    doors = Doors()
    primary = {"turns": [[{"do": "fail", "message": "overloaded"}]]}
    async with house(tmp_path, primary=primary, spare=doors.runtime("spare", says("spare"))) as home:
        editor = await home.editor()
        await editor.prompt(await editor.new())
        await home.adopt(primary=primary)
        noted = tuple(doors.noted)

    assert ("+spare", "-spare") == noted


async def test_a_removed_backend_that_a_running_turn_still_needed_is_closed_behind_it(tmp_path):
    """It was started for that turn alone."""
    doors = Doors()
    async with house(tmp_path, primary=DIES_LATE, spare=doors.runtime("spare", says("spare"))) as home:
        editor = await home.editor()
        editor.start(await editor.new())
        await settled()
        await home.adopt(primary=DIES_LATE)
        await home.clock.advance(1)
        noted = tuple(doors.noted)

    assert ("+spare", "-spare") == noted


async def test_a_backend_that_comes_back_is_opened_as_it_is_now(tmp_path):
    """Removed, then written again: what the session has of it is from before."""
    primary = {"turns": [[{"do": "fail", "message": "invalid"}]]}
    async with house(tmp_path, primary=primary, spare=says("as it was")) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session)
        await home.adopt(primary=primary)
        await home.adopt(primary=primary, spare=runtime("spare", says("as it is"), fingerprint="anew"))
        turn = await editor.prompt(session)

    assert ["say as it is"] == turn.words


async def test_a_sleeping_session_is_not_woken(tmp_path):
    """A thousand closed sessions must not start a thousand agents because of one edit."""
    doors = Doors()
    async with house(tmp_path, primary=doors.runtime("primary", ALIVE, fingerprint="a")) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.result("session/close", sessionId=session)
        await home.adopt(primary=doors.runtime("primary", ALIVE, fingerprint="b"))
        noted = tuple(doors.noted)

    assert ("+a", "-a") == noted


async def test_a_sleeping_sessions_log_stays_closed(tmp_path):
    """It may be another process's by now."""
    async with house(tmp_path, primary=ALIVE) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.result("session/close", sessionId=session)
        await home.adopt(other=ALIVE)
        is_at_rest = home.session(session).log.is_at_rest

    assert is_at_rest


async def test_a_session_whose_agent_was_closed_for_idling_is_not_woken(tmp_path):
    """The edit is no sign of its user."""
    doors = Doors()
    async with house(tmp_path, primary=doors.runtime("primary", ALIVE, fingerprint="a")) as home:
        await (await home.editor()).new()
        await home.clock.advance(600)
        await home.adopt(primary=doors.runtime("primary", ALIVE, fingerprint="b"))
        noted = tuple(doors.noted)

    assert ("+a", "-a") == noted


async def test_a_session_that_is_just_being_opened_answers_for_the_new_primary(tmp_path):
    """The edit came between the request and its answer."""
    hangs = {"new": [{"do": "stall", "ms": 60_000}]}
    async with house(tmp_path, primary=hangs) as home:
        editor = await home.editor()
        request = editor.request("session/new", cwd=str(tmp_path), mcpServers=[])
        await settled()
        modes = {"currentModeId": "m", "availableModes": [{"id": "m", "name": "M"}]}
        await home.adopt(other=says("new", modes=modes, new=[{"do": "stall", "ms": 1000}]))
        await home.clock.advance(1)
        answer = editor.reply(request)

    assert "m" == answer["result"]["modes"]["currentModeId"]


async def test_what_is_put_in_a_backends_place_is_handed_the_session(tmp_path):
    """It may be another program, which knows nothing of what the one before it was told."""
    hears: list[str] = []
    came_back_to: list[str | None] = []

    def listening(label: str) -> Runtime:
        @asynccontextmanager
        async def opens(tools: Tools) -> AsyncIterator[Backend]:
            came_back_to.append(tools.remembered())
            if tools.setup is not None:
                tools.remember(f"session of {label}")
            async with runtime("primary", {**ALIVE, **says("answer")}).open(tools) as backend:
                real = backend.run

                async def run(turn, client):
                    hears.append(f"{label} {'earlier' if b'acp-broker:earlier-turns' in bytes(turn.prompt) else 'now'}")
                    return await real(turn, client)

                backend.run = run
                yield backend

        return runtime("primary", opens, fingerprint=label)

    async with house(tmp_path, primary=listening("a")) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session)
        await home.adopt(primary=listening("b"))
        await editor.prompt(session)

    assert (["a now", "b earlier"], {None}) == (hears, set(came_back_to))


async def test_many_sessions_are_opened_anew_some_at_a_time(tmp_path):
    """One save must not start a hundred agents at once."""
    slow = {"new": [{"do": "stall", "ms": 1000}]}
    async with house(tmp_path, primary=runtime("primary", ALIVE, fingerprint="a")) as home:
        editor = await home.editor()
        sessions = [await editor.new() for _ in range(10)]
        await home.adopt(primary=runtime("primary", {**ALIVE, **slow}, fingerprint="b"))
        opened = []
        for _ in range(3):
            await home.clock.advance(1)
            opened.append(sum(home.session(one).serving().backend is not None for one in sessions))

    assert [4, 8, 10] == opened


async def test_a_prompt_does_not_wait_for_the_other_sessions(tmp_path):
    """Its turn opens the backend, as ever."""
    slow = {**says("x"), "new": [{"do": "stall", "ms": 1000}]}
    async with house(tmp_path, primary=runtime("primary", ALIVE, fingerprint="a")) as home:
        editor = await home.editor()
        sessions = [await editor.new() for _ in range(10)]
        await home.adopt(primary=runtime("primary", slow, fingerprint="b"))
        turn = editor.start(sessions[-1])
        await home.clock.advance(1)

    assert ["say x"] == turn.words


async def test_a_session_that_is_just_being_opened_does_not_wait_for_the_other_sessions(tmp_path):
    """Its editor waits for the answer."""
    hangs = {"new": [{"do": "stall", "ms": 60_000}]}
    modes = {"currentModeId": "m", "availableModes": [{"id": "m", "name": "M"}]}
    async with house(tmp_path, primary=hangs) as home:
        editor = await home.editor()
        for _ in range(8):
            editor.request("session/new", cwd=str(tmp_path), mcpServers=[])
        await home.clock.advance(3)
        request = editor.request("session/new", cwd=str(tmp_path), mcpServers=[])
        await settled()
        await home.adopt(other=says("new", modes=modes, new=[{"do": "stall", "ms": 1000}]))
        await home.clock.advance(1)

    assert "m" == editor.reply(request)["result"]["modes"]["currentModeId"]


async def test_a_backend_that_hangs_does_not_keep_others_from_being_opened(tmp_path):
    """After a few seconds the next ones are."""
    hangs = {"new": [{"do": "stall", "ms": 60_000}]}
    async with house(tmp_path, primary=runtime("primary", ALIVE, fingerprint="a")) as home:
        editor = await home.editor()
        sessions = [await editor.new() for _ in range(10)]
        await home.adopt(primary=runtime("primary", {**ALIVE, **hangs}, fingerprint="b"))
        await home.clock.advance(7)
        asleep = [home.session(one).serving().is_asleep for one in sessions]

    assert not any(asleep)


# --- health


async def test_what_is_known_of_a_backends_health_stays(tmp_path):
    """An edit of something else repairs nothing."""
    dies = {"turns": [[{"do": "die"}]]}
    async with house(tmp_path, primary=dies, spare=says("spare")) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session)
        await home.adopt(primary=dies, spare=says("spare"), other=says("other"))
        turn = await editor.prompt(session)

    assert ["spare"] == turn.attempts


async def test_a_changed_backend_is_tried_at_once(tmp_path):
    """What it rested for may be just what was repaired."""
    dies = {"turns": [[{"do": "die"}]]}
    async with house(tmp_path, primary=dies, spare=says("spare")) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session)
        await home.adopt(primary=runtime("primary", says("repaired"), fingerprint="b"), spare=says("spare"))
        turn = await editor.prompt(session)

    assert ["primary"] == turn.attempts


async def test_the_failure_of_what_a_backend_was_is_not_that_of_what_it_is(tmp_path):
    """It ended a turn that was accepted before."""
    async with house(tmp_path, primary=DIES_LATE, spare=says("spare")) as home:
        editor = await home.editor()
        one, two = await editor.new(), await editor.new()
        editor.start(one)
        await settled()
        await home.adopt(primary=runtime("primary", says("repaired"), fingerprint="b"), spare=says("spare"))
        await home.clock.advance(1)
        turn = await editor.prompt(two)

    assert ["primary"] == turn.attempts


# --- who connects later


async def test_a_new_connection_is_introduced_to_the_new_primary(tmp_path):
    """`initialize` is honest about who would answer."""
    sees = says("new", capabilities={"promptCapabilities": {"image": True}})
    async with house(tmp_path, primary=says("old")) as home:
        await home.editor()
        await home.adopt(other=sees)
        said = await (await home.connected()).initialize()

    assert said["agentCapabilities"]["promptCapabilities"]["image"]


async def test_who_is_introduced_while_the_old_primary_hangs_is_introduced_to_the_new_one(tmp_path):
    """What is being opened for somebody else is not what there is now."""
    hangs = {"initialize": [{"do": "stall", "ms": 60_000}]}
    sees = {"capabilities": {"promptCapabilities": {"image": True}}}
    async with house(tmp_path, primary=runtime("primary", hangs, fingerprint="a")) as home:
        (await home.connected()).request("initialize", protocolVersion=1, clientCapabilities={})
        await settled()
        await home.adopt(primary=runtime("primary", sees, fingerprint="b"))
        said = await (await home.connected()).initialize({})

    assert said["agentCapabilities"]["promptCapabilities"]["image"]


async def test_a_login_goes_to_the_backend_as_it_is_now(tmp_path):
    """Not to what a session still has open of its old self."""
    asked: list[str] = []
    script = {"authMethods": [{"id": "key", "name": "Key"}], **waits({"do": "say", "text": "done"})}

    def listening(label: str) -> Runtime:
        @asynccontextmanager
        async def opens(tools: Tools) -> AsyncIterator[Backend]:
            async with runtime("primary", script).open(tools) as backend:
                real = backend.call

                async def call(method, params):
                    asked.append(f"{label} {method}")
                    return await real(method, params)

                backend.call = call
                yield backend

        return runtime("primary", opens, fingerprint=label)

    async with house(tmp_path, primary=listening("a")) as home:
        editor = await home.editor()
        editor.start(await editor.new())
        await settled()
        await home.adopt(primary=listening("b"))
        await editor.call("authenticate", methodId="primary/key")
        await home.clock.advance(1)

    assert ["b authenticate"] == asked


async def test_a_fault_in_one_session_keeps_no_other_from_an_edit(tmp_path, monkeypatch):
    """They would go on by what was decided before, or by neither."""
    async with house(tmp_path, old=says("old")) as home:
        editor = await home.editor()
        first, second = await editor.new(), await editor.new()
        monkeypatch.setattr(home.session(first), "adopt", _wrong)
        await home.adopt(new=says("new"))
        turn = await editor.prompt(second)

    assert (["say new"], 1) == (turn.words, len(home.log.of("broker_fault")))


def _wrong() -> None:
    raise RuntimeError("nobody thought of this")
