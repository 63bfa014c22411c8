"""Modes, options and commands: the selected backend's, one merged view, and what the user wants while it is away."""

import json
from contextlib import asynccontextmanager

import msgspec
import pytest

from tests.support.harness import house, runtime

pytestmark = pytest.mark.anyio

MODES = {"currentModeId": "ask", "availableModes": [{"id": "ask", "name": "Ask"}, {"id": "code", "name": "Code"}]}
MODEL = {
    "id": "model",
    "name": "Model",
    "type": "select",
    "currentValue": "small",
    "options": [{"value": "small", "name": "S"}, {"value": "large", "name": "L"}],
}
FAST = {"id": "fast", "name": "Fast", "type": "boolean", "currentValue": False}
BOOLEANS = {"session": {"configOptions": {"boolean": {}}}}
SPARE = {"turns": [[{"do": "say", "text": "spare"}]]}
SAYS = {"turns": [[{"do": "say", "text": "x"}]]}
DOWN = {"new": [{"do": "fail", "message": "overloaded"}]}
COMMANDS = {"do": "commands", "availableCommands": [{"name": "plan", "description": "p"}]}


def late(*steps: dict) -> dict:
    return {"do": "lateUpdates", "steps": list(steps)}


async def test_a_session_has_the_modes_and_options_of_its_primary(tmp_path):
    """As `session/new` answered them."""
    async with house(tmp_path, primary={"modes": MODES, "configOptions": [MODEL]}) as home:
        opened = await (await home.editor()).opened()

    assert (MODES, MODEL) == (opened["modes"], opened["configOptions"][0])


async def test_modes_alone_stay_modes(tmp_path):
    """An option is made of them only where a client would ignore them."""
    async with house(tmp_path, primary={"modes": MODES}) as home:
        opened = await (await home.editor()).opened()

    assert "configOptions" not in opened


async def test_beside_options_the_mode_is_an_option_too(tmp_path):
    """ACP v1, session config options: clients that get options ignore `modes`."""
    async with house(tmp_path, primary={"modes": MODES, "configOptions": [MODEL]}) as home:
        opened = await (await home.editor()).opened()

    expected = {
        "id": "mode",
        "name": "Mode",
        "category": "mode",
        "type": "select",
        "currentValue": "ask",
        "options": [{"value": "ask", "name": "Ask"}, {"value": "code", "name": "Code"}],
    }
    assert expected == opened["configOptions"][1]


async def test_an_agents_own_mode_option_is_left_alone(tmp_path):
    """One is enough."""
    own = {**MODEL, "id": "approval", "category": "mode"}
    async with house(tmp_path, primary={"modes": MODES, "configOptions": [own]}) as home:
        opened = await (await home.editor()).opened()

    assert [own] == opened["configOptions"]


async def test_what_an_agent_says_of_its_own_mode_option_is_all_that_is_said(tmp_path):
    """A frontend hears what it would hear from the agent itself."""
    own = {**MODEL, "id": "approval", "category": "mode", "currentValue": "ask", "options": [{"value": "code"}]}
    mode = {"do": "update", "update": {"sessionUpdate": "current_mode_update", "currentModeId": "code"}}
    script = {"modes": MODES, "configOptions": [own], "turns": [[{"do": "say", "text": "x"}, mode]]}
    async with house(tmp_path, primary=script) as home:
        editor = await home.editor()
        await editor.prompt(await editor.new())

    assert ["say x", "current_mode_update"] == editor.words


async def test_setting_the_mode_by_our_option_sets_the_agents_mode(tmp_path):
    """The agent knows no such option."""
    async with house(tmp_path, primary={"modes": MODES, "configOptions": [MODEL]}) as home:
        editor = await home.editor()
        session = await editor.new()
        result = await editor.result("session/set_config_option", sessionId=session, configId="mode", value="code")

    modes = [update["currentModeId"] for update in editor.updates if update["sessionUpdate"] == "current_mode_update"]
    assert (["code"], "code") == (modes, result["configOptions"][1]["currentValue"])


