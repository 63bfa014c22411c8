"""The `scripted` kind in process."""

import msgspec
import pytest
from anyio import create_task_group, fail_after, wait_all_tasks_blocked

import backends.scripted as kind
from acp_broker.contract import CancelAsked
from acp_broker.core.failures import FailureKind
from acp_broker.errors import BackendFailure, RpcError
from backends.scripted import ScriptedConfig
from tests.backends.contract import BackendContract, kinds
from tests.support.client import DEADLINE_S, FakeClient, FakeTools, body, plain, raw, setup, turn
from tests.support.clock import FakeClock

pytestmark = pytest.mark.anyio


class TestScripted(BackendContract):
    def open(self, script, tools):
        return kind.open(configured(script), tools)


@pytest.fixture
def tools():
    return FakeTools(clock=FakeClock(), setup=setup("/project"))


def configured(script) -> ScriptedConfig:
    return config({"script": script})


def config(members) -> ScriptedConfig:
    return msgspec.json.decode(msgspec.json.encode({"kind": "scripted", **members}), type=ScriptedConfig)


def one_turn(*steps):
    return configured({"turns": [list(steps)]})


def say(text):
    return {"do": "say", "text": text}


async def played(tools, client, *steps, prompt="hello"):
    async with kind.open(one_turn(*steps), tools) as backend:
        return await backend.run(turn(prompt), client)


async def failed(tools, client, *steps):
    async with kind.open(one_turn(*steps), tools) as backend:
        with pytest.raises(BackendFailure) as raised:
            await backend.run(turn(), client)
    return raised.value.failure


async def cancelled_at_rest(backend, client, ends):
    """Run a turn, and ask it to end once nothing moves any more."""
    asked = CancelAsked()
    async with create_task_group() as tasks:
        tasks.start_soon(wait_then, asked.set)
        finished = await backend.run(turn(cancel_asked=asked), client)
    ends.append(finished.stop_reason)


async def wait_then(callback):
    await wait_all_tasks_blocked()
    callback()


async def test_the_empty_script_echoes_in_a_few_chunks(tools, client):
    """The shortest config that answers: a demo needs nothing else."""
    async with kind.open(config({}), tools) as backend:
        await backend.run(turn("hello there"), client)

    assert client.texts == ["hell", "o th", "ere"]


async def test_the_last_turn_repeats(tools, client):
    """A drill of one turn needs one turn."""
    async with kind.open(configured({"turns": [[say("a")], [say("b")]]}), tools) as backend:
        for _ in range(3):
            await backend.run(turn(), client)

    assert client.texts == ["a", "b", "b"]


async def test_a_script_may_stand_in_a_file(tools, client, tmp_path):
    """One file serves the demo, the tests and the agent process."""
    path = tmp_path / "script.json"
    path.write_text('{"turns": [[{"do": "say", "text": "from a file"}]]}')
    async with kind.open(config({"scriptFile": str(path)}), tools) as backend:
        await backend.run(turn(), client)

    assert client.texts == ["from a file"]


async def test_a_missing_script_file_is_found_without_opening(tmp_path):
    """`check` says it before a turn is lost on it."""
    path = tmp_path / "none.json"

    assert str(path) in (kind.check(config({"scriptFile": str(path)}), {}) or "")


async def test_a_script_that_can_be_read_passes_the_check():
    """No complaint: nothing is missing."""
    assert kind.check(configured({}), {}) is None


async def test_a_script_and_a_script_file_exclude_each_other():
    """Nobody could say which of them plays."""
    with pytest.raises(msgspec.ValidationError, match="either `script` or `scriptFile`, not both"):
        config({"script": {}, "scriptFile": "x"})


async def test_a_stall_lasts_as_long_as_it_says(tools, client):
    """Time comes from the clock that the broker gives, so that its tests own it."""
    ends = []
    began = tools.clock.now()

    async def run(backend):
        finished = await backend.run(turn(), client)
        ends.append((finished.stop_reason, tools.clock.now() - began))

    async with kind.open(one_turn({"do": "stall", "ms": 90_000}), tools) as backend, create_task_group() as tasks:
        tasks.start_soon(run, backend)
        await wait_all_tasks_blocked()
        await tools.clock.advance(120)

    assert ends == [("end_turn", 90.0)]


async def test_chunks_come_at_the_pace_of_the_script(tools, client):
    """A demo looks like a model that types."""
    step = {"do": "say", "text": "abc", "chunks": 3, "everyMs": 1000}
    async with kind.open(one_turn(step), tools) as backend, create_task_group() as tasks:
        tasks.start_soon(backend.run, turn(), client)
        await wait_all_tasks_blocked()
        await tools.clock.advance(1.5)
        heard = list(client.texts)
        await tools.clock.advance(1)

    assert (heard, client.texts) == (["a", "b"], ["a", "b", "c"])


