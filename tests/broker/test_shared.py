"""Many brokers work in the same sessions, one turn at a time: nothing is lost, doubled or stale."""

import json
from contextlib import AsyncExitStack
from random import Random

import pytest
from msgspec import Raw

from acp_broker.contract import About
from tests.broker.test_handoff import Recorder, said
from tests.broker.test_keys import keyed
from tests.broker.test_revival import MODES, reopen
from tests.broker.test_settings import MODEL
from tests.support.clock import settled
from tests.support.harness import house

pytestmark = pytest.mark.anyio

SAYS = {"turns": [[{"do": "say", "text": "one"}]]}
HOLDS = {"turns": [[{"do": "say", "text": "half"}, {"do": "stall", "ms": 1000}, {"do": "say", "text": "whole"}]]}


class Moded(Recorder):
    """`modes` are those that it was asked to be in; it opens in `code`."""

    def __init__(self, name: str, **opened: object) -> None:
        super().__init__(name)
        self.about = About(opened=Raw(json.dumps(opened or {"modes": MODES}).encode()))
        self.modes: list[str] = []

    async def call(self, method: str, params: dict[str, Raw]) -> Raw:
        self.modes += [json.loads(bytes(params[name])) for name in ("modeId",) if name in params]
        return Raw(b"{}")


async def test_a_session_that_is_idle_in_one_broker_can_be_loaded_by_another(tmp_path):
    """Two windows, two processes, one chat."""
    async with house(tmp_path, a=SAYS) as home, house(tmp_path, a=SAYS) as other:
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        await editor.prompt(session, "hello")
        await elsewhere.result("session/load", **reopen(tmp_path, session))

    assert ["echo hello", "say one"] == elsewhere.words


async def test_brokers_take_turns_in_one_session(tmp_path):
    """Each is handed what the other's agent was told."""
    a, b = Recorder("a"), Recorder("b")
    async with house(tmp_path, agent=a.open) as home, house(tmp_path, agent=b.open) as other:
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        await editor.prompt(session, "one")
        await elsewhere.result("session/load", **reopen(tmp_path, session))
        await elsewhere.prompt(session, "two")
        await editor.prompt(session, "three")

    assert ["[user]", "two", "[answer of agent]", "b answers"] == said(a.prompts[1][0])


async def test_a_frontend_sees_what_was_said_in_another_broker(tmp_path):
    """At the latest when the session goes on here."""
    async with house(tmp_path, a=SAYS) as home, house(tmp_path, a=SAYS) as other:
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        await elsewhere.result("session/load", **reopen(tmp_path, session))
        await elsewhere.prompt(session, "there")
        turn = await editor.prompt(session, "here")

    assert (["echo there", "say one", "say one"], "end_turn") == (turn.words, turn.outcome)


async def test_a_prompt_waits_for_the_turn_of_another_broker(tmp_path):
    """And runs as soon as that is over."""
    async with house(tmp_path, a=HOLDS) as home, house(tmp_path, a=SAYS) as other:
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        await elsewhere.result("session/resume", **reopen(tmp_path, session))
        await editor.prompt(session, "long")
        turn = await elsewhere.prompt(session, "next")
        before = turn.is_answered
        await home.clock.advance(1)
        await other.clock.advance(1)

    assert (False, "end_turn") == (before, turn.outcome)


async def test_prompts_that_wait_long_for_another_broker_run_in_their_order(tmp_path):
    """Looked for again and again; each is begun once."""
    agent = Recorder("b")
    async with house(tmp_path, a=HOLDS) as home, house(tmp_path, b=agent.open) as other:
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        await elsewhere.result("session/resume", **reopen(tmp_path, session))
        await editor.prompt(session, "long")
        turns = [await elsewhere.prompt(session, text) for text in ("first", "second")]
        await other.clock.advance(50)
        before = [turn.is_answered for turn in turns]
        await home.clock.advance(1)
        await other.clock.advance(1)

    assert ([False, False], ["end_turn", "end_turn"], ["first", "second"]) == (
        before,
        [turn.outcome for turn in turns],
        [prompt[-1] for prompt in agent.prompts],
    )


async def test_a_prompt_waits_for_another_broker_where_none_may_wait_behind_a_turn(tmp_path):
    """`queuedPrompts` is about prompts behind a turn of this broker: the first one is behind none, a second one is."""
    async with (
        house(tmp_path, a=HOLDS) as home,
        house(tmp_path, policy={"queued_prompts": 0}, a=SAYS) as other,
    ):
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        await elsewhere.result("session/resume", **reopen(tmp_path, session))
        await editor.prompt(session, "long")
        # The lease was asked for by what is written between turns: the prompt comes while that waits.
        other.session(session).prompts.lease.wait()
        first = await elsewhere.prompt(session, "next")
        second = await elsewhere.prompt(session, "one more")
        refused = second.outcome
        await home.clock.advance(1)
        await other.clock.advance(1)

    assert (-33003, "end_turn") == (refused, first.outcome)