async def test_setting_the_mode_is_seen_in_our_option(tmp_path):
    """Both are kept in step."""
    async with house(tmp_path, primary={"modes": MODES, "configOptions": [MODEL]}) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.result("session/set_mode", sessionId=session, modeId="code")

    lists = [update["configOptions"] for update in editor.updates if update["sessionUpdate"] == "config_option_update"]
    assert "code" == lists[-1][1]["currentValue"]


async def test_an_agents_new_list_of_options_keeps_our_option(tmp_path):
    """Its complete list knows nothing of ours."""
    bigger = {
        "do": "update",
        "update": {"sessionUpdate": "config_option_update", "configOptions": [MODEL, {**MODEL, "id": "b"}]},
    }
    script = {"modes": MODES, "configOptions": [MODEL], "turns": [[{"do": "say", "text": "x"}, late(bigger)]]}
    async with house(tmp_path, primary=script) as home:
        editor = await home.editor()
        await editor.prompt(await editor.new())

    lists = [update["configOptions"] for update in editor.updates if update["sessionUpdate"] == "config_option_update"]
    assert ["model", "b", "mode"] == [option["id"] for option in lists[-1]]


@pytest.mark.parametrize(("declared", "shown"), [({}, ["model"]), (BOOLEANS, ["model", "fast"])])
async def test_boolean_options_are_shown_to_who_knows_them(tmp_path, declared, shown):
    """ACP v1, session config options: a client that declared nothing of the kind may fail on one."""
    script = {"configOptions": [MODEL, FAST]}
    async with house(tmp_path, primary=script) as home:
        editor = await home.editor(declared)
        opened = await editor.opened()
        answer = await editor.result(
            "session/set_config_option", sessionId=opened["sessionId"], configId="model", value="large"
        )

    lists = [[option["id"] for option in options] for options in (opened["configOptions"], answer["configOptions"])]
    assert [shown, shown] == lists


async def test_a_boolean_option_is_set_again_as_one(tmp_path):
    """ACP v1, set config option: with `type`, else agents read the value as an id."""
    told: list[dict] = []

    def opens(tools):
        return _listening(runtime("primary", {"configOptions": [FAST], **SAYS}).open(tools), [], told)

    async with house(tmp_path, primary=opens) as home:
        editor = await home.editor(BOOLEANS)
        session = await editor.new()
        await editor.result("session/set_config_option", sessionId=session, configId="fast", type="boolean", value=True)
        await editor.result("session/close", sessionId=session)
        told.clear()
        await editor.prompt(session)

    wanted = {"sessionId": session, "configId": "fast", "type": "boolean", "value": True}
    assert [wanted] == told


async def test_an_option_is_set_by_the_agent(tmp_path):
    """It answers with its whole list."""
    async with house(tmp_path, primary={"configOptions": [MODEL]}) as home:
        editor = await home.editor()
        session = await editor.new()
        result = await editor.result("session/set_config_option", sessionId=session, configId="model", value="large")

    assert ["large"] == [option["currentValue"] for option in result["configOptions"]]


async def test_a_mode_that_is_no_string_is_a_bad_request(tmp_path):
    """Also by our option: it is no fault of ours."""
    async with house(tmp_path, primary={"modes": MODES, "configOptions": [MODEL]}) as home:
        editor = await home.editor()
        session = await editor.new()
        answer = await editor.call("session/set_config_option", sessionId=session, configId="mode", value=5)

    assert {"code": -32602, "message": "a mode is a string, not 5"} == answer["error"]


@pytest.mark.parametrize("result", [5, [], {"configOptions": 5}])
async def test_an_answer_to_an_option_that_is_none_is_the_agents_fault(tmp_path, result):
    """Not ours, and the option stays as it was."""
    calls = {"session/set_config_option": [{"do": "answer", "result": result}]}
    async with house(tmp_path, primary={"configOptions": [MODEL], "calls": calls}) as home:
        editor = await home.editor()
        session = await editor.new()
        answer = await editor.call("session/set_config_option", sessionId=session, configId="model", value="large")

    assert (-33001, "small") == (
        answer["error"]["code"],
        msgspec.json.decode(home.session(session).settings.options[0])["currentValue"],
    )