async def test_an_unclosed_stall_ends_with_the_backend(tools, client):
    """`open` owns every timer: closing it leaves none behind that could still act."""
    async with kind.open(
        one_turn({"do": "lateUpdates", "steps": [{"do": "stall", "ms": 1}, say("late")]}), tools
    ) as backend:
        await backend.run(turn(), client)
        await wait_all_tasks_blocked()
    await tools.clock.advance(1)

    assert tools.between.texts == []


async def test_a_closed_backend_leaves_no_timer(tools, client):
    """A timer that rings for nobody still keeps everything alive that it knows."""
    late = {"do": "lateUpdates", "steps": [{"do": "stall", "ms": 60_000}]}
    async with kind.open(one_turn(late), tools) as backend:
        await backend.run(turn(), client)
        await wait_all_tasks_blocked()
        before = tools.clock.armed

    assert (before, tools.clock.armed) == ([60.0], [])


async def test_what_comes_late_does_not_overtake_the_end_of_the_turn(tools, client):
    """Shown before `run` returned, it would be a word of the turn."""
    late = {"do": "lateUpdates", "steps": [say("late")]}
    async with kind.open(one_turn(late), tools) as backend:
        await backend.run(turn(), client)
        at_the_end = list(tools.between.texts)
        await wait_all_tasks_blocked()

    assert (at_the_end, tools.between.texts) == ([], ["late"])


async def test_a_cancelled_turn_plays_no_further_step(tools, client):
    """ACP v1, prompt-turn: the agent stops."""
    async with kind.open(one_turn({"do": "stall"}, say("never")), tools) as backend:
        await cancelled_at_rest(backend, client, [])

    assert client.texts == []


async def test_waiting_for_a_cancel_hears_one_that_was_to_be_ignored(tools, client):
    """An agent may be deaf while it works and listen afterwards."""
    ends = []
    async with kind.open(one_turn({"do": "ignoreCancel"}, {"do": "waitCancel"}), tools) as backend:
        await cancelled_at_rest(backend, client, ends)

    assert ends == ["cancelled"]


async def test_an_empty_text_is_one_empty_chunk(tools, client):
    """qwen sends such."""
    await played(tools, client, say(""))

    assert client.texts == [""]


async def test_the_prompt_hook_plays_before_every_turn(tools, client):
    """What an agent always does stands in one place."""
    async with kind.open(configured({"prompt": [say("hook")], "turns": [[say("a")], [say("b")]]}), tools) as backend:
        await backend.run(turn(), client)
        await backend.run(turn(), client)

    assert client.texts == ["hook", "a", "hook", "b"]


async def test_a_cancel_may_be_ignored(tools, client):
    """goose, openhands and deepagents do, while they wait for their provider."""
    ends = []
    script = one_turn({"do": "ignoreCancel"}, {"do": "stall", "ms": 1000})
    async with kind.open(script, tools) as backend, create_task_group() as tasks:
        tasks.start_soon(cancelled_at_rest, backend, client, ends)
        await wait_all_tasks_blocked()
        before = list(ends)
        await tools.clock.advance(1)

    assert (before, ends) == ([], ["end_turn"])


async def test_a_cancel_may_be_answered_as_an_ordinary_end(tools, client):
    """goose answers a cancel in the middle of a stream with `end_turn`."""
    ends = []
    script = one_turn({"do": "waitCancel", "steps": [say("as you wish"), {"do": "end"}]})
    async with kind.open(script, tools) as backend:
        await cancelled_at_rest(backend, client, ends)

    assert (client.texts, ends) == (["as you wish"], ["end_turn"])


async def test_waiting_for_a_cancel_ends_cancelled(tools, client):
    """ACP v1, prompt-turn: the stop reason of a cancelled turn."""
    ends = []
    async with kind.open(one_turn({"do": "waitCancel"}), tools) as backend:
        await cancelled_at_rest(backend, client, ends)

    assert ends == ["cancelled"]


async def test_the_cancel_hook_has_the_last_word(tools, client):
    """Some agents still say something when they are stopped."""
    script = configured({"turns": [[{"do": "stall"}]], "cancel": [say("stopping"), {"do": "end"}]})
    asked = CancelAsked()
    asked.set()
    async with kind.open(script, tools) as backend:
        finished = await backend.run(turn(cancel_asked=asked), client)

    assert (client.texts, finished.stop_reason) == (["stopping"], "end_turn")


