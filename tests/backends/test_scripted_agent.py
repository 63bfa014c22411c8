"""The script as a real agent process."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import acp.schema
import pytest

from tests.support.scripted_agent import DEADLINE_S, AgentProcess, texts


@pytest.fixture
def play(tmp_path):
    """Start an agent that plays a script; every one is killed at the end of the test."""
    started = []

    def start(script=None, memory=None):
        agent = AgentProcess(script, cwd=tmp_path, memory=memory)
        started.append(agent)
        return agent

    yield start
    for agent in started:
        agent.__exit__()


def turns(*plays):
    return {"turns": [list(steps) for steps in plays]}


def say(text):
    return {"do": "say", "text": text}


def test_without_a_script_it_echoes(play):
    """The shortest drill needs no file."""
    agent = play()
    heard = agent.turn(agent.open(), "hello there")

    assert ("".join(texts(heard)), heard[-1]["result"]["stopReason"]) == ("hello there", "end_turn")


def test_the_script_may_come_from_the_environment(tmp_path):
    """Wherever only an environment can be given: `ACP_SCRIPT`."""
    environment = os.environ | {"ACP_SCRIPT": json.dumps({"protocolVersion": 7})}
    line = json.dumps({"id": 1, "method": "initialize"}).encode() + b"\n"
    command = [sys.executable, "-m", "backends.scripted"]
    done = subprocess.run(command, input=line, stdout=subprocess.PIPE, env=environment, timeout=DEADLINE_S, check=True)

    assert json.loads(done.stdout)["result"]["protocolVersion"] == 7


def test_a_script_with_a_mistake_is_refused_with_its_place(tmp_path):
    """A drill that silently plays something else proves nothing."""
    path = tmp_path / "script.json"
    path.write_text('{"turns": [[{"do": "shout"}]]}')
    command = [sys.executable, "-m", "backends.scripted", "--script", str(path)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE_S)

    assert (done.returncode, "Invalid value 'shout' - at `$.turns[0][0].do`" in done.stderr) == (1, True)


def test_it_starts_without_the_event_loop_of_the_broker(tmp_path):
    """The imports of the kind cost more than all the rest of a start."""
    check = "import backends.scripted.agent, sys; sys.exit('asyncio' in sys.modules or 'anyio' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", check], timeout=DEADLINE_S).returncode == 0


def test_its_own_requests_count_from_zero(play):
    """So do those of nearly all real agents: a broker in front of several must renumber them."""
    agent = play(turns([{"do": "readFile", "path": "a"}, {"do": "readFile", "path": "b"}]))
    agent.prompt(agent.open())
    first = agent.read()
    agent.send(id=first["id"], result={"content": ""})

    assert (first["id"], agent.read()["id"]) == (0, 1)


def test_its_own_requests_may_have_strings_as_ids(play):
    """goose's are UUIDs."""
    agent = play({**turns([{"do": "readFile", "path": "a"}, {"do": "sayAnswer"}]), "requestIds": "strings"})
    prompt = agent.prompt(agent.open())
    asked = agent.read()
    agent.send(id=asked["id"], result={"content": "words"})

    assert (asked["id"], texts(agent.until_answer(prompt))) == ("request-0", ["words"])


def test_bytes_that_are_none_are_refused_with_the_script(tmp_path):
    """A mistake is found when the script is read, not in the middle of a drill."""
    script = json.dumps(turns([{"do": "garbage", "hex": "zz"}]))
    command = [sys.executable, "-m", "backends.scripted", "--script", script]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE_S)

    assert "$.turns[0][0]" in done.stderr


def test_a_cancel_ends_a_stalled_turn(play):
    """ACP v1, prompt-turn: the agent MUST answer with the stop reason `cancelled`."""
    agent = play(turns([say("a"), {"do": "stall"}]))
    session = agent.open()
    prompt = agent.prompt(session)
    agent.read()
    agent.notify("session/cancel", sessionId=session)

    assert agent.until_answer(prompt)[-1]["result"]["stopReason"] == "cancelled"