@pytest.mark.parametrize("script", [{"modes": MODES}, {}])
async def test_an_unknown_mode_is_a_bad_request(tmp_path, script):
    """As the agent says it; where it has no modes, it knows no such method."""
    async with house(tmp_path, primary=script) as home:
        editor = await home.editor()
        session = await editor.new()
        answer = await editor.call("session/set_mode", sessionId=session, modeId="fly")

    assert answer["error"]["code"] in (-32602, -32601)


# --- while the backend is away


async def known_and_down(home):
    """A session of a primary that an earlier session taught us of, and that does not open any more."""
    editor = await home.editor()
    await editor.new()
    return editor, await editor.new()


def once_well(script: dict):
    """A backend that opens once, and then fails to."""
    well, down = runtime("primary", script), runtime("primary", DOWN)
    opened: list[int] = []

    def opens(tools):
        opened.append(1)
        has_session = tools.setup is not None
        return (well if not has_session or len([one for one in opened if one]) <= 2 else down).open(tools)

    return opens


async def test_what_a_session_has_is_known_from_earlier_runs(tmp_path):
    """The editor shows its pickers although the primary is down."""
    async with house(tmp_path, primary=once_well({"modes": MODES}), spare=SPARE) as home:
        editor = await home.editor()
        await editor.new()
        opened = await editor.opened()

    assert MODES == opened["modes"]


async def test_a_mode_that_is_set_while_it_is_down_is_kept(tmp_path):
    """The user has chosen; the choice is carried out when it opens."""
    async with house(tmp_path, primary=once_well({"modes": MODES}), spare=SPARE) as home:
        editor, session = await known_and_down(home)
        await editor.result("session/set_mode", sessionId=session, modeId="code")
        loaded = await editor.result("session/resume", sessionId=session, cwd=str(tmp_path), mcpServers=[])

    assert "code" == loaded["modes"]["currentModeId"]


async def test_a_mode_that_is_set_while_it_is_down_is_told_to_all(tmp_path):
    """A client that goes by updates alone, as acpx does, would show the mode before; so would one that set nothing."""
    async with house(tmp_path, primary=once_well({"modes": MODES}), spare=SPARE) as home:
        (editor, session), other = await known_and_down(home), await home.editor()
        await other.result("session/resume", sessionId=session, cwd=str(tmp_path), mcpServers=[])
        await editor.result("session/set_mode", sessionId=session, modeId="code")

    told = [{"sessionUpdate": "current_mode_update", "currentModeId": "code"}]
    assert (told, told) == (editor.updates, other.updates)


async def test_an_option_that_is_set_while_it_is_down_is_told_to_the_others(tmp_path):
    """Who set it has the whole list for an answer."""
    async with house(tmp_path, primary=once_well({"configOptions": [MODEL]}), spare=SPARE) as home:
        (editor, session), other = await known_and_down(home), await home.editor()
        await other.result("session/resume", sessionId=session, cwd=str(tmp_path), mcpServers=[])
        await editor.result("session/set_config_option", sessionId=session, configId="model", value="large")

    told = [option["currentValue"] for update in other.updates for option in update["configOptions"]]
    assert ["large"] == told


async def test_a_mode_that_is_set_while_it_is_down_is_checked(tmp_path):
    """Against what is known of it."""
    async with house(tmp_path, primary=once_well({"modes": MODES}), spare=SPARE) as home:
        editor, session = await known_and_down(home)
        answer = await editor.call("session/set_mode", sessionId=session, modeId="fly")

    assert {"code": -32602, "message": "no mode is called 'fly'; known: ask, code"} == answer["error"]