@pytest.mark.parametrize(
    ("step", "failure"),
    [
        ({"do": "exit", "code": 3}, (FailureKind.CRASHED, "exited with status 3")),
        ({"do": "die", "signal": "SEGV"}, (FailureKind.CRASHED, "killed by SIGSEGV")),
        ({"do": "closeStdout"}, (FailureKind.CRASHED, "closed its output")),
        ({"do": "garbage", "text": "<html>"}, (FailureKind.GARBLED, "wrote what is no message: b'<html>'")),
    ],
)
async def test_what_only_a_process_suffers_is_a_failure_here(tools, client, step, failure):
    """The same script serves both forms."""
    found = await failed(tools, client, step)

    assert (found.kind, found.text) == failure


async def test_a_fault_while_opening_fails_the_opening(tools):
    """Half of all real faults happen before the first prompt."""
    with pytest.raises(BackendFailure) as raised:
        async with kind.open(configured({"new": [{"do": "exit"}]}), tools):
            pass

    assert raised.value.failure.kind == FailureKind.CRASHED


async def test_a_refused_session_names_its_phase(tools):
    """The failure says where it was seen."""
    fail = {"do": "fail", "code": -32000, "message": "Authentication required"}
    with pytest.raises(BackendFailure) as raised:
        async with kind.open(configured({"new": [fail]}), tools):
            pass

    assert (raised.value.failure.kind, raised.value.failure.seen_at) == (FailureKind.AUTH_MISSING, "opening")


async def test_a_script_may_name_the_kind_of_its_failure(tools, client):
    """A drill of one failure kind need not find words that are recognised."""
    found = await failed(tools, client, {"do": "fail", "kind": "overloaded"})

    assert found.kind == FailureKind.OVERLOADED


async def test_an_answer_that_is_none_is_garbled(tools, client):
    """A stop reason that the protocol does not know ends no turn."""
    found = await failed(tools, client, {"do": "end", "stopReason": "bored"})

    assert found.kind == FailureKind.GARBLED


async def test_a_flood_comes_in_as_many_pieces_as_it_says(tools, client):
    """One read of a real agent's pipe brings many updates."""
    await played(tools, client, {"do": "flood", "count": 25, "perWrite": 10})

    assert client.reads == [10, 10, 5]


async def test_flooded_updates_are_not_one_object(tools, client):
    """The broker rewrites message ids in place."""
    await played(tools, client, {"do": "flood", "count": 2})

    assert client.updates[0].params is not client.updates[1].params


async def test_the_same_seed_chooses_the_same_again(tools):
    """A drill that fails must fail again when it is looked at."""
    branches = [{"steps": [say("a")]}, {"steps": [say("b")]}, {"steps": [say("c")], "weight": 2}]
    step = {"do": "repeat", "times": 20, "steps": [{"do": "choose", "seed": 7, "branches": branches}]}
    first, second = FakeClient(), FakeClient()
    await played(tools, first, step)
    await played(tools, second, step)

    assert (first.texts, set(first.texts)) == (second.texts, {"a", "b", "c"})


async def test_the_prompts_words_may_decide(tools, client):
    """Whoever types the prompt chooses what is drilled."""
    step = {"do": "ifText", "contains": "fail", "steps": [say("failing")], "else": [say("fine")]}
    await played(tools, client, step, prompt="please fail")
    await played(tools, client, step, prompt="please work")

    assert client.texts == ["failing", "fine"]


async def test_relative_paths_are_below_the_sessions_folder(tools):
    """ACP v1, file system: paths are absolute."""
    client = FakeClient(replies={"fs/read_text_file": {"content": "words"}})
    await played(tools, client, {"do": "readFile", "path": "notes.txt"}, {"do": "sayAnswer"})

    assert (plain(client.questions[0].params["path"]), client.texts) == ("/project/notes.txt", ["words"])


async def test_a_branch_is_played_for_the_outcome_it_is_named_by(tools):
    """What a runtime does after a refusal differs from what it does after an error."""
    client = FakeClient(replies={"fs/write_text_file": RpcError(-32601, "Method not found")})
    branches = {"ok": [say("written")], "error": [say("refused")]}
    await played(tools, client, {"do": "writeFile", "path": "x", "text": "", "branches": branches})

    assert client.texts == ["refused"]


async def test_a_signal_that_ended_a_terminal_is_its_outcome(tools):
    """ACP v1, terminals: an exit status has a code or a signal."""
    replies = {
        "terminal/create": {"terminalId": "t"},
        "terminal/wait_for_exit": {"exitCode": None, "signal": "SIGKILL"},
        "terminal/output": {"output": "", "truncated": False},
        "terminal/release": None,
    }
    branches = {"SIGKILL": [say("killed")]}
    client = FakeClient(replies=replies)
    await played(tools, client, {"do": "terminal", "command": "ls", "branches": branches})

    assert client.texts == ["killed"]


