"""Another primary for a session that is there: its settings become the session's, and no mode falls away unseen."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from msgspec import Raw

from acp_broker.broker.runtime import Runtime
from acp_broker.broker.settings import Settings
from acp_broker.contract import Backend, Tools
from acp_broker.core.names import BackendId
from tests.support.harness import Editor, House, house, runtime

pytestmark = pytest.mark.anyio

OLD_MODES = {"currentModeId": "ask", "availableModes": [{"id": "ask", "name": "Ask"}, {"id": "plan", "name": "Plan"}]}
NEW_MODES = {"currentModeId": "auto", "availableModes": [{"id": "auto", "name": "A"}, {"id": "ro", "name": "R"}]}
MODEL = {
    "id": "model",
    "name": "Model",
    "type": "select",
    "currentValue": "s",
    "options": [{"value": "s", "name": "S"}],
}
MOVED = {"sessionUpdate": "current_mode_update", "currentModeId": "plan"}
SAYS = {"turns": [[{"do": "say", "text": "x"}]]}
COMMANDS = {"new": [{"do": "lateUpdates", "steps": [{"do": "commands", "availableCommands": [{"name": "review"}]}]}]}
FAILS = {"turns": [[{"do": "fail", "message": "invalid"}]]}
OLD = {"modes": OLD_MODES, **SAYS}
NEW = {"modes": NEW_MODES, **SAYS}


class Asked:
    """What backends were asked to be set to: `new ro`."""

    def __init__(self) -> None:
        self.list: list[str] = []

    def runtime(self, name: str, script: dict, **members: object) -> Runtime:
        @asynccontextmanager
        async def opens(tools: Tools) -> AsyncIterator[Backend]:
            async with runtime(name, script).open(tools) as backend:
                real = backend.call

                async def call(method, params):
                    value = params.get("modeId") or params.get("value")
                    self.list.append(f"{name} {msgspec.json.decode(value)}")
                    return await real(method, params)

                backend.call = call
                yield backend

        return runtime(name, opens, **members)


async def in_plan_mode(home: House) -> tuple[Editor, str]:
    editor = await home.editor()
    session = await editor.new()
    await editor.result("session/set_mode", sessionId=session, modeId="plan")
    return editor, session


def told(editor: Editor, kind: str) -> dict:
    """The last update of this kind."""
    return [update for update in editor.updates if update["sessionUpdate"] == kind][-1]


# --- what frontends are told


async def test_frontends_are_told_the_mode_of_the_new_primary(tmp_path):
    """Their picker shows what holds."""
    async with house(tmp_path, old=OLD) as home:
        editor = await home.editor()
        await editor.new()
        await home.adopt(new=NEW, old=OLD)

    assert "auto" == told(editor, "current_mode_update")["currentModeId"]


async def test_frontends_are_told_which_modes_there_are_now(tmp_path):
    """ACP v1 has no update for the list of modes; the option that is made of them has one."""
    async with house(tmp_path, old=OLD) as home:
        editor = await home.editor()
        await editor.new()
        await home.adopt(new=NEW, old=OLD)
        (option,) = told(editor, "config_option_update")["configOptions"]

    assert ("mode", "auto", ["auto", "ro"]) == (
        option["id"],
        option["currentValue"],
        [one["value"] for one in option["options"]],
    )


async def test_frontends_are_told_the_options_of_the_new_primary(tmp_path):
    """What was set of the old one is set there no more."""
    async with house(tmp_path, old=SAYS) as home:
        editor = await home.editor()
        await editor.new()
        await home.adopt(new={"configOptions": [MODEL], **SAYS}, old=SAYS)

    assert [MODEL] == told(editor, "config_option_update")["configOptions"]


async def test_the_old_primarys_commands_are_taken_back(tmp_path):
    """The new one would read `/review` as words."""
    async with house(tmp_path, old={**COMMANDS, **SAYS}) as home:
        editor = await home.editor()
        await editor.new()
        await home.adopt(new=SAYS)

    assert [] == told(editor, "available_commands_update")["availableCommands"]


async def test_commands_are_taken_back_although_the_next_primary_never_opened(tmp_path):
    """Two edits in a row: frontends know those of the one before both."""
    async with house(tmp_path, old={**COMMANDS, **SAYS}) as home:
        editor = await home.editor()
        await editor.new()
        await home.adopt(new={"new": [{"do": "stall"}]})
        await home.adopt(other=SAYS)

    assert [] == told(editor, "available_commands_update")["availableCommands"]


async def test_a_primary_without_modes_tells_of_none(tmp_path):
    """A mode without a name would be a new one."""
    async with house(tmp_path, old=OLD) as home:
        editor = await home.editor()
        await editor.new()
        await home.adopt(new=SAYS)

    assert [] == [update for update in editor.updates if update["sessionUpdate"] == "current_mode_update"]


async def test_a_fallback_that_becomes_the_primary_is_told_with_the_commands_it_said_before(tmp_path):
    """It is open already, and will not say them again."""
    fallback = {**COMMANDS, **SAYS}
    async with house(tmp_path, old=FAILS, new=fallback) as home:
        editor = await home.editor()
        await editor.prompt(await editor.new())
        before = list(editor.updates)
        await home.adopt(new=fallback, old=FAILS)

    said = [update for update in editor.updates[len(before) :] if update["sessionUpdate"].startswith("available")]
    assert [["review"]] == [[one["name"] for one in update["availableCommands"]] for update in said]


async def test_frontends_are_told_nothing_before_the_new_primary_has_opened(tmp_path):
    """It may never: then what they know is no worse than nothing."""
    async with house(tmp_path, old=OLD) as home:
        editor = await home.editor()
        await editor.new()
        await home.adopt(new={"modes": NEW_MODES, "new": [{"do": "stall", "ms": 5000}]}, old=OLD)
        before = list(editor.updates)
        await home.clock.advance(5)

    assert ([], "auto") == (before, told(editor, "current_mode_update")["currentModeId"])


async def test_where_there_is_nothing_to_tell_nothing_is_told(tmp_path):
    """Neither of them has a mode, an option or a command."""
    async with house(tmp_path, old=SAYS) as home:
        editor = await home.editor()
        await editor.new()
        await home.adopt(new=SAYS, old=SAYS)

    assert [] == editor.updates


async def test_an_edit_that_leaves_the_primary_tells_nobody_anything(tmp_path):
    """Pickers must not flicker with every save."""
    async with house(tmp_path, old=OLD) as home:
        editor = await home.editor()
        await editor.new()
        await home.adopt(old=OLD, new=NEW)

    assert [] == editor.updates


async def test_the_old_primary_speaks_for_nobody_any_more(tmp_path):
    """It is a fallback."""
    moves = {"turns": [[{"do": "say", "text": "x"}, {"do": "update", "update": MOVED}]], "modes": OLD_MODES}
    async with house(tmp_path, old=moves) as home:
        editor = await home.editor()
        session = await editor.new()
        await home.adopt(new={**FAILS, "modes": NEW_MODES}, old=moves)
        await editor.prompt(session)

    assert "auto" == told(editor, "current_mode_update")["currentModeId"]


async def test_what_is_set_is_set_on_the_new_primary(tmp_path):
    """It is the selected one."""
    asked = Asked()
    async with house(tmp_path, old=asked.runtime("old", OLD)) as home:
        editor = await home.editor()
        session = await editor.new()
        await home.adopt(new=asked.runtime("new", NEW), old=asked.runtime("old", OLD))
        await editor.result("session/set_mode", sessionId=session, modeId="ro")

    assert ["new ro"] == asked.list


async def test_a_load_shows_the_settings_of_the_new_primary(tmp_path):
    """As an update told them who was there."""
    async with house(tmp_path, old=OLD) as home:
        editor = await home.editor()
        session = await editor.new()
        await home.adopt(new=NEW, old=OLD)
        loaded = await editor.result("session/load", sessionId=session, cwd=str(tmp_path), mcpServers=[])

    assert NEW_MODES == loaded["modes"]


async def test_a_config_that_moves_the_primary_is_no_failover(tmp_path):
    """Nobody failed: there is no notice."""
    async with house(tmp_path, policy={"notice": "message"}, old=OLD) as home:
        editor = await home.editor()
        session = await editor.new()
        await home.adopt(policy={"notice": "message"}, new=NEW, old=OLD)
        turn = await editor.prompt(session)

    assert ["say x"] == turn.words


# --- a mode is a permission boundary


async def test_a_chosen_mode_becomes_its_counterpart_of_the_new_primary(tmp_path):
    """As config maps it."""
    asked = Asked()
    async with house(tmp_path, old=OLD) as home:
        editor, session = await in_plan_mode(home)
        await home.adopt(new=asked.runtime("new", NEW, modes={"plan": "ro"}), old=OLD)
        turn = await editor.prompt(session)

    assert (["new ro"], ["new"], "ro") == (
        asked.list,
        turn.attempts,
        told(editor, "current_mode_update")["currentModeId"],
    )


async def test_a_new_primary_without_a_counterpart_is_passed_over(tmp_path):
    """The user asked for a boundary that nobody said it can draw."""
    async with house(tmp_path, old=OLD) as home:
        editor, session = await in_plan_mode(home)
        await home.adopt(new=NEW, old=OLD)
        turn = await editor.prompt(session)

    why = "it has no counterpart of the mode 'plan'; map it under `modes` in config.json"
    assert (["old"], [{"backend": "new", "why": why}]) == (turn.attempts, turn.told["skipped"])


async def test_a_mode_that_the_new_primary_cannot_hold_is_still_shown(tmp_path):
    """It holds, until the user chooses another."""
    async with house(tmp_path, old=OLD) as home:
        editor, session = await in_plan_mode(home)
        await home.adopt(new=NEW, old=OLD)
        loaded = await editor.result("session/resume", sessionId=session, cwd=str(tmp_path), mcpServers=[])

    shown = told(editor, "config_option_update")["configOptions"][0]["currentValue"]
    assert ("plan", "plan", "plan") == (
        told(editor, "current_mode_update")["currentModeId"],
        loaded["modes"]["currentModeId"],
        shown,
    )


async def test_a_mode_of_the_same_name_is_no_counterpart(tmp_path):
    """What one agent calls `plan` another may call so and write files in it."""
    namesake = {**NEW, "modes": {"currentModeId": "auto", "availableModes": [{"id": "plan", "name": "P"}]}}
    async with house(tmp_path, old=OLD) as home:
        editor, session = await in_plan_mode(home)
        await home.adopt(new=namesake, old=OLD)
        turn = await editor.prompt(session)

    assert ["old"] == turn.attempts


async def test_nobody_answers_where_nobody_can_hold_the_mode(tmp_path):
    """Better than an agent that may do what the user forbade."""
    async with house(tmp_path, old=OLD) as home:
        editor, session = await in_plan_mode(home)
        await home.adopt(new=NEW)
        turn = await editor.prompt(session)

    assert ([], -33001) == (turn.words, turn.outcome)


async def test_a_mode_that_is_chosen_anew_ends_the_wait(tmp_path):
    """The user has seen it."""
    async with house(tmp_path, old=OLD) as home:
        editor, session = await in_plan_mode(home)
        await home.adopt(new=NEW, old=OLD)
        await editor.result("session/set_mode", sessionId=session, modeId="auto")
        turn = await editor.prompt(session)

    assert ["new"] == turn.attempts


async def test_a_counterpart_that_is_written_later_ends_the_wait_too(tmp_path):
    """As the reason in the reply asks for."""
    asked = Asked()
    async with house(tmp_path, old=OLD) as home:
        editor, session = await in_plan_mode(home)
        await home.adopt(new=asked.runtime("new", NEW), old=OLD)
        await home.adopt(new=asked.runtime("new", NEW, modes={"plan": "ro"}), old=OLD)
        turn = await editor.prompt(session)

    assert (["new"], ["new ro"], "ro") == (
        turn.attempts,
        asked.list,
        told(editor, "current_mode_update")["currentModeId"],
    )


async def test_a_mode_is_there_again_with_the_primary_that_it_belongs_to(tmp_path):
    """There and back."""
    async with house(tmp_path, old=OLD) as home:
        editor, session = await in_plan_mode(home)
        await home.adopt(new=NEW, old=OLD)
        await home.adopt(old=OLD, new=NEW)
        turn = await editor.prompt(session)

    assert (["old"], "plan") == (turn.attempts, told(editor, "current_mode_update")["currentModeId"])


async def test_an_old_primary_that_is_left_in_another_mode_is_taken_out_of_it(tmp_path):
    """The session is in the default mode by now: its fallback must be, too."""
    asked = Asked()
    old, new = asked.runtime("old", OLD), {**NEW, **FAILS}
    async with house(tmp_path, old=old) as home:
        editor, session = await in_plan_mode(home)
        await home.adopt(new=runtime("new", new, modes={"plan": "ro"}), old=old)
        await editor.result("session/set_mode", sessionId=session, modeId="auto")
        await editor.prompt(session)

    assert ["old plan", "old ask"] == asked.list


async def test_a_fallback_that_had_followed_a_mode_and_is_selected_is_taken_out_of_it(tmp_path):
    """It was in `ro` for a session that has left `plan` since."""
    asked = Asked()
    old, new = {**OLD, **FAILS}, asked.runtime("new", NEW, modes={"plan": "ro"})
    async with house(tmp_path, old=old, new=new) as home:
        editor, session = await in_plan_mode(home)
        await editor.prompt(session)
        await editor.result("session/set_mode", sessionId=session, modeId="ask")
        await home.adopt(new=new, old=old)
        await editor.prompt(session)

    assert ["new ro", "new auto"] == asked.list


async def test_a_setting_under_way_is_carried_out_before_the_primary_changes(tmp_path):
    """The user set it where they saw it; what they chose goes over."""
    asked = Asked()

    async with house(tmp_path, old=asked.runtime("old", OLD)) as home:
        editor = await home.editor()
        session = await editor.new()
        request = editor.request("session/set_mode", sessionId=session, modeId="plan")
        await home.adopt(new=asked.runtime("new", NEW, modes={"plan": "ro"}), old=OLD)
        turn = await editor.prompt(session)

    assert ("result" in editor.reply(request), ["old plan", "new ro"], ["new"]) == (True, asked.list, turn.attempts)


async def test_what_is_put_in_the_primarys_place_is_told_with_its_own_modes(tmp_path):
    """Another program under the same name."""
    async with house(tmp_path, primary=runtime("primary", {**COMMANDS, **OLD}, fingerprint="a")) as home:
        editor = await home.editor()
        await editor.new()
        await home.adopt(primary=runtime("primary", NEW, fingerprint="b"))
        (option,) = told(editor, "config_option_update")["configOptions"]

    assert (["auto", "ro"], []) == (
        [one["value"] for one in option["options"]],
        told(editor, "available_commands_update")["availableCommands"],
    )


async def test_a_mode_goes_unasked_for_nobody_when_another_is_put_in_the_primarys_place(tmp_path):
    """It is asked for, and refused: the turn goes on with who can hold it."""
    spare = runtime("spare", SAYS | {"modes": NEW_MODES}, modes={"plan": "ro"})
    async with house(tmp_path, primary=runtime("primary", OLD, fingerprint="a"), spare=spare) as home:
        editor, session = await in_plan_mode(home)
        await home.adopt(primary=runtime("primary", NEW, fingerprint="b"), spare=spare)
        turn = await editor.prompt(session)

    assert ["primary unsupported", "spare"] == turn.attempts


async def test_a_mode_that_waits_is_told_once(tmp_path):
    """An edit of something else changes nothing about it."""
    async with house(tmp_path, old=OLD) as home:
        editor, _ = await in_plan_mode(home)
        await home.adopt(new=NEW, old=OLD)
        before = len(editor.updates)
        await home.adopt(new=NEW, old=OLD, other=SAYS)

    assert before == len(editor.updates)


async def test_a_mode_that_comes_back_to_its_primary_is_not_translated(tmp_path):
    """`modes` speaks of other backends' modes, which may have the same names."""
    asked = Asked()
    old = asked.runtime("old", OLD, modes={"plan": "ask"})
    async with house(tmp_path, old=old) as home:
        editor, session = await in_plan_mode(home)
        await home.adopt(new=NEW, old=old)
        await home.adopt(old=old, new=NEW)
        await editor.prompt(session)

    assert "plan" == told(editor, "current_mode_update")["currentModeId"]