def test_a_stall_is_not_ended_by_other_traffic(play):
    """A silent provider stays silent whatever else the agent does meanwhile."""
    agent = play(turns([{"do": "stall", "ms": 60_000}, say("too early")]))
    session = agent.open()
    prompt = agent.prompt(session)
    heard = agent.until_answer(agent.request("_test/sync"))
    agent.notify("session/cancel", sessionId=session)
    heard += agent.until_answer(prompt)

    assert (texts(heard), outcome(heard[-1])) == ([], "cancelled")


def test_a_pipe_that_does_not_block_loses_nothing(tmp_path):
    """Whoever starts an agent may hand it such a pipe."""
    ours, its = os.pipe()
    os.set_blocking(its, False)
    command = [
        sys.executable,
        "-m",
        "backends.scripted",
        "--script",
        json.dumps(turns([{"do": "flood", "count": 9000}])),
    ]
    prompt = {"id": 2, "method": "session/prompt", "params": {"sessionId": "session-1", "prompt": []}}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=its) as process, os.fdopen(ours, "rb") as output:
        os.close(its)
        process.stdin.write(
            b'{"id":1,"method":"session/new","params":{"cwd":"/"}}\n' + json.dumps(prompt).encode() + b"\n"
        )
        process.stdin.flush()
        lines = [output.readline() for _ in range(9002)]
        process.stdin.close()

    assert json.loads(lines[-1])["result"] == {"stopReason": "end_turn"}


def test_a_cancel_reaches_a_flood(play):
    """A runtime that talks without end must still be stoppable."""
    agent = play(turns([{"do": "flood", "count": 10**9, "perWrite": 10}]))
    session = agent.open()
    prompt = agent.prompt(session)
    agent.read()
    agent.notify("session/cancel", sessionId=session)

    assert agent.until_answer(prompt)[-1]["result"]["stopReason"] == "cancelled"


def test_a_script_may_ignore_a_cancel(play):
    """goose, openhands and deepagents do while they wait for their provider."""
    agent = play(turns([{"do": "ignoreCancel"}, say("a"), {"do": "stall", "ms": 50}, say("b")]))
    session = agent.open()
    prompt = agent.prompt(session)
    agent.read()
    agent.notify("session/cancel", sessionId=session)

    assert agent.until_answer(prompt)[-1]["result"]["stopReason"] == "end_turn"


def test_a_cancelled_request_other_than_a_prompt_answers_32800(play):
    """ACP v1, cancellation: the error of a request that was cancelled."""
    agent = play({"new": [{"do": "stall"}]})
    request = agent.request("session/new", cwd="/", mcpServers=[])
    agent.notify("$/cancel_request", requestId=request)

    assert agent.until_answer(request)[-1]["error"]["code"] == -32800


def test_sessions_play_side_by_side(play):
    """A stalled session must not hold up its neighbour."""
    agent = play(turns([{"do": "ifText", "contains": "wait", "steps": [{"do": "stall"}]}, {"do": "echo"}]))
    first, second = agent.open(), agent.open()
    agent.prompt(first, "wait")

    assert "".join(texts(agent.turn(second, "go"))) == "go"


@pytest.mark.parametrize(
    ("busy", "answers"),
    [
        ("queue", [("first", "cancelled"), ("second", "end_turn")]),
        ("cancelFirst", [("first", "cancelled"), ("second", "end_turn")]),
        ("failFirst", [("first", -32603), ("second", "end_turn")]),
        ("reject", [("second", -32603), ("first", "cancelled")]),
        ("overlap", [("second", "end_turn"), ("first", "cancelled")]),
        ("drop", [("first", "cancelled")]),
    ],
)
def test_a_second_prompt_in_a_busy_session_is_taken_as_the_script_says(play, busy, answers):
    """Every real agent does something else with it."""
    agent = play({**turns([say("a"), {"do": "stall"}], [say("b")]), "busy": busy})
    session = agent.open()
    prompts = {agent.prompt(session): "first"}
    agent.read()
    prompts[agent.prompt(session)] = "second"
    heard = agent.until_answer(agent.request("_test/sync"))
    first = min(prompts)
    if first not in [message.get("id") for message in heard]:
        agent.notify("$/cancel_request", requestId=first)
        heard += agent.until_answer(first)
    heard += agent.until_answer(agent.request("_test/sync"))

    assert answers == [(prompts[message["id"]], outcome(message)) for message in heard if message.get("id") in prompts]


