"""Where agents meet frontends: requests, terminals, extensions, and their tidy end."""

import pytest

from acp_broker.core.failures import Failure, FailureKind
from tests.support.harness import EVERYTHING, house

pytestmark = pytest.mark.anyio

SPARE = {"turns": [[{"do": "say", "text": "spare"}]]}
PERMISSION = "session/request_permission"
ASKS = {"turns": [[{"do": "askPermission", "toolCallId": "call"}, {"do": "sayAnswer"}]]}
STALL = {"do": "stall"}
ALLOW = {"outcome": {"outcome": "selected", "optionId": "allow"}}


def plays(*steps: dict, **members: object) -> dict:
    return {"turns": [list(steps)], **members}


def terminal() -> dict:
    return {"do": "terminal", "command": "make", "release": False}


async def prompted(home, capabilities: object = EVERYTHING):
    editor = await home.editor(capabilities)
    session = await editor.new()
    return editor, session, await editor.prompt(session)


async def test_an_answer_goes_back_to_the_agent(tmp_path):
    """The person said yes."""
    async with house(tmp_path, primary=ASKS) as home:
        editor, _, turn = await prompted(home)
        editor.answer(editor.of(PERMISSION)[0], ALLOW)
        await home.clock.advance(0)

    assert ["say allow"] == turn.words


async def test_an_answer_by_error_goes_back_too(tmp_path):
    """Clients exist that do not know the method."""
    async with house(
        tmp_path, primary=plays({"do": "askPermission", "branches": {"error": [{"do": "say", "text": "no"}]}})
    ) as home:
        editor, _, turn = await prompted(home)
        editor.answer(editor.of(PERMISSION)[0], {"code": -32601, "message": "Method not found"})
        await home.clock.advance(0)

    assert ["say no"] == turn.words


async def test_a_request_names_our_session(tmp_path):
    """A frontend knows no other."""
    async with house(tmp_path, primary=ASKS) as home:
        editor, session, _ = await prompted(home)

        assert session == editor.of(PERMISSION)[0]["params"]["sessionId"]


async def test_a_permission_names_the_tool_call_as_the_frontend_knows_it(tmp_path):
    """Two agents begin with the same id: the second one's is rewritten everywhere."""
    steps = [{"do": "toolCall", "toolCallId": "call", "title": "T"}, {"do": "askPermission", "toolCallId": "call"}]
    first = {"turns": [[*steps, {"do": "die"}], [{"do": "die"}]]}
    async with house(tmp_path, primary=first, spare=plays(*steps)) as home:
        editor, session, _ = await prompted(home)
        editor.answer(editor.of(PERMISSION)[0], ALLOW)
        await home.clock.advance(0)
        await editor.prompt(session)
        shown = [update["toolCallId"] for update in editor.updates if update["sessionUpdate"] == "tool_call"]
        asked = [request["params"]["toolCall"]["toolCallId"] for request in editor.of(PERMISSION)]

    assert (shown, 2) == (asked, len(set(shown)))


async def test_asking_is_output(tmp_path):
    """A person was interrupted: nobody else may start over."""
    steps = [{"do": "askPermission"}, {"do": "fail", "message": "overloaded"}]
    async with house(tmp_path, primary=plays(*steps), spare=SPARE) as home:
        editor, _, turn = await prompted(home)
        editor.answer(editor.of(PERMISSION)[0], ALLOW)
        await home.clock.advance(0)

    assert -33002 == turn.outcome


async def test_reading_a_file_is_none(tmp_path):
    """It changes nothing, and nobody sees it."""
    steps = [{"do": "readFile", "path": "a"}, {"do": "fail", "message": "overloaded"}]
    async with house(tmp_path, primary=plays(*steps), spare=SPARE) as home:
        editor, _, turn = await prompted(home)
        editor.answer(editor.of("fs/read_text_file")[0], {"content": "x"})
        await home.clock.advance(0)

    assert ["say spare"] == turn.words


