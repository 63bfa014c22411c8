"""Whom a turn is tried on: health through real turns, what a prompt needs, pins."""

import pytest

from tests.support.harness import house, runtime

pytestmark = pytest.mark.anyio

DIES = {"turns": [[{"do": "die"}]]}
SPARE = {"turns": [[{"do": "say", "text": "spare"}]]}
BACK = {"turns": [[{"do": "fail", "message": "overloaded"}], [{"do": "say", "text": "back"}]]}
IMAGE = [{"type": "image", "data": "aGk=", "mimeType": "image/png"}, {"type": "text", "text": "what is it?"}]
AUDIO = [{"type": "audio", "data": "aGk=", "mimeType": "audio/wav"}]
SEES = {"capabilities": {"promptCapabilities": {"image": True, "audio": True}}, **SPARE}
MODES = {"currentModeId": "ask", "availableModes": [{"id": "ask", "name": "Ask"}, {"id": "code", "name": "Code"}]}
RUNG_S = 30.0


def fails(**members: object) -> dict:
    return {"turns": [[{"do": "fail", **members}], [{"do": "say", "text": "back"}]]}


async def test_the_second_turn_goes_to_the_spare_at_once(tmp_path):
    """A dead primary must not cost every turn its limit."""
    async with house(tmp_path, primary=DIES, spare=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session)
        turn = await editor.prompt(session)

    assert ["spare"] == turn.attempts


async def test_who_rests_is_named_in_the_reply(tmp_path):
    """A failover that is no attempt is said as well."""
    async with house(tmp_path, primary=DIES, spare=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session)
        turn = await editor.prompt(session)

    assert [{"backend": "primary", "why": "rests for 30 s more after crashed"}] == turn.told["skipped"]


async def test_a_backend_rests_for_all_sessions(tmp_path):
    """One health per broker."""
    async with house(tmp_path, primary=DIES, spare=SPARE) as home:
        editor = await home.editor()
        await editor.prompt(await editor.new())
        turn = await editor.prompt(await editor.new())

    assert ["spare"] == turn.attempts


async def test_after_its_rest_the_primary_is_tried_again(tmp_path):
    """The user chose it."""
    async with house(tmp_path, primary=BACK, spare=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session)
        await home.clock.advance(RUNG_S)
        turn = await editor.prompt(session)

    assert (["say back"], ["primary"]) == (turn.words, turn.attempts)


async def test_only_one_turn_finds_out_whether_it_is_back(tmp_path):
    """A backend that comes back from a rest is not met by everybody at once."""
    primary = {
        "turns": [
            [{"do": "fail", "message": "overloaded"}],
            [{"do": "stall", "ms": 1000}, {"do": "say", "text": "back"}],
        ]
    }
    async with house(tmp_path, primary=primary, spare=SPARE) as home:
        editor = await home.editor()
        one, two = await editor.new(), await editor.new()
        await editor.prompt(one)
        await home.clock.advance(RUNG_S)
        probe = await editor.prompt(one)
        other = await editor.prompt(two)
        await home.clock.advance(1.0)

    assert (["spare"], ["say back"]) == (other.attempts, probe.words)


async def test_a_cancelled_probe_finds_nothing_out(tmp_path):
    """The next turn probes."""
    primary = {"turns": [[{"do": "fail", "message": "overloaded"}], [{"do": "stall"}], [{"do": "say", "text": "back"}]]}
    async with house(tmp_path, primary=primary, spare=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session)
        await home.clock.advance(RUNG_S)
        await editor.prompt(session)
        editor.cancel(session)
        turn = await editor.prompt(session)

    assert ["say back"] == turn.words


async def test_a_wait_that_a_provider_asks_for_is_the_rest(tmp_path):
    """It knows."""
    primary = fails(code=-32603, message="429 rate limited", data={"status": 429, "retryAfter": 100})
    async with house(tmp_path, primary=primary, spare=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session)
        await home.clock.advance(99)
        before = await editor.prompt(session)
        await home.clock.advance(2)
        after = await editor.prompt(session)

    assert (["spare"], ["primary"]) == (before.attempts, after.attempts)


async def test_when_everybody_rests_everybody_is_tried(tmp_path):
    """Health is advice: it never refuses a turn."""
    async with house(tmp_path, primary=fails(message="overloaded"), spare=DIES) as home:
        editor = await home.editor()
        session = await editor.new()
        first = await editor.prompt(session)
        second = await editor.prompt(session)

    assert (-33001, ["say back"]) == (first.outcome, second.words)