async def test_a_prompt_does_not_wait_for_ever(tmp_path):
    """It is refused by name, and may be sent again."""
    async with house(tmp_path, a=HOLDS) as home, house(tmp_path, a=SAYS) as other:
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        await elsewhere.result("session/resume", **reopen(tmp_path, session))
        await editor.prompt(session, "long")
        turn = await elsewhere.prompt(session, "next")
        await other.clock.advance(61)

    assert (-33003, True) == (turn.outcome, "another process of acp-broker" in turn.error)


async def test_a_prompt_that_waits_for_another_broker_can_be_cancelled(tmp_path):
    """As one that waits behind a turn of this one."""
    async with house(tmp_path, a=HOLDS) as home, house(tmp_path, a=SAYS) as other:
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        await elsewhere.result("session/resume", **reopen(tmp_path, session))
        await editor.prompt(session, "long")
        turn = await elsewhere.prompt(session, "next")
        elsewhere.cancel(session)
        await other.clock.advance(0)

    assert "cancelled" == turn.outcome


async def test_a_session_that_was_deleted_elsewhere_is_named(tmp_path):
    """Its words would go into a file without a name."""
    async with house(tmp_path, a=SAYS) as home, house(tmp_path, a=SAYS) as other:
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        await elsewhere.result("session/delete", sessionId=session)
        turn = await editor.prompt(session)

    assert (-33004, True) == (turn.outcome, "was deleted" in turn.error)


async def test_a_turn_that_runs_keeps_its_session_from_being_deleted_elsewhere(tmp_path):
    """What it says would be lost."""
    async with house(tmp_path, a=HOLDS) as home, house(tmp_path, a=SAYS) as other:
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        await editor.prompt(session)
        answer = await elsewhere.call("session/delete", sessionId=session)

    assert -33003 == answer["error"]["code"]


async def test_a_mode_that_was_left_in_another_broker_is_left_here(tmp_path):
    """A mode is a permission boundary: the agent here is still in it, and nobody would know."""
    a, b = Moded("a"), Moded("b")
    async with house(tmp_path, agent=a.open) as home, house(tmp_path, agent=b.open) as other:
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        await editor.result("session/set_mode", sessionId=session, modeId="plan")
        await elsewhere.result("session/load", **reopen(tmp_path, session))
        await elsewhere.result("session/set_mode", sessionId=session, modeId="code")
        await editor.prompt(session)
        shown = [update["currentModeId"] for update in editor.updates if "currentModeId" in update]

    assert (["plan", "code"], ["code"]) == (a.modes, shown)


async def test_a_mode_that_was_left_in_a_later_broker_stays_left(tmp_path):
    """The one after it must not be given again what its user took away."""
    agent, session = Moded("agent"), ""
    for mode in ("plan", "code"):
        async with house(tmp_path, agent=agent.open) as home:
            editor = await home.editor()
            if session:
                await editor.result("session/load", **reopen(tmp_path, session))
            session = session or await editor.new()
            await editor.result("session/set_mode", sessionId=session, modeId=mode)
    async with house(tmp_path, agent=agent.open) as home:
        editor = await home.editor()
        loaded = await editor.result("session/load", **reopen(tmp_path, session))

    assert "code" == loaded["modes"]["currentModeId"]


async def test_a_mode_that_is_set_during_the_turn_of_another_broker_holds(tmp_path):
    """It is later than what that one wrote, though it cannot be written until then."""
    a = Moded("a")
    async with house(tmp_path, agent=a.open) as home, house(tmp_path, agent={**HOLDS, "modes": MODES}) as other:
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        await editor.result("session/set_mode", sessionId=session, modeId="plan")
        await elsewhere.result("session/load", **reopen(tmp_path, session))
        await elsewhere.prompt(session)
        setting = editor.request("session/set_mode", sessionId=session, modeId="code")
        turn = await editor.prompt(session)
        await other.clock.advance(1)
        await home.clock.advance(1)

    assert ("end_turn", "code", {}) == (turn.outcome, a.modes[-1], editor.reply(setting)["result"])


SETTINGS = [
    ("session/set_mode", {"modeId": "plan"}),
    ("session/set_config_option", {"configId": "model", "value": "large"}),
]