async def test_a_primary_that_is_passed_over_does_not_move_the_mode(tmp_path):
    """The mode is another's; what this one does with its own changes nothing for the session."""
    moves = {"do": "update", "update": {"sessionUpdate": "current_mode_update", "currentModeId": "ro"}}
    new = {**NEW, "new": [{"do": "lateUpdates", "steps": [moves]}]}
    async with house(tmp_path, old=OLD) as home:
        editor, _ = await in_plan_mode(home)
        await home.adopt(new=new, old=OLD)

    assert "plan" == told(editor, "current_mode_update")["currentModeId"]


def test_an_agent_that_comes_back_in_a_mode_that_was_left_is_taken_out_of_it():
    """It resumed the session as it last had it, which is no default."""
    settings = Settings(BackendId("a"), shows_booleans=True)
    settings.opened(Raw(msgspec.json.encode({"modes": OLD_MODES})))
    settings.go_to("plan")
    settings.go_home()
    settings.opened(Raw(msgspec.json.encode({"modes": {**OLD_MODES, "currentModeId": "plan"}})))

    assert [("session/set_mode", {"modeId": Raw(b'"ask"')})] == settings.wanted()


def test_the_mode_that_an_agent_comes_back_in_is_no_default():
    """It is in the default one again once it says so."""
    settings = Settings(BackendId("a"), shows_booleans=True)
    settings.opened(Raw(msgspec.json.encode({"modes": OLD_MODES})))
    settings.go_to("plan")
    settings.go_home()
    settings.opened(Raw(msgspec.json.encode({"modes": {**OLD_MODES, "currentModeId": "plan"}})))
    settings.mode_set("ask")

    assert settings.chosen_mode is None


def test_a_mode_option_that_is_there_no_more_is_not_asked_for_to_leave_it():
    """It would be refused, turn after turn."""
    option = {"id": "mode", "category": "mode", "currentValue": "a", "options": [{"value": "a"}, {"value": "b"}]}
    settings = Settings(BackendId("a"), shows_booleans=True)
    settings.opened(Raw(msgspec.json.encode({"configOptions": [option]})))
    settings.go_to("b")
    settings.go_home()
    settings.opened(Raw(b'{"configOptions":[]}'))

    assert [] == settings.wanted()