@pytest.mark.parametrize(
    ("step", "code"),
    [
        ({"do": "readFile", "path": "a"}, -32601),
        ({"do": "writeFile", "path": "a", "text": "b"}, -32601),
        (terminal(), -32601),
        ({"do": "elicit", "message": "who?", "mode": "form"}, -32602),
        ({"do": "elicit", "message": "who?", "mode": "url"}, -32602),
    ],
)
async def test_what_a_frontend_has_not_declared_is_not_asked_of_it(tmp_path, step, code):
    """ACP v1, initialization: capabilities that are left out are not there."""
    steps = {**step, "branches": {"error": [{"do": "sayAnswer"}]}}
    async with house(tmp_path, primary=plays(steps)) as home:
        editor, _, turn = await prompted(home, {})

    asked = [message for message in editor.heard if "method" in message and "id" in message]
    assert ([], True) == (asked, str(code) in turn.words[0])


async def test_an_extension_request_is_asked_of_any_frontend(tmp_path):
    """Who does not know it says so itself."""
    async with house(tmp_path, primary=plays({"do": "ext", "method": "_x", "request": True}, STALL)) as home:
        editor, _, _ = await prompted(home, {})

        assert 1 == len(editor.of("_x"))


async def test_an_extension_notification_reaches_who_prompted(tmp_path):
    """With our session's id where it has one."""
    step = {"do": "ext", "method": "_x", "session": True, "params": {"a": 1}}
    async with house(tmp_path, primary=plays(step, {"do": "say", "text": "x"})) as home:
        editor, session, _ = await prompted(home)

        assert {"a": 1, "sessionId": session} == editor.of("_x")[0]["params"]


@pytest.mark.parametrize("call", ["a string", 7, None, ["a", "list"]])
async def test_a_tool_call_of_another_shape_passes_as_it_is(tmp_path, call):
    """The frontend refuses it itself; an agent's mistake must not cost it the connection."""
    params = {"toolCall": call, "options": []}
    step = {"do": "ext", "method": PERMISSION, "request": True, "session": True, "params": params}
    async with house(tmp_path, primary=plays(step)) as home:
        editor, _, _ = await prompted(home)

        assert call == editor.of(PERMISSION)[0]["params"]["toolCall"]


async def test_an_elicitation_within_a_prompt_names_the_prompt_as_the_frontend_knows_it(tmp_path):
    """Its `requestId` is the agent's own; the frontend's is another."""
    step = {"do": "elicit", "message": "who?", "mode": "form", "params": {"requestId": 99}}
    async with house(tmp_path, primary=plays(step, STALL)) as home:
        editor, _, turn = await prompted(home)

        assert turn.request == editor.of("elicitation/create")[0]["params"]["requestId"]


# --- withdrawn


async def test_a_cancel_withdraws_what_is_open(tmp_path):
    """ACP v1, prompt-turn, "Cancellation": the agent gets `cancelled`, the frontend is told."""
    asks = plays(
        {"do": "ignoreCancel"}, {"do": "askPermission", "branches": {"cancelled": [{"do": "say", "text": "c"}]}}
    )
    async with house(tmp_path, primary=asks) as home:
        editor, session, turn = await prompted(home)
        editor.cancel(session)
        await home.clock.advance(0)

    asked, told = editor.of(PERMISSION)[0], editor.of("$/cancel_request")
    assert ["say c"] == turn.words
    assert [{"requestId": asked["id"]}] == [message["params"] for message in told]


async def test_a_failure_withdraws_what_is_open(tmp_path):
    """What a dead agent wanted to know must not keep a frontend busy."""
    async with house(tmp_path, primary=plays({"do": "readFile", "path": "a"}), spare=SPARE) as home:
        editor, session, turn = await prompted(home)
        home.session(session).serving().backend.fall(Failure(FailureKind.CRASHED, "gone"))
        await home.clock.advance(0)

    asked, told = editor.of("fs/read_text_file")[0], editor.of("$/cancel_request")
    assert [{"requestId": asked["id"]}] == [message["params"] for message in told]
    assert ["say spare"] == turn.words