async def test_a_prompt_that_fails_everywhere_alike_leaves_nobody_resting_for_long(tmp_path):
    """A poison prompt is the prompt's fault: however often it is tried, half a minute later all are as before."""
    poison = {"turns": [[{"do": "fail", "message": "overloaded"}]]}
    async with house(tmp_path, primary=poison, spare=poison) as home:
        editor = await home.editor()
        session = await editor.new()
        for _ in range(4):
            await home.clock.advance(600)
            await editor.prompt(session)
        rests = [record.rest.length_s for record in home.broker.chain._health.records]

    assert [RUNG_S, RUNG_S] == rests


async def test_a_prompt_that_is_nobodys_fault_rests_nobody(tmp_path):
    """`bad_request`: the next prompt may be a good one."""
    primary = fails(message="invalid prompt", kind="bad_request")
    async with house(tmp_path, primary=primary, spare=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session)
        turn = await editor.prompt(session)

    assert ["primary"] == turn.attempts


async def test_one_empty_turn_is_forgiven_and_two_in_a_row_are_not(tmp_path):
    """One may be the prompt's."""
    async with house(tmp_path, primary={"turns": [[{"do": "end"}]]}, spare=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        turns = [await editor.prompt(session) for _ in range(3)]

    tried = ["primary empty_turn", "spare"]
    assert [tried, tried, ["spare"]] == [turn.attempts for turn in turns]


async def test_backends_of_one_profile_are_skipped_together(tmp_path):
    """A rejected key is rejected for each of its models."""
    primary = runtime("primary", fails(code=-32603, message="no", kind="billing"), profile="work")
    second = runtime("second", SPARE, profile="work")
    async with house(tmp_path, primary=primary, second=second, last=SPARE) as home:
        editor = await home.editor()
        turn = await editor.prompt(await editor.new())

    assert ["primary billing", "last"] == turn.attempts


async def test_a_backup_that_is_not_installed_is_not_started(tmp_path):
    """Its check says so in milliseconds."""
    missing = runtime("second", SPARE, check=lambda _: "'codex' is not an executable on PATH")
    async with house(tmp_path, primary=DIES, second=missing, last=SPARE) as home:
        editor = await home.editor()
        turn = await editor.prompt(await editor.new())

    assert ["primary crashed", "second unreachable", "last"] == turn.attempts


# --- what a prompt needs


@pytest.mark.parametrize(("blocks", "what"), [(IMAGE, "images"), (AUDIO, "audio")])
async def test_a_backend_that_cannot_take_a_block_is_passed_over(tmp_path, blocks, what):
    """It would be sent what it never said that it can read."""
    async with house(tmp_path, primary=SPARE, seeing=SEES) as home:
        editor = await home.editor()
        turn = editor.start(await editor.new(), blocks=blocks)
        await home.clock.advance(0)

    expected = [{"backend": "primary", "why": f"it takes no {what}"}]
    assert (["seeing"], expected) == (turn.attempts, turn.told["skipped"])


async def test_a_prompt_that_nobody_can_take_is_refused_by_name(tmp_path):
    """The person can remove the image."""
    async with house(tmp_path, primary=SPARE) as home:
        editor = await home.editor()
        turn = editor.start(await editor.new(), blocks=IMAGE)
        await home.clock.advance(0)

    assert (-33001, "No ACP backend can take this prompt: primary: it takes no images") == (turn.outcome, turn.error)


async def test_a_word_in_a_text_is_no_image(tmp_path):
    """Prompts about JSON hold such words."""
    async with house(tmp_path, primary=SPARE) as home:
        editor = await home.editor()
        turn = await editor.prompt(await editor.new(), 'what is {"type": "image"}?')

    assert ["primary"] == turn.attempts


async def test_a_backend_without_additional_directories_is_passed_over(tmp_path):
    """They are never dropped: it would work with half of the project."""
    roomy = {"capabilities": {"sessionCapabilities": {"additionalDirectories": {}}}, **SPARE}
    async with house(tmp_path, primary=SPARE, roomy=roomy) as home:
        editor = await home.editor()
        first = await editor.prompt(await editor.new())
        turn = await editor.prompt(await editor.new(additionalDirectories=["/more"]))

    expected = [{"backend": "primary", "why": "it takes no additional directories"}]
    assert (["primary"], expected, ["roomy"]) == (first.attempts, turn.told["skipped"], turn.attempts)


# --- a mode is a permission boundary


async def test_in_another_mode_a_backend_without_that_mode_is_passed_over(tmp_path):
    """What may not be done in `ask` mode must not be done by a fallback that has no such mode."""
    async with house(tmp_path, primary={"modes": MODES, **DIES}, spare=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.result("session/set_mode", sessionId=session, modeId="code")
        turn = await editor.prompt(session)

    why = "it has no counterpart of the mode 'code'; map it under `modes` in config.json"
    assert ([{"backend": "spare", "why": why}], ["primary crashed"]) == (
        turn.told["skipped"],
        turn.attempts,
    )


async def test_in_the_default_mode_everybody_may_answer(tmp_path):
    """Nobody drew a boundary."""
    async with house(tmp_path, primary={"modes": MODES, **DIES}, spare=SPARE) as home:
        editor = await home.editor()
        turn = await editor.prompt(await editor.new())

    assert ["primary crashed", "spare"] == turn.attempts


async def test_a_backend_that_config_maps_the_mode_to_may_answer(tmp_path):
    """The operator knows which of its modes draws the same boundary."""
    theirs = {"currentModeId": "plan", "availableModes": [{"id": "plan", "name": "P"}, {"id": "work", "name": "W"}]}
    spare = runtime("spare", {"modes": theirs, **SPARE}, modes={"code": "work"})
    async with house(tmp_path, primary={"modes": MODES, **DIES}, spare=spare) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.result("session/set_mode", sessionId=session, modeId="code")
        turn = await editor.prompt(session)

    assert ["primary crashed", "spare"] == turn.attempts


async def test_a_fallback_is_put_into_the_mode_before_it_is_prompted(tmp_path):
    """Not after: the boundary holds from its first step."""
    theirs = {"currentModeId": "plan", "availableModes": [{"id": "plan", "name": "P"}, {"id": "work", "name": "W"}]}
    calls = {"session/set_mode": [{"do": "fail", "message": "I stay as I am"}]}
    spare = runtime("spare", {"modes": theirs, "calls": calls, **SPARE}, modes={"code": "work"})
    async with house(tmp_path, primary={"modes": MODES, **DIES}, spare=spare) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.result("session/set_mode", sessionId=session, modeId="code")
        turn = await editor.prompt(session)

    assert ([], ["primary crashed", "spare unsupported"]) == (turn.words, turn.attempts)


APPROVAL = {
    "id": "approval",
    "name": "Approval",
    "category": "mode",
    "type": "select",
    "currentValue": "ask",
    "options": [
        {"value": "ask", "name": "Ask"},
        {"group": "g", "name": "G", "options": [{"value": "code", "name": "C"}]},
    ],
}


async def approved(home, value: str = "code"):
    """A turn of a session whose mode was set by its option."""
    editor = await home.editor()
    session = await editor.new()
    await editor.result("session/set_config_option", sessionId=session, configId="approval", value=value)
    return await editor.prompt(session)


@pytest.mark.parametrize("told", [{"configOptions": [APPROVAL]}, {"configOptions": [APPROVAL], "modes": MODES}])
async def test_a_mode_that_is_a_config_option_is_a_boundary_too(tmp_path, told):
    """ACP v1, session config options: category `mode`. New agents tell of their modes in no other way."""
    async with house(tmp_path, primary={**told, **DIES}, spare=SPARE) as home:
        turn = await approved(home)

    assert (["spare"], ["primary crashed"]) == ([one["backend"] for one in turn.told["skipped"]], turn.attempts)


async def test_a_mode_option_at_its_default_draws_no_boundary(tmp_path):
    """Nobody left it."""
    async with house(tmp_path, primary={"configOptions": [APPROVAL], **DIES}, spare=SPARE) as home:
        turn = await approved(home, "ask")

    assert ["primary crashed", "spare"] == turn.attempts


async def test_a_mode_option_that_the_agent_changes_itself_is_a_boundary_too(tmp_path):
    """It went into its plan mode because it was asked to."""
    planning = {"sessionUpdate": "config_option_update", "configOptions": [{**APPROVAL, "currentValue": "code"}]}
    turns = [[{"do": "say", "text": "x"}, {"do": "update", "update": planning}], [{"do": "die"}]]
    async with house(tmp_path, primary={"configOptions": [APPROVAL], "turns": turns}, spare=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session)
        turn = await editor.prompt(session)

    assert ["primary crashed"] == turn.attempts


async def test_a_mode_that_is_left_by_one_way_is_left_by_the_other_too(tmp_path):
    """An agent with modes and an option for them has one mode."""
    async with house(tmp_path, primary={"configOptions": [APPROVAL], "modes": MODES, **DIES}, spare=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.result("session/set_config_option", sessionId=session, configId="approval", value="code")
        await editor.result("session/set_mode", sessionId=session, modeId="ask")
        turn = await editor.prompt(session)

    assert ["primary crashed", "spare"] == turn.attempts


async def test_a_fallback_whose_mode_is_an_option_is_put_into_it_by_that_option(tmp_path):
    """It has no other way."""
    calls = {"session/set_config_option": [{"do": "fail", "message": "I stay as I am"}]}
    spare = runtime("spare", {"configOptions": [APPROVAL], "calls": calls, **SPARE}, modes={"plan": "code"})
    plan = {"currentModeId": "ask", "availableModes": [{"id": "ask", "name": "Ask"}, {"id": "plan", "name": "Plan"}]}
    async with house(tmp_path, primary={"modes": plan, **DIES}, spare=spare) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.result("session/set_mode", sessionId=session, modeId="plan")
        turn = await editor.prompt(session)

    why = "does not take session/set_config_option: I stay as I am"
    assert why in turn.error


async def test_a_mode_that_is_chosen_while_a_turn_runs_holds_for_its_fallbacks(tmp_path):
    """The turn was planned before; the boundary is there all the same."""
    primary = {"modes": MODES, "turns": [[{"do": "stall", "ms": 1000}, {"do": "die"}]]}
    async with house(tmp_path, primary=primary, spare=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        turn = await editor.prompt(session)
        await editor.result("session/set_mode", sessionId=session, modeId="code")
        await home.clock.advance(1.0)

    assert ([], ["primary crashed", "spare unsupported"]) == (turn.words, turn.attempts)


async def test_modes_that_hold_together_are_mapped_together(tmp_path):
    """A fallback that draws one of two boundaries draws too few."""
    options = [
        APPROVAL,
        {**APPROVAL, "id": "sandbox", "currentValue": "in", "options": [{"value": "out", "name": "O"}]},
    ]
    spare = runtime("spare", SPARE, modes={"code": "x", "out": "y"})
    async with house(tmp_path, primary={"configOptions": options, **DIES}, spare=spare) as home:
        editor = await home.editor()
        session = await editor.new()
        for option, value in (("approval", "code"), ("sandbox", "out")):
            await editor.result("session/set_config_option", sessionId=session, configId=option, value=value)
        turn = await editor.prompt(session)

    why = "it has no counterpart of the mode 'code + out'; map it under `modes` in config.json"
    assert [{"backend": "spare", "why": why}] == turn.told["skipped"]


# --- slash commands


COMMANDS = [
    {"do": "lateUpdates", "steps": [{"do": "commands", "availableCommands": [{"name": "compact", "description": "c"}]}]}
]


async def test_a_slash_command_of_the_selected_backend_goes_to_nobody_else(tmp_path):
    """Another agent would take it for words."""
    async with house(tmp_path, primary={"new": COMMANDS, **DIES}, spare=SPARE) as home:
        editor = await home.editor()
        turn = await editor.prompt(await editor.new(), "/compact now")

    assert ["primary crashed"] == turn.attempts


async def test_a_slash_command_that_says_nothing_has_succeeded(tmp_path):
    """`/compact` has nothing to show."""
    async with house(tmp_path, primary={"new": COMMANDS, "turns": [[{"do": "end"}]]}, spare=SPARE) as home:
        editor = await home.editor()
        turn = await editor.prompt(await editor.new(), "/compact")

    assert ("end_turn", ["primary"]) == (turn.outcome, turn.attempts)


async def test_a_slash_that_is_no_command_is_an_ordinary_prompt(tmp_path):
    """`/etc/hosts` is a path."""
    async with house(tmp_path, primary={"new": COMMANDS, **DIES}, spare=SPARE) as home:
        editor = await home.editor()
        turn = await editor.prompt(await editor.new(), "/etc/hosts: what is it?")

    assert ["primary crashed", "spare"] == turn.attempts


async def test_who_asks_the_same_as_the_primary_is_not_tried_after_it(tmp_path):
    """OpenFang #1003: one server under two names is one server."""
    primary = runtime("primary", DIES, asks=b"one")
    again = runtime("again", SPARE, asks=b"one")
    async with house(tmp_path, primary=primary, again=again, spare=SPARE) as home:
        editor = await home.editor()
        session = await editor.new()
        first = await editor.prompt(session)
        second = await editor.prompt(session)

    why = "asks the same of the same provider as primary, which is tried"
    assert (["primary crashed", "spare"], [{"backend": "again", "why": why}]) == (first.attempts, first.told["skipped"])
    assert ["spare"] == second.attempts


async def test_what_is_too_long_goes_to_who_takes_more(tmp_path):
    """And to nobody who takes as little."""
    full = runtime("primary", fails(message="prompt is too long"), window=8)
    small, large = runtime("small", SPARE, window=8), runtime("large", SPARE, window=32)
    async with house(tmp_path, primary=full, small=small, large=large) as home:
        editor = await home.editor()
        turn = await editor.prompt(await editor.new())

    assert ["primary context_overflow", "large"] == turn.attempts