def test_a_turn_that_was_failed_says_nothing_more(play):
    """Its answer is out: a word after it would be a word of the next turn."""
    first = [say("a"), {"do": "stall", "ms": 10}, say("zombie")]
    agent = play({**turns(first, [{"do": "stall", "ms": 20}, say("b")]), "busy": "failFirst"})
    session = agent.open()
    agent.prompt(session)
    agent.read()

    assert texts(agent.turn(session)) == ["b"]


def test_a_cancel_of_the_session_ends_a_queued_prompt_too(play):
    """A person who cancels means everything that they asked for."""
    agent = play(turns([say("a"), {"do": "stall"}], [say("b")]))
    session = agent.open()
    agent.prompt(session)
    agent.read()
    second = agent.prompt(session)
    agent.notify("session/cancel", sessionId=session)

    assert outcome(agent.until_answer(second)[-1]) == "cancelled"


def test_the_session_is_loaded_by_a_new_process_with_what_was_said(play, tmp_path):
    """Reaped and crashed agents are resumed: what they knew must come back."""
    memory = tmp_path / "memory"
    first = play(turns([say("one")]), memory)
    session = first.open()
    first.turn(session, "hello")
    second = play(turns([say("one")], [say("two")]), memory)
    heard = second.until_answer(second.request("session/load", sessionId=session, cwd="/", mcpServers=[]))
    kinds = [message["params"]["update"]["sessionUpdate"] for message in heard[:-1]]

    assert (kinds, texts(second.turn(session))) == (["user_message_chunk", "agent_message_chunk"], ["two"])


def test_a_resumed_session_goes_on_without_replay(play, tmp_path):
    """ACP v1, session/resume: no replay."""
    memory = tmp_path / "memory"
    session = play(None, memory).open()
    second = play(None, memory)
    heard = second.until_answer(second.request("session/resume", sessionId=session, cwd="/", mcpServers=[]))

    assert [message.get("result") for message in heard] == [{}]


def test_sessions_of_processes_that_share_a_memory_have_names_of_their_own(play, tmp_path):
    """One process per session is the rule: two that said `session-1` would be one session."""
    memory = tmp_path / "memory"

    assert play(None, memory).open() != play(None, memory).open()


def test_a_loaded_session_lives_in_the_folder_that_the_load_names(play):
    """ACP v1, session/load: the cwd is the request's."""
    agent = play(turns([{"do": "readFile", "path": "a"}]))
    session = agent.open()
    agent.call("session/load", sessionId=session, cwd="/elsewhere", mcpServers=[])
    agent.prompt(session)

    assert agent.read()["params"]["path"] == "/elsewhere/a"


def test_a_loaded_session_has_the_mode_that_was_set(play):
    """ACP v1, session modes: the answer says the current one."""
    agent = play({"modes": {"currentModeId": "ask", "availableModes": [{"id": "ask"}, {"id": "code"}]}})
    session = agent.open()
    agent.call("session/set_mode", sessionId=session, modeId="code")
    loaded = agent.call("session/load", sessionId=session, cwd="/", mcpServers=[])

    assert loaded["result"]["modes"]["currentModeId"] == "code"


def test_what_is_not_claimed_cannot_be_called(play):
    """deepagents says loadSession false: a client must not get by with trying."""
    agent = play({"capabilities": {}})

    assert agent.call("session/load", sessionId=agent.open(), cwd="/", mcpServers=[])["error"]["code"] == -32601


def test_a_refused_session_does_not_exist(play):
    """An error carries no session id; guessing one must not help."""
    agent = play({"new": [{"do": "fail"}]})
    agent.call("session/new", cwd="/", mcpServers=[])

    assert agent.call("session/prompt", sessionId="session-1", prompt=[])["error"]["code"] == -32002