async def test_a_late_answer_to_what_was_withdrawn_is_dropped(tmp_path):
    """It crossed the withdrawal on the wire; nobody waits for it, and nobody is told of an error."""
    async with house(tmp_path, primary=ASKS) as home:
        editor, session, _ = await prompted(home)
        editor.cancel(session)
        await home.clock.advance(0)
        since = len(editor.heard)
        editor.answer(editor.of(PERMISSION)[0], ALLOW)
        await home.clock.advance(0)

    assert ([], 1) == (editor.heard[since:], len(home.log.of("answer_nobody_asked_for")))


async def test_an_agent_may_take_its_question_back(tmp_path):
    """`$/cancel_request` from the agent."""
    steps = [
        {"do": "askPermission", "withdrawMs": 100, "branches": {"withdrawn": [{"do": "say", "text": "never mind"}]}}
    ]
    async with house(tmp_path, primary=plays(*steps)) as home:
        editor, _, turn = await prompted(home)
        await home.clock.advance(0.1)

    told = [message["params"]["requestId"] for message in editor.of("$/cancel_request")]
    assert ([editor.of(PERMISSION)[0]["id"]], ["say never mind"]) == (told, turn.words)


async def test_a_question_of_an_ending_agent_is_answered_by_us(tmp_path):
    """Nobody is asked on behalf of a turn that was cancelled."""
    asks = plays(
        {"do": "say", "text": "x"},
        {
            "do": "waitCancel",
            "steps": [{"do": "askPermission", "branches": {"cancelled": [{"do": "say", "text": "c"}]}}],
        },
    )
    async with house(tmp_path, primary=asks) as home:
        editor, session, turn = await prompted(home)
        editor.cancel(session)
        await home.clock.advance(0)

    assert ([], ["say x", "say c"]) == (editor.of(PERMISSION), turn.words)


async def test_a_question_outside_of_any_turn_is_answered_by_us(tmp_path):
    """There is no prompt that it could belong to."""
    ask = {"do": "askPermission", "branches": {"cancelled": [{"do": "note", "info": {"title": "nobody there"}}]}}
    async with house(tmp_path, primary={"new": [ask]}) as home:
        editor = await home.editor()
        await editor.new()

    assert ([], ["session_info_update"]) == (editor.of(PERMISSION), editor.words)


# --- tidied up


async def test_tool_calls_that_a_failure_left_open_are_shown_failed(tmp_path):
    """Or they would turn for ever on the screen."""
    steps = [
        {"do": "toolCall", "toolCallId": "done", "title": "T", "status": "completed"},
        {"do": "toolCall", "toolCallId": "open", "title": "T", "status": "in_progress"},
        {"do": "toolCall", "toolCallId": "pending", "title": "T"},
        {"do": "die"},
    ]
    async with house(tmp_path, primary=plays(*steps)) as home:
        _, _, turn = await prompted(home)

    assert ["tool_call_update open failed", "tool_call_update pending failed"] == turn.words[3:]


async def test_tool_calls_that_a_cancel_left_open_are_shown_failed(tmp_path):
    """ACP v1, prompt-turn, "Cancellation"."""
    steps = [{"do": "toolCall", "toolCallId": "open", "title": "T", "status": "in_progress"}, STALL]
    async with house(tmp_path, primary=plays(*steps)) as home:
        editor, session, turn = await prompted(home)
        editor.cancel(session)
        await home.clock.advance(0)

    assert ["tool_call open in_progress", "tool_call_update open failed"] == turn.words


async def test_a_turn_that_ends_well_leaves_its_tools_alone(tmp_path):
    """A background job may run on, and be reported later."""
    steps = [{"do": "toolCall", "toolCallId": "open", "title": "T", "status": "in_progress"}]
    async with house(tmp_path, primary=plays(*steps)) as home:
        _, _, turn = await prompted(home)

    assert ["tool_call open in_progress"] == turn.words