async def test_an_option_that_is_set_while_it_is_down_is_checked(tmp_path):
    """As above."""
    async with house(tmp_path, primary=once_well({"configOptions": [MODEL]}), spare=SPARE) as home:
        editor, session = await known_and_down(home)
        answer = await editor.call("session/set_config_option", sessionId=session, configId="fly", value="high")

    assert {"code": -32602, "message": "no config option is called 'fly'"} == answer["error"]


async def test_an_option_that_is_set_while_it_is_down_is_kept(tmp_path):
    """The answer shows it already."""
    async with house(tmp_path, primary=once_well({"configOptions": [MODEL]}), spare=SPARE) as home:
        editor, session = await known_and_down(home)
        result = await editor.result("session/set_config_option", sessionId=session, configId="model", value="large")

    assert ["large"] == [option["currentValue"] for option in result["configOptions"]]


async def test_what_was_set_is_carried_out_when_it_opens_again(tmp_path):
    """A new process knows nothing of the old one's mode and options."""
    asked: list[str] = []
    script = {"modes": MODES, "configOptions": [MODEL], **SAYS}

    def opens(tools):
        return _listening(runtime("primary", script).open(tools), asked)

    async with house(tmp_path, primary=opens) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.result("session/set_mode", sessionId=session, modeId="code")
        await editor.result("session/set_config_option", sessionId=session, configId="model", value="large")
        await editor.result("session/close", sessionId=session)
        asked.clear()
        await editor.prompt(session)

    assert ["session/set_mode", "session/set_config_option"] == asked


async def test_a_setting_finds_the_agent_as_the_user_left_it(tmp_path):
    """A new process is brought to the session's mode before anything else is set in it."""
    asked: list[str] = []
    script = {"modes": MODES, "configOptions": [MODEL], **SAYS}

    def opens(tools):
        return _listening(runtime("primary", script).open(tools), asked)

    async with house(tmp_path, primary=opens) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.result("session/set_mode", sessionId=session, modeId="code")
        await editor.result("session/close", sessionId=session)
        await editor.result("session/resume", sessionId=session, cwd=str(tmp_path), mcpServers=[])
        asked.clear()
        await editor.result("session/set_config_option", sessionId=session, configId="model", value="large")

    assert ["session/set_mode", "session/set_config_option"] == asked


async def test_the_cost_of_a_session_is_told_over_all_its_backends(tmp_path):
    """ACP v1: `cost` is cumulative for the session."""

    def costs(amount: float) -> dict:
        return {"do": "usage", "used": 1, "size": 2, "cost": {"amount": amount, "currency": "USD"}}

    primary = {"turns": [[{"do": "say", "text": "x"}, costs(0.5)], [{"do": "die"}]]}
    async with house(tmp_path, primary=primary, spare={"turns": [[{"do": "say", "text": "y"}, costs(0.25)]]}) as home:
        editor = await home.editor()
        session = await editor.new()
        for _ in range(2):
            await editor.prompt(session)

    amounts = [update["cost"]["amount"] for update in editor.updates if update["sessionUpdate"] == "usage_update"]
    assert [0.5, 0.75] == amounts


async def test_a_backend_that_opens_again_is_shown_with_what_was_set(tmp_path):
    """It opens with its own default, and is given the user's choice at once: the picker must not jump to and fro."""
    async with house(tmp_path, primary={"configOptions": [MODEL], **SAYS}) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.result("session/set_config_option", sessionId=session, configId="model", value="large")
        await editor.result("session/close", sessionId=session)
        await editor.prompt(session)
        loaded = await editor.result("session/resume", sessionId=session, cwd=str(tmp_path), mcpServers=[])

    lists = [update for update in editor.updates if update["sessionUpdate"] == "config_option_update"]
    assert ([], "large") == (lists, loaded["configOptions"][0]["currentValue"])