def test_an_auth_method_that_does_not_exist_logs_nobody_in(play):
    """ACP v1, authentication: the method is one of those that initialize named."""
    agent = play({"needsAuth": True, "authMethods": [{"id": "key", "name": "Key"}]})

    assert agent.call("authenticate", methodId="guess")["error"]["code"] == -32602


def test_an_unknown_session_is_an_error(play):
    """-32002 is what most agents answer; `unknownSession` plays the others."""
    agent = play()

    assert agent.call("session/prompt", sessionId="nobody", prompt=[])["error"]["code"] == -32002


def test_an_unknown_session_may_be_refused_as_a_turn(play):
    """Two agents answer a prompt in an unknown session with the stop reason `refusal`."""
    agent = play({"unknownSession": [{"do": "end", "stopReason": "refusal"}]})

    assert agent.call("session/prompt", sessionId="nobody", prompt=[])["result"]["stopReason"] == "refusal"


def test_updates_may_come_before_the_answer_that_names_the_session(play):
    """goose and vibe do; a client does not know that session yet."""
    agent = play({"new": [{"do": "usage", "used": 1, "size": 2}]})
    agent.call("initialize", protocolVersion=1)
    heard = agent.until_answer(agent.request("session/new", cwd="/", mcpServers=[]))

    assert heard[-1]["result"]["sessionId"] == heard[0]["params"]["sessionId"]


def test_updates_may_come_after_the_answer(play):
    """claude and codex send the title then."""
    agent = play(turns([say("a"), {"do": "lateUpdates", "steps": [{"do": "note", "info": {"title": "T"}}]}]))
    agent.turn(agent.open())

    assert agent.read()["params"]["update"]["title"] == "T"


def test_an_answer_may_come_twice(play):
    """The second one has no request any more."""
    agent = play(turns([{"do": "answerTwice"}]))
    heard = agent.turn(agent.open())

    assert heard[-1] == agent.read()


def test_a_request_may_be_withdrawn(play):
    """ACP v1, cancellation: `$/cancel_request` works in both directions."""
    agent = play(turns([{"do": "askPermission", "withdrawMs": 1, "branches": {"withdrawn": [say("never mind")]}}]))
    heard = agent.turn(agent.open())

    assert (heard[1]["params"], texts(heard)) == ({"requestId": 0}, ["never mind"])


@pytest.mark.parametrize(
    ("more", "calls"),
    [
        ({}, ["create", "wait_for_exit", "output", "release"]),
        ({"kill": True, "release": False}, ["create", "kill", "wait_for_exit", "output"]),
    ],
)
def test_a_terminal_is_used_as_the_script_says(play, more, calls):
    """ACP v1, terminals. One that is not released is the client's to end."""
    agent = play(turns([{"do": "terminal", "command": "ls", **more, "branches": {"0": [{"do": "sayAnswer"}]}}]))
    agent.prompt(agent.open())
    result = {"terminalId": "t", "exitCode": 0, "output": "files", "truncated": False}
    methods = []
    while "id" in (heard := agent.read()):
        methods.append(heard["method"].removeprefix("terminal/"))
        agent.send(id=heard["id"], result=result)

    assert (methods, texts([heard])) == (calls, ["files"])


def test_garbage_stands_on_stdout_as_it_is(play):
    """What a broken agent writes is not even text."""
    agent = play(turns([{"do": "garbage", "text": "warn: ", "hex": "ff0a"}]))
    agent.prompt(agent.open())

    assert agent.read_line() == b"warn: \xff"


def test_bad_json_is_a_line_and_no_message(play):
    """A half-written message must not take the next one with it."""
    agent = play(turns([{"do": "badJson"}]))
    prompt = agent.prompt(agent.open())
    line = agent.read_line()
    with pytest.raises(json.JSONDecodeError):
        json.loads(line)

    assert prompt == agent.read()["id"]