async def test_terminals_that_a_failure_left_are_killed_and_released(tmp_path):
    """Nothing of a dead agent goes on running on somebody's machine."""
    async with house(tmp_path, primary=plays(terminal(), STALL)) as home:
        editor, session, _ = await prompted(home)
        editor.answer(editor.of("terminal/create")[0], {"terminalId": "term-1"})
        await home.clock.advance(0)
        editor.cancel(session)
        await home.clock.advance(0)

        ended = [
            (message["method"], message["params"].get("terminalId"))
            for message in editor.heard
            if "terminal/" in message.get("method", "")
        ]
        assert [("terminal/kill", "term-1"), ("terminal/release", "term-1")] == ended[-2:]


async def test_terminals_that_were_released_are_left_alone(tmp_path):
    """A second release would be an error."""
    steps = [{"do": "terminal", "command": "make", "release": True}, {"do": "say", "text": "x"}, {"do": "die"}]
    async with house(tmp_path, primary=plays(*steps)) as home:
        editor, _, turn = await prompted(home)
        answers = {"terminal/create": {"terminalId": "t"}, "terminal/wait_for_exit": {"exitCode": 0}}
        answers |= {"terminal/output": {"output": "", "truncated": False}, "terminal/release": {}}
        for method, result in answers.items():
            editor.answer(editor.of(method)[0], result)
            await home.clock.advance(0)

    assert (-33002, 1, 0) == (turn.outcome, len(editor.of("terminal/release")), len(editor.of("terminal/kill")))


async def test_a_terminal_that_comes_too_late_is_killed_and_released(tmp_path):
    """The frontend made it while its request was being withdrawn: nobody else knows of it."""
    async with house(tmp_path, primary=plays(terminal(), STALL)) as home:
        editor, session, _ = await prompted(home)
        editor.cancel(session)
        await home.clock.advance(0)
        editor.answer(editor.of("terminal/create")[0], {"terminalId": "late"})
        await home.clock.advance(0)

    ended = [message["method"] for message in editor.heard if message.get("params", {}).get("terminalId") == "late"]
    assert ["terminal/kill", "terminal/release"] == ended


async def test_a_terminals_calls_stay_with_the_frontend_that_made_it(tmp_path):
    """Only it has the process."""
    counts = {
        "turns": [
            [terminal()],
            [
                {
                    "do": "ext",
                    "method": "terminal/output",
                    "request": True,
                    "session": True,
                    "params": {"terminalId": "t"},
                }
            ],
        ]
    }
    async with house(tmp_path, primary=counts) as home:
        editor, session, turn = await prompted(home)
        editor.answer(editor.of("terminal/create")[0], {"terminalId": "t"})
        await home.clock.advance(0)
        editor.answer(editor.of("terminal/wait_for_exit")[0], {"exitCode": 0})
        await home.clock.advance(0)
        editor.answer(editor.of("terminal/output")[0], {"output": "", "truncated": False})
        await home.clock.advance(0)
        done = turn.is_answered
        other = await home.editor()
        await other.result("session/resume", sessionId=session, cwd=str(tmp_path), mcpServers=[])
        await other.prompt(session)

        assert (True, 2, []) == (done, len(editor.of("terminal/output")), other.of("terminal/output"))


async def test_what_a_frontend_owed_when_it_left_is_answered_by_us(tmp_path):
    """An agent that waits for somebody who is gone would wait for ever."""
    outputs = {
        "do": "ext",
        "method": "terminal/output",
        "request": True,
        "session": True,
        "params": {"terminalId": "t"},
    }
    counts = {
        "turns": [
            [terminal()],
            [{**outputs, "branches": {"error": [{"do": "say", "text": "gone"}]}}],
        ]
    }
    async with house(tmp_path, primary=counts) as home:
        editor, session, turn = await prompted(home)
        for method, result in (
            ("create", {"terminalId": "t"}),
            ("wait_for_exit", {"exitCode": 0}),
            ("output", {"output": "", "truncated": False}),
        ):
            editor.answer(editor.of(f"terminal/{method}")[0], result)
            await home.clock.advance(0)
        other = await home.editor()
        await other.result("session/resume", sessionId=session, cwd=str(tmp_path), mcpServers=[])
        turn = await other.prompt(session)
        await editor.leave()
        await home.clock.advance(0)

    assert ["say gone"] == turn.words