async def test_the_action_of_an_elicitation_chooses_a_branch(tools):
    """ACP v1, elicitation: accept, decline or cancel."""
    client = FakeClient(replies={"elicitation/create": {"action": "decline"}})
    await played(tools, client, {"do": "elicit", "message": "Name?", "branches": {"decline": [say("as you like")]}})

    assert client.texts == ["as you like"]


async def test_a_notification_of_any_name_reaches_the_client(tools, client):
    """Real agents send `_auth/status_update` and the like."""
    await played(tools, client, {"do": "ext", "method": "_auth/status_update", "params": {"ok": True}})

    assert client.told == [("_auth/status_update", {"ok": True})]


async def test_a_withdrawn_question_is_withdrawn_from_the_client(tools, client):
    """ACP v1, cancellation: an agent may take its request back; its turn goes on."""
    step = {"do": "askPermission", "withdrawMs": 1000, "branches": {"withdrawn": [say("never mind")]}}
    async with kind.open(one_turn(step), tools) as backend, create_task_group() as tasks:
        tasks.start_soon(backend.run, turn(), client)
        await wait_all_tasks_blocked()
        await tools.clock.advance(1)

    assert (client.questions[0].is_withdrawn, client.texts) == (True, ["never mind"])


async def test_an_update_may_be_anything(tools, client):
    """What cannot be understood must still be passed on."""
    update = {"sessionUpdate": "hologram", "messageId": 7}
    await played(tools, client, {"do": "update", "update": update})

    assert (body(client.updates[0]), kinds(client), client.updates[0].message_id) == (update, ["hologram"], None)


async def test_a_message_id_is_the_updates_own(tools, client):
    """The broker maps it where two runtimes collide."""
    await played(tools, client, {"do": "say", "text": "a", "messageId": "m-1"})

    assert client.updates[0].message_id == "m-1"


async def test_what_opening_shows_belongs_to_no_attempt(tools, client):
    """goose and vibe show their usage before the session has a name."""
    script = configured({"new": [{"do": "usage", "used": 1, "size": 2}]})
    async with kind.open(script, tools) as backend:
        await backend.run(turn(), client)

    assert (kinds(tools.between), "usage_update" in kinds(client)) == (["usage_update"], False)


async def test_stderr_goes_to_the_brokers_log(tools, client):
    """There is no other place for it in process."""
    await played(tools, client, {"do": "stderr", "text": "warning"})

    assert tools.logged == [("stderr", {"text": "warning"})]


async def test_a_death_after_the_answer_leaves_the_answer(tools, client):
    """The turn was finished: only the next one needs a new runtime."""
    script = one_turn(say("a"), {"do": "lateUpdates", "steps": [{"do": "die"}]})
    async with kind.open(script, tools) as backend:
        finished = await backend.run(turn(), client)
        why = await backend.gone()

    assert (finished.stop_reason, why) == ("end_turn", "killed by SIGKILL")


async def test_a_dead_runtime_answers_no_call(tools, client):
    """Nothing plays on in a corpse."""
    async with kind.open(one_turn({"do": "die"}), tools) as backend:
        with pytest.raises(BackendFailure):
            await backend.run(turn(), client)
        with pytest.raises(BackendFailure):
            await backend.call("_test/ping", {})


async def test_a_login_that_worked_is_repeated(client):
    """A new process of a logged-in backend must not ask again."""
    tools = FakeTools(setup=setup("/"), authenticated_by="key")
    script = configured({"needsAuth": True, "authMethods": [{"id": "key", "name": "Key"}]})
    async with kind.open(script, tools) as backend:
        finished = await backend.run(turn(), client)

    assert finished.stop_reason == "end_turn"


async def test_a_mode_that_was_set_is_shown(tools):
    """ACP v1, session modes: `current_mode_update`."""
    modes = {"currentModeId": "ask", "availableModes": [{"id": "ask"}, {"id": "code"}]}
    async with kind.open(configured({"modes": modes}), tools) as backend:
        await backend.call("session/set_mode", {"sessionId": raw("x"), "modeId": raw("code")})

    assert body(tools.between.updates[0]) == {"sessionUpdate": "current_mode_update", "currentModeId": "code"}


async def test_a_hot_loop_lets_others_run(tools, client):
    """Agents exist that answer an empty reply with hundreds of requests: a script that loops must be stoppable."""
    ends = []
    async with kind.open(one_turn({"do": "repeat", "steps": []}), tools) as backend:
        with fail_after(DEADLINE_S):
            await cancelled_at_rest(backend, client, ends)

    assert ends == ["cancelled"]