async def test_what_a_backend_makes_of_what_was_set_is_shown_once(tmp_path):
    """With another model come other efforts: its last answer is the truth."""
    effort = {**MODEL, "id": "effort", "currentValue": "high"}
    answers = {"configOptions": [{**MODEL, "currentValue": "large"}, effort]}
    again = {"configOptions": [MODEL], "calls": {"session/set_config_option": [{"do": "answer", "result": answers}]}}
    scripts = iter([{"configOptions": [MODEL]}, {"configOptions": [MODEL]}])

    def opens(tools):
        return runtime("primary", {**next(scripts, again), **SAYS}).open(tools)

    async with house(tmp_path, primary=opens) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.result("session/set_config_option", sessionId=session, configId="model", value="large")
        await editor.result("session/close", sessionId=session)
        await editor.prompt(session)

    lists = [update["configOptions"] for update in editor.updates if update["sessionUpdate"] == "config_option_update"]
    assert [[("model", "large"), ("effort", "high")]] == [
        [(option["id"], option["currentValue"]) for option in options] for options in lists
    ]


async def test_a_prompt_waits_for_a_setting_that_was_sent_before_it(tmp_path):
    """The user switched to `ask` and then pressed Enter: the prompt must not run in the mode before."""
    calls = {"session/set_mode": [{"do": "stall", "ms": 500}, {"do": "answer", "result": {}}]}
    async with house(tmp_path, primary={"modes": MODES, "calls": calls, **SAYS}) as home:
        editor = await home.editor()
        session = await editor.new()
        editor.request("session/set_mode", sessionId=session, modeId="code")
        turn = await editor.prompt(session)
        before = turn.is_answered
        await home.clock.advance(0.5)

    assert (False, "end_turn") == (before, turn.outcome)


async def test_a_setting_waits_no_longer_than_a_session_for_a_backend_that_hangs(tmp_path):
    """Else nothing behind it is ever answered: no prompt, and no setting either."""
    async with house(tmp_path, primary={"modes": MODES, "new": [{"do": "stall"}]}, spare=SPARE) as home:
        editor = await home.editor()
        opened = editor.request("session/new", cwd=str(tmp_path), mcpServers=[])
        await home.clock.advance(3.0)
        session = editor.reply(opened)["result"]["sessionId"]
        editor.request("session/set_mode", sessionId=session, modeId="code")
        turn = await editor.prompt(session)
        await home.clock.advance(40.0)

    assert ["primary silent", "spare"] == turn.attempts


async def test_a_setting_that_is_never_answered_is_kept_and_holds_no_prompt_up(tmp_path):
    """As if the backend were away; the answer says what the user chose."""
    calls = {"session/set_config_option": [{"do": "stall"}]}
    async with house(tmp_path, primary={"configOptions": [MODEL], "calls": calls}) as home:
        editor = await home.editor()
        session = await editor.new()
        request = editor.request("session/set_config_option", sessionId=session, configId="model", value="large")
        await home.clock.advance(3.0)
        options = editor.reply(request)["result"]["configOptions"]

    assert ["large"] == [option["currentValue"] for option in options]


async def test_a_mode_that_was_not_confirmed_is_set_again_before_the_prompt(tmp_path):
    """The prompt must not run in the mode before, however long the agent took."""
    calls = {"session/set_mode": [{"do": "stall"}]}
    async with house(tmp_path, primary={"modes": MODES, "calls": calls, **SAYS}) as home:
        editor = await home.editor()
        session = await editor.new()
        editor.request("session/set_mode", sessionId=session, modeId="code")
        turn = await editor.prompt(session)
        await home.clock.advance(60.0)

    assert (["current_mode_update"], ["primary silent"]) == (turn.words, turn.attempts)


# --- fallbacks


async def test_a_fallbacks_lists_are_never_shown(tmp_path):
    """What the user sets would go elsewhere."""
    mode = {"do": "update", "update": {"sessionUpdate": "current_mode_update", "currentModeId": "theirs"}}
    spare = {"turns": [[COMMANDS, mode, {"do": "say", "text": "spare"}, late(COMMANDS, mode)]]}
    async with house(tmp_path, primary={"turns": [[{"do": "die"}]]}, spare=spare) as home:
        editor = await home.editor()
        await editor.prompt(await editor.new())

    assert ["say spare"] == editor.words