def test_an_agent_that_closed_its_output_lives_on(play):
    """The end of the stream is not the end of the process."""
    agent = play(turns([{"do": "closeStdout"}, {"do": "stderr", "text": "still here"}, {"do": "stall"}]))
    agent.prompt(agent.open())

    assert (agent.read_line(), agent.read_stderr_line(), agent.process.poll()) == (None, "still here\n", None)


@pytest.mark.parametrize(
    ("step", "status"),
    [
        ({"do": "exit", "code": 3}, 3),
        ({"do": "die"}, -signal.SIGKILL),
        ({"do": "die", "signal": "SEGV"}, -signal.SIGSEGV),
    ],
)
def test_a_process_ends_as_its_script_says(play, step, status):
    """An exit status and a signal are different evidence."""
    agent = play(turns([step]))
    agent.prompt(agent.open())

    assert status == agent.status()


def test_the_end_of_stdin_ends_it(play):
    """ACP v1, transports: a client closes stdin to stop its agent."""
    agent = play(turns([{"do": "stall"}]))
    agent.prompt(agent.open())
    agent.process.stdin.close()

    assert agent.status() == 0


def test_an_agent_may_outlive_its_stdin(play):
    """codex, goose and openhands do."""
    agent = play({"exit": [{"do": "stderr", "text": "staying"}, {"do": "stall"}]})
    agent.open()
    agent.process.stdin.close()

    assert (agent.read_stderr_line(), agent.process.poll()) == ("staying\n", None)


def test_sigterm_ends_it_by_default(play):
    """Like every program that does nothing about it."""
    agent = play()
    agent.open()
    agent.process.terminate()

    assert agent.status() == -signal.SIGTERM


def test_an_agent_may_survive_sigterm(play):
    """gemini, qwen, codex and cline do, for longer than anybody waits."""
    agent = play({"terminate": [{"do": "stderr", "text": "no"}, {"do": "stall"}]})
    agent.open()
    agent.process.terminate()

    assert (agent.read_stderr_line(), agent.process.poll()) == ("no\n", None)


def test_an_agent_may_answer_its_prompt_when_it_is_terminated(play):
    """claude says `cancelled`, which nobody asked for."""
    agent = play({**turns([say("a"), {"do": "stall"}]), "terminate": [{"do": "end", "stopReason": "cancelled"}]})
    prompt = agent.prompt(agent.open())
    agent.read()
    agent.process.terminate()

    assert agent.until_answer(prompt)[-1]["result"]["stopReason"] == "cancelled"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_spawned_child_is_out_of_reach_of_its_group_and_of_sigterm(play):
    """What the broker must find and end."""
    agent = play(turns([{"do": "spawn", "setsid": True, "ignoreTerm": True}, {"do": "exit"}]))
    agent.prompt(agent.open())
    child = int(agent.read_stderr_line().removeprefix("spawned "))
    agent.status()
    try:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{child}/status").read_text().splitlines())
        ignores_sigterm = int(status["SigIgn"], 16) >> (signal.SIGTERM - 1) & 1
        found = (os.getpgid(child), ignores_sigterm)
    finally:
        os.kill(child, signal.SIGKILL)

    assert found == (child, 1)


def test_a_spawned_child_lets_go_of_the_agents_stdout(play):
    """Unless its script says so, the stream ends with the agent."""
    agent = play(turns([{"do": "spawn"}, {"do": "exit"}]))
    agent.prompt(agent.open())

    assert agent.read_line() is None


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_spawned_child_may_hold_the_agents_stdout(play):
    """Then the stream does not end with the agent: whoever waits for its end waits for ever."""
    agent = play(turns([{"do": "spawn", "holdStdout": True}, {"do": "exit"}]))
    agent.prompt(agent.open())
    child = int(agent.read_stderr_line().removeprefix("spawned "))
    agent.status()

    assert Path(f"/proc/{child}/fd/1").stat().st_ino == os.fstat(agent.process.stdout.fileno()).st_ino