@pytest.mark.parametrize(("method", "params"), SETTINGS)
async def test_what_is_set_is_answered_once_it_is_on_the_disk(tmp_path, method, params):
    """Answered before, it would go with a process that is killed, and nobody would know."""
    script = {"modes": MODES, "configOptions": [MODEL]}
    async with house(tmp_path, agent=script) as home, house(tmp_path, agent={**HOLDS, **script}) as other:
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        await elsewhere.result("session/load", **reopen(tmp_path, session))
        await elsewhere.prompt(session)
        setting = editor.request(method, sessionId=session, **params)
        await settled()
        before = editor.replies(setting)
        await other.clock.advance(1)
        await home.clock.advance(1)
        kept = [record for record in home.records(session) if record["record"] == "chosen"]

    assert ([], True, 1) == (before, "result" in editor.reply(setting), len(kept))


async def test_a_setting_that_cannot_be_kept_says_so(tmp_path):
    """A turn may take hours; when it has ended, the setting is written all the same."""
    async with (
        house(tmp_path, agent={"modes": MODES}) as home,
        house(tmp_path, agent={**HOLDS, "modes": MODES}) as other,
    ):
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        await elsewhere.result("session/load", **reopen(tmp_path, session))
        await elsewhere.prompt(session)
        setting = editor.request("session/set_mode", sessionId=session, modeId="plan")
        await home.clock.advance(59)
        before = editor.replies(setting)
        await home.clock.advance(2)
        error = editor.reply(setting)["error"]
        await other.clock.advance(1)
        await home.clock.advance(1)
        kept = [record for record in home.records(session) if record["record"] == "chosen"]

    assert ([], -33003) == (before, error["code"])
    assert error["message"].startswith("it holds here, but is not kept yet: a turn of this session runs in another")
    assert 1 == len(kept)


async def test_a_prompt_that_runs_in_another_broker_is_not_interrupted(tmp_path):
    """Sent again to one that loaded the session meanwhile, it gets the answer once there is one."""
    async with house(tmp_path, a=HOLDS) as home, house(tmp_path, a=SAYS) as other:
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        first = await editor.prompt(session, **keyed("k"))
        await elsewhere.result("session/load", **reopen(tmp_path, session))
        again = await elsewhere.prompt(session, **keyed("k"))
        await home.clock.advance(1)
        await other.clock.advance(1)

    assert first.reply["result"] == again.reply["result"]


async def test_a_turn_that_runs_keeps_its_session_from_being_deleted_where_it_is_open(tmp_path):
    """Idle there, but not here."""
    async with house(tmp_path, a=HOLDS) as home, house(tmp_path, a=SAYS) as other:
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        await elsewhere.result("session/load", **reopen(tmp_path, session))
        turn = await editor.prompt(session)
        waits = await elsewhere.prompt(session, "next")
        answer = await elsewhere.call("session/delete", sessionId=session)
        await home.clock.advance(1)
        await other.clock.advance(1)

    assert (-33003, "end_turn", "end_turn") == (answer["error"]["code"], turn.outcome, waits.outcome)


async def test_an_answer_that_waits_for_another_broker_outlives_a_close(tmp_path):
    """It cannot be written before, and the close is over sooner."""
    async with house(tmp_path, a=HOLDS) as home, house(tmp_path, a=SAYS) as other:
        editor, elsewhere = await home.editor(), await other.editor()
        session = await editor.new()
        await elsewhere.result("session/resume", **reopen(tmp_path, session))
        first = await elsewhere.prompt(session, **keyed("k"))
        await editor.prompt(session, "long")
        again = await elsewhere.prompt(session, **keyed("k"))
        await elsewhere.result("session/close", sessionId=session)
        await home.clock.advance(1)
        await other.clock.advance(1)

    assert first.outcome == again.outcome


@pytest.mark.parametrize("seed", range(5))
async def test_many_brokers_share_ten_sessions(tmp_path, seed):
    """No turn is lost or run twice, and no agent is given a stale history: it knows of every turn before its own."""
    dice, count = Random(seed), 6
    agents = [Recorder(f"b{number}") for number in range(count)]
    known: dict[tuple[int, str], set[str]] = {}
    asked: dict[str, list[str]] = {}
    async with AsyncExitStack() as stack:
        homes = [await stack.enter_async_context(house(tmp_path, agent=agent.open)) for agent in agents]
        editors = [await home.editor() for home in homes]
        for _ in range(10):
            session = await editors[0].new()
            known[0, session], asked[session] = set(), []
        for number in range(60):
            who, session = dice.randrange(count), dice.choice(list(asked))
            if (who, session) not in known:
                known[who, session] = set()
                await editors[who].result("session/resume", **reopen(tmp_path, session))
            text = f"<{number}>"
            turn = await editors[who].prompt(session, text)
            given = "".join(agents[who].prompts[-1])
            known[who, session] |= {one for one in asked[session] if one in given}

            assert ("end_turn", set(asked[session])) == (turn.outcome, known[who, session])
            asked[session].append(text)
            known[who, session].add(text)
        logged = {
            session: [record["prompt"][0]["text"] for record in homes[0].records(session) if "prompt" in record]
            for session in asked
        }

    assert asked == logged