async def test_a_fallback_does_not_change_the_title(tmp_path):
    """The session is called what its own backend called it."""
    spare = {"turns": [[{"do": "note", "info": {"title": "Theirs"}}, {"do": "say", "text": "spare"}]]}
    async with house(tmp_path, primary={"turns": [[{"do": "die"}]]}, spare=spare) as home:
        editor = await home.editor()
        await editor.prompt(await editor.new())

    assert ["say spare"] == editor.words


async def test_a_fallbacks_usage_is_shown(tmp_path):
    """It was used."""
    spare = {"turns": [[{"do": "say", "text": "spare"}, {"do": "usage", "used": 1, "size": 2}]]}
    async with house(tmp_path, primary={"turns": [[{"do": "die"}]]}, spare=spare) as home:
        editor = await home.editor()
        await editor.prompt(await editor.new())

    assert ["say spare", "usage_update"] == editor.words


async def test_the_primarys_commands_are_shown_as_soon_as_it_says_them(tmp_path):
    """Editors complete them before the first prompt."""
    async with house(tmp_path, primary={"new": [late(COMMANDS)]}) as home:
        editor = await home.editor()
        await editor.new()

    assert ["available_commands_update"] == editor.words


async def test_a_mode_that_an_agent_changes_itself_is_the_sessions(tmp_path):
    """It left its plan mode: a load says so."""
    mode = {"do": "update", "update": {"sessionUpdate": "current_mode_update", "currentModeId": "code"}}
    async with house(tmp_path, primary={"modes": MODES, "turns": [[{"do": "say", "text": "x"}, mode]]}) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session)
        loaded = await editor.result("session/resume", sessionId=session, cwd=str(tmp_path), mcpServers=[])

    assert "code" == loaded["modes"]["currentModeId"]


async def test_a_resumed_agent_that_names_no_modes_keeps_them(tmp_path):
    """ACP v1: `modes` may be left out of a resume's answer. The boundary that the user drew must not fall with it."""
    again = {**SAYS, "modes": None}
    scripts = iter([{"modes": MODES, **SAYS}, {"modes": MODES, **SAYS}])
    calls = {"session/set_mode": [{"do": "answer", "result": {}}]}

    def opens(tools):
        return runtime("primary", next(scripts, {**again, "calls": calls})).open(tools)

    async with house(tmp_path, primary=opens) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.result("session/set_mode", sessionId=session, modeId="code")
        await editor.result("session/close", sessionId=session)
        await editor.prompt(session)
        loaded = await editor.result("session/resume", sessionId=session, cwd=str(tmp_path), mcpServers=[])

    assert "code" == loaded["modes"]["currentModeId"]