def test_login_opens_what_needs_it(play):
    """ACP v1, authentication: session/new answers auth_required until then."""
    agent = play({"needsAuth": True, "authMethods": [{"id": "key", "name": "Key"}]})
    before = agent.call("session/new", cwd="/", mcpServers=[])["error"]["code"]
    agent.call("authenticate", methodId="key")

    assert (before, "result" in agent.call("session/new", cwd="/", mcpServers=[])) == (-32000, True)


def test_a_config_option_is_set_and_told(play):
    """ACP v1, session config options: the answer is the complete list."""
    option = {"id": "model", "name": "Model", "type": "select", "currentValue": "a", "options": []}
    agent = play({"configOptions": [option]})
    answer = agent.call("session/set_config_option", sessionId=agent.open(), configId="model", value="b")

    assert answer["result"]["configOptions"][0]["currentValue"] == "b"


def test_what_is_no_json_is_a_parse_error(play):
    """JSON-RPC 2.0, 5.1."""
    agent = play()
    agent.write(b"{nonsense\n")

    answer = agent.read()

    assert (answer["id"], answer["error"]["code"]) == (None, -32700)


def test_answers_that_nobody_asked_for_are_ignored(play):
    """Toad answers notifications with an error whose id is null."""
    agent = play()
    agent.send(id=None, error={"code": -32601, "message": "?"})
    agent.send(error={"code": -32601, "message": "?"})
    agent.send(id="x", result={})

    assert "result" in agent.call("initialize", protocolVersion=1)


def test_a_batch_is_an_invalid_request(play):
    """ACP has no batches."""
    agent = play()
    agent.write(b"[]\n")
    answer = agent.read()

    assert (answer["id"], answer["error"]["code"]) == (None, -32600)


def test_an_agent_survives_that_nobody_reads_it_any_more(play):
    """Real ones do; what ends them is the end of stdin."""
    agent = play(turns([say("a"), {"do": "stderr", "text": "still here"}, {"do": "stall"}]))
    session = agent.open()
    agent.process.stdout.close()
    agent.prompt(session)

    assert agent.read_stderr_line() == "still here\n"


def test_ids_of_any_form_come_back_as_they_were(play):
    """JSON-RPC 2.0, 4: a string or a number; clients in the wild use 0, strings and UUIDs."""
    agent = play()
    agent.write(b'{"id":"a-b","method":"initialize"}\n{"id":0,"method":"initialize"}\n')

    assert [agent.read()["id"], agent.read()["id"]] == ["a-b", 0]


def test_every_honest_step_is_valid_acp(play):
    """The schema of the official SDK is the judge, so that a drill breaks only what its script breaks."""
    script = {
        "modes": {"currentModeId": "ask", "availableModes": [{"id": "ask", "name": "Ask"}]},
        "turns": [
            [
                say("hello"),
                {"do": "think", "text": "hm", "messageId": "m"},
                {"do": "echo", "voice": "user"},
                {"do": "toolCall", "toolCallId": "1", "title": "List", "kind": "read", "status": "pending"},
                {"do": "toolCallUpdate", "toolCallId": "1", "status": "completed"},
                {"do": "plan", "entries": [{"content": "a", "priority": "high", "status": "pending"}]},
                {"do": "usage", "used": 1, "size": 2},
                {"do": "commands", "availableCommands": [{"name": "go", "description": "Goes"}]},
                {"do": "note", "info": {"title": "T"}},
                {"do": "flood", "count": 2},
            ]
        ],
    }
    agent = play(script)
    introduced = agent.call("initialize", protocolVersion=1)["result"]
    opened = agent.call("session/new", cwd="/", mcpServers=[])["result"]
    heard = agent.turn(opened["sessionId"])

    acp.schema.InitializeResponse.model_validate(introduced)
    acp.schema.NewSessionResponse.model_validate(opened)
    acp.schema.PromptResponse.model_validate(heard[-1]["result"])
    notifications = [acp.schema.SessionNotification.model_validate(message["params"]) for message in heard[:-1]]

    assert len(notifications) == 13


def outcome(answer):
    return answer["error"]["code"] if "error" in answer else answer["result"]["stopReason"]