async def test_a_mode_that_a_resumed_agent_is_still_in_is_no_default(tmp_path):
    """It remembers the user's choice; the choice is a boundary all the same."""
    scripts = iter([{"modes": MODES, **SAYS}, {"modes": MODES, **SAYS}])
    again = {"modes": {**MODES, "currentModeId": "code"}, "turns": [[{"do": "die"}]]}

    def opens(tools):
        return runtime("primary", next(scripts, again)).open(tools)

    async with house(tmp_path, primary=opens, spare=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.result("session/set_mode", sessionId=session, modeId="code")
        await editor.result("session/close", sessionId=session)
        turn = await editor.prompt(session)

    assert ["primary crashed"] == turn.attempts


async def test_a_user_gets_out_of_a_mode_that_is_no_longer_there(tmp_path):
    """By choosing one that is."""
    scripts = iter([{"modes": MODES, **SAYS}, {"modes": MODES, **SAYS}])
    other = {"modes": {"currentModeId": "yolo", "availableModes": [{"id": "yolo", "name": "Y"}]}, **SAYS}

    def opens(tools):
        return runtime("primary", next(scripts, other)).open(tools)

    async with house(tmp_path, primary=opens) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.result("session/set_mode", sessionId=session, modeId="code")
        await editor.result("session/close", sessionId=session)
        await editor.prompt(session)
        await editor.result("session/set_mode", sessionId=session, modeId="yolo")
        turn = await editor.prompt(session)

    assert "say x" == turn.words[-1]


async def test_a_mode_that_an_agent_no_longer_has_is_not_left_unseen(tmp_path):
    """After an update it has other modes: to run in its default one would cross the boundary that the user drew."""
    scripts = iter([{"modes": MODES, **SAYS}, {"modes": MODES, **SAYS}])
    other = {"modes": {"currentModeId": "yolo", "availableModes": [{"id": "yolo", "name": "Y"}]}, **SAYS}

    def opens(tools):
        return runtime("primary", next(scripts, other)).open(tools)

    async with house(tmp_path, primary=opens) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.result("session/set_mode", sessionId=session, modeId="code")
        await editor.result("session/close", sessionId=session)
        turn = await editor.prompt(session)

    assert ([], ["primary unsupported"]) == (turn.words, turn.attempts)


async def test_a_new_process_that_tells_of_its_default_mode_moves_no_boundary(tmp_path):
    """It has not been told yet what the user chose."""
    default = {"sessionUpdate": "current_mode_update", "currentModeId": "ask"}
    again = {"modes": MODES, "new": [late({"do": "update", "update": default})], "turns": [[{"do": "die"}]]}
    scripts = iter([{"modes": MODES}, {"modes": MODES}])

    def opens(tools):
        return runtime("primary", next(scripts, again)).open(tools)

    async with house(tmp_path, primary=opens, spare=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.result("session/set_mode", sessionId=session, modeId="code")
        await editor.result("session/close", sessionId=session)
        await editor.result("session/resume", sessionId=session, cwd=str(tmp_path), mcpServers=[])
        turn = await editor.prompt(session)

    assert ["primary crashed"] == turn.attempts


async def test_a_mode_option_that_is_gone_holds_until_another_mode_is_chosen(tmp_path):
    """Another setting says nothing of the mode."""
    mode = {**MODEL, "id": "approval", "category": "mode"}
    scripts = iter([{"configOptions": [mode, MODEL]}, {"configOptions": [mode, MODEL]}])

    def opens(tools):
        return runtime("primary", {**next(scripts, {"configOptions": [MODEL]}), **SAYS}).open(tools)

    async with house(tmp_path, primary=opens) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.result("session/set_config_option", sessionId=session, configId="approval", value="large")
        await editor.result("session/close", sessionId=session)
        await editor.prompt(session)
        await editor.result("session/set_config_option", sessionId=session, configId="model", value="large")
        turn = await editor.prompt(session)

    assert ([], ["primary unsupported"]) == (turn.words, turn.attempts)


async def test_a_mode_option_is_set_again_when_its_backend_opens_again(tmp_path):
    """A new process is in its default mode."""
    asked: list[str] = []
    script = {"configOptions": [{**MODEL, "category": "mode"}], **SAYS}

    def opens(tools):
        return _listening(runtime("primary", script).open(tools), asked)

    async with house(tmp_path, primary=opens) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.result("session/set_config_option", sessionId=session, configId="model", value="large")
        await editor.result("session/close", sessionId=session)
        asked.clear()
        await editor.prompt(session)

    assert ["session/set_config_option"] == asked


def _listening(opening, asked: list[str], told: list[dict] | None = None):
    """The same backend; `asked` keeps the methods that it is called with, `told` their params."""

    @asynccontextmanager
    async def opened():
        async with opening as backend:
            call = backend.call

            async def heard(method, params):
                asked.append(method)
                if told is not None:
                    told.append(json.loads(msgspec.json.encode(params)))
                return await call(method, params)

            backend.call = heard
            yield backend

    return opened()
