"""A frontend that is lost: its turns go on, its questions wait for somebody, its agents for its return."""

import pytest

from acp_broker.broker.terms import Terms
from acp_broker.errors import RpcError
from tests.support.harness import house

pytestmark = pytest.mark.anyio

BRIDGE = Terms("bridge", turns_go_on=True)
EDITOR = Terms("editor")
PERMISSION = "session/request_permission"
ALLOW = {"outcome": {"outcome": "selected", "optionId": "allow"}}
ASKS = {"turns": [[{"do": "askPermission", "toolCallId": "call"}, {"do": "sayAnswer"}]]}
ASKS_LATER = {"turns": [[{"do": "stall", "ms": 1000}, {"do": "askPermission"}, {"do": "sayAnswer"}]]}
SLOW = {"turns": [[{"do": "say", "text": "x"}, {"do": "stall", "ms": 3000}, {"do": "say", "text": "y"}]]}
ECHO = {"turns": [[{"do": "echo", "chunks": 1}]]}
# Agents that cannot come back are kept by `Standby` for ever: what closes them here is the session's rest.
LASTING = {"capabilities": {}, **ECHO}


async def attending(home, session, method="session/resume", terms=BRIDGE):
    """Another frontend that attends the session."""
    editor = await home.editor(terms=terms)
    await editor.result(method, sessionId=session, cwd=str(home.path), mcpServers=[])
    return editor


async def lost(home, *, terms=BRIDGE, others=()):
    """A turn whose frontend is lost before anybody has answered; the session, and those who attend it besides."""
    editor = await home.editor(terms=terms)
    session = await editor.new()
    there = [await attending(home, session) for _ in others]
    await editor.prompt(session)
    await editor.leave()
    return session, there


def answers(home, session):
    """The outcomes of the session's prompts, from its log: nobody may be there to hear them."""
    frames = [record["frame"] for record in home.records(session) if record["record"] == "answer"]
    return [frame["result"]["stopReason"] if "result" in frame else frame["error"]["code"] for frame in frames]


def words(home, session):
    """What its log shows of its agents."""
    shown = [update["update"] for record in home.records(session) for update in record.get("updates", ())]
    return [update["content"]["text"] for update in shown if update["sessionUpdate"] == "agent_message_chunk"]


def is_open(home, session):
    return home.session(session).standbys[0].backend is not None


# --- turns


async def test_a_lost_bridges_turn_goes_on(tmp_path):
    """It comes back for the answer; so do those that wait behind it."""
    async with house(tmp_path, primary=SLOW) as home:
        bridge = await home.editor(terms=BRIDGE)
        session = await bridge.new()
        bridge.start(session, "one")
        await bridge.prompt(session, "two")
        await bridge.leave()
        await home.clock.advance(6)

        assert (["end_turn"] * 2, ["x", "y"] * 2) == (answers(home, session), words(home, session))


async def test_who_comes_back_in_the_middle_sees_the_past_and_then_the_rest(tmp_path):
    """Once each, in order."""
    async with house(tmp_path, primary=SLOW) as home:
        session, _ = await lost(home)
        bridge = await attending(home, session, "session/load")
        await home.clock.advance(3)

    assert ["echo hello", "say x", "say y"] == bridge.words


async def test_an_editor_that_leaves_cancels_its_own_turns_alone(tmp_path):
    """Another client's prompt in the same session is not its to cancel."""
    async with house(tmp_path, primary=SLOW) as home:
        editor = await home.editor(terms=EDITOR)
        session = await editor.new()
        bridge = await attending(home, session)
        await bridge.prompt(session, "mine")
        editor.start(session, "its own")
        await editor.leave()
        await home.clock.advance(3)
        # The other one was never begun: it is in no log.
        cancelled = [line["why"] for line in home.log.of("prompt_not_begun")]

        assert (["end_turn"], ["cancelled"]) == (answers(home, session), cancelled)


async def test_a_prompt_is_shown_to_the_others_when_it_begins(tmp_path):
    """In its place: behind the answer to the one before it."""
    async with house(tmp_path, primary=SLOW) as home:
        one = await home.editor(terms=BRIDGE)
        session = await one.new()
        two = await attending(home, session)
        await one.prompt(session, "one")
        await two.prompt(session, "two")
        await home.clock.advance(6)

    assert ["say x", "say y", "echo two", "say x", "say y"] == one.words
    assert ["echo one", "say x", "say y", "say x", "say y"] == two.words


async def test_a_prompt_that_others_see_is_not_written_twice(tmp_path):
    """It may be megabytes."""
    async with house(tmp_path, primary={"turns": [[{"do": "say", "text": "x"}]]}) as home:
        editor, other = await home.editor(), await home.editor()
        session = await editor.new()
        await other.result("session/resume", sessionId=session, cwd=str(tmp_path), mcpServers=[])
        await editor.prompt(session, "a long prompt")
        written = home.session(session).log.path.read_bytes()

    assert ("echo a long prompt", 1) == (other.words[0], written.count(b"a long prompt"))


async def test_a_prompt_that_was_shown_to_others_is_replayed_once(tmp_path):
    """The accepted prompt is what a replay shows."""
    async with house(tmp_path, primary=ECHO) as home:
        one = await home.editor(terms=BRIDGE)
        session = await one.new()
        await attending(home, session)
        await one.prompt(session, "one")
        late = await attending(home, session, "session/load")

    assert ["echo one", "say one"] == late.words


# --- permissions


async def test_a_permission_waits_for_somebody_to_come(tmp_path):
    """The agent must not be told no because a connection was lost for a moment."""
    async with house(tmp_path, primary=ASKS) as home:
        session, _ = await lost(home)
        await home.clock.advance(59)
        bridge = await attending(home, session)
        (asked,) = bridge.of(PERMISSION)
        bridge.answer(asked, ALLOW)
        await home.clock.advance(0)

        assert (["say allow"], ["end_turn"]) == (bridge.words, answers(home, session))


async def test_a_permission_that_is_asked_while_nobody_is_there_waits_as_well(tmp_path):
    """As above."""
    async with house(tmp_path, primary=ASKS_LATER) as home:
        session, _ = await lost(home)
        await home.clock.advance(30)
        bridge = await attending(home, session, "session/load")
        (asked,) = bridge.of(PERMISSION)
        bridge.answer(asked, ALLOW)
        await home.clock.advance(0)

        assert ["end_turn"] == answers(home, session)


async def test_a_permission_that_is_put_to_who_loads_comes_behind_the_replay(tmp_path):
    """A client knows no session before its load is answered."""
    async with house(tmp_path, primary=ASKS) as home:
        session, _ = await lost(home)
        bridge = await attending(home, session, "session/load")
        kinds = [message.get("method", "answer") for message in bridge.heard]

    assert ["session/update", "answer", PERMISSION] == kinds[-3:]


async def test_a_permission_ends_as_cancelled_after_its_limit(tmp_path):
    """The turn must end, whoever comes or not."""
    async with house(tmp_path, primary=ASKS) as home:
        session, _ = await lost(home)
        await home.clock.advance(59)
        before = answers(home, session)
        await home.clock.advance(1)

        assert ([], ["end_turn"], ["cancelled"]) == (before, answers(home, session), words(home, session))


async def test_its_limit_is_the_operators(tmp_path):
    """limits.unattendedMs."""
    async with house(tmp_path, policy={"unattended_s": 5.0}, primary=ASKS) as home:
        session, _ = await lost(home)
        await home.clock.advance(5)

        assert ["cancelled"] == words(home, session)


async def test_the_turns_clocks_go_on_once_nobody_came(tmp_path):
    """They stand still while a frontend owes an answer: for a lost one, no longer than the permission waits."""
    asks = {"turns": [[{"do": "askPermission"}, {"do": "stall"}]]}
    async with house(tmp_path, primary=asks) as home:
        session, _ = await lost(home)
        await home.clock.advance(60)
        bridge = await attending(home, session)
        bridge.cancel(session)
        await home.clock.advance(5.5)

        assert ["cancelled"] == answers(home, session)


async def test_who_came_in_time_may_think_about_it(tmp_path):
    """The limit is for nobody, not for a person."""
    async with house(tmp_path, primary=ASKS) as home:
        session, _ = await lost(home)
        await home.clock.advance(59)
        bridge = await attending(home, session)
        await home.clock.advance(500)
        bridge.answer(bridge.of(PERMISSION)[0], ALLOW)
        await home.clock.advance(0)

        assert ["allow"] == words(home, session)


async def test_a_permission_is_put_to_the_others_at_once(tmp_path):
    """Somebody is there who can answer."""
    async with house(tmp_path, primary=ASKS) as home:
        session, (other,) = await lost(home, others="a")
        (asked,) = other.of(PERMISSION)
        other.answer(asked, ALLOW)
        await home.clock.advance(0)

        assert ["end_turn"] == answers(home, session)


async def test_while_its_frontend_is_there_nobody_else_is_asked(tmp_path):
    """It is for the frontend that prompted."""
    async with house(tmp_path, primary=ASKS) as home:
        editor = await home.editor()
        session = await editor.new()
        other = await attending(home, session)
        await editor.prompt(session)
        late = await attending(home, session)

    assert [1, 0, 0] == [len(who.of(PERMISSION)) for who in (editor, other, late)]


async def test_the_first_answer_wins_and_the_others_are_told(tmp_path):
    """A person must not be left with a question that nobody asks any more."""
    asks = {"turns": [[{"do": "askPermission"}, {"do": "stall", "ms": 1000}, {"do": "sayAnswer"}]]}
    async with house(tmp_path, primary=asks) as home:
        session, (one, two) = await lost(home, others="ab")
        (first,), (second,) = one.of(PERMISSION), two.of(PERMISSION)
        one.answer(first, ALLOW)
        await home.clock.advance(0)
        two.answer(second, {"outcome": {"outcome": "selected", "optionId": "reject"}})
        is_told = bool(two.of("$/cancel_request"))
        await home.clock.advance(1)

        assert (True, ["allow"], ["end_turn"]) == (is_told, words(home, session), answers(home, session))
    assert ([], [second["id"]]) == tuple(
        [one["params"]["requestId"] for one in who.of("$/cancel_request")] for who in (one, two)
    )


async def test_an_error_does_not_win(tmp_path):
    """One client that does not know the method must not decide for the others."""
    async with house(tmp_path, primary=ASKS) as home:
        session, (one, two) = await lost(home, others="ab")
        (first,), (second,) = one.of(PERMISSION), two.of(PERMISSION)
        one.answer(first, {"code": -32601, "message": "Method not found"})
        await home.clock.advance(0)
        two.answer(second, ALLOW)
        await home.clock.advance(0)

        assert ["allow"] == words(home, session)


async def test_the_last_error_is_the_answer(tmp_path):
    """Nobody else is left to give another."""
    asks = {"turns": [[{"do": "askPermission", "branches": {"error": [{"do": "say", "text": "no"}]}}]]}
    async with house(tmp_path, primary=asks) as home:
        session, others = await lost(home, others="ab")
        for other in others:
            other.answer(other.of(PERMISSION)[0], {"code": -32601, "message": "Method not found"})
        await home.clock.advance(0)

        assert ["no"] == words(home, session)


async def test_it_waits_again_when_all_who_were_asked_are_lost(tmp_path):
    """As it did when the first was."""
    async with house(tmp_path, primary=ASKS) as home:
        session, (other,) = await lost(home, others="a")
        await other.leave()
        await home.clock.advance(30)
        bridge = await attending(home, session)
        bridge.answer(bridge.of(PERMISSION)[0], ALLOW)
        await home.clock.advance(60)

        assert ["allow"] == words(home, session)


async def test_a_turn_that_ends_takes_its_waiting_permission_with_it(tmp_path):
    """Who comes later is not asked, and no limit is waited for."""
    async with house(tmp_path, primary=ASKS) as home:
        session, _ = await lost(home)
        other = await home.editor(terms=BRIDGE)
        other.cancel(session)
        await home.clock.advance(0)
        bridge = await attending(home, session)

        assert (["cancelled"], []) == (answers(home, session), bridge.of(PERMISSION))


# --- what acts on its machine


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"do": "readFile", "path": "a"}, "-32601"),
        ({"do": "terminal", "command": "make", "release": False}, "-32601"),
        ({"do": "elicit", "message": "who?", "mode": "form"}, "cancel"),
    ],
)
@pytest.mark.parametrize("when", ["open", "later"])
async def test_what_only_the_lost_frontend_could_do_fails_at_once(tmp_path, step, said, when):
    """fs and terminals stay with the frontend that prompted; nobody capable is an error."""
    step = {**step, "branches": {"error": [{"do": "sayAnswer"}], "cancel": [{"do": "sayAnswer"}]}}
    steps = [step] if when == "open" else [{"do": "stall", "ms": 1000}, step]
    async with house(tmp_path, primary={"turns": [steps]}) as home:
        session, _ = await lost(home, others="a")
        await home.clock.advance(1)

        assert (1, True) == (len(words(home, session)), said in words(home, session)[0])


# --- sessions that nobody attends


async def test_a_closed_editor_window_leaves_no_agent(tmp_path):
    """And no descriptor."""
    async with house(tmp_path, primary=LASTING) as home:
        editor = await home.editor(terms=EDITOR)
        session = await editor.new()
        await editor.prompt(session)
        await editor.leave()
        await home.clock.advance(0)

        assert (False, True) == (is_open(home, session), home.session(session).log.is_at_rest)


async def test_a_session_of_a_closed_editor_can_be_loaded(tmp_path):
    """It answers again, too."""
    async with house(tmp_path, primary=LASTING) as home:
        editor = await home.editor(terms=EDITOR)
        session = await editor.new()
        await editor.prompt(session, "one")
        await editor.leave()
        await home.clock.advance(0)
        again = await attending(home, session, "session/load", EDITOR)
        turn = await again.prompt(session, "two")

    assert ["echo one", "say one", "say two"] == again.words == ["echo one", "say one", *turn.words]


async def test_a_session_that_another_attends_stays_open(tmp_path):
    """It is not only the editor's."""
    async with house(tmp_path, primary=LASTING) as home:
        editor = await home.editor(terms=EDITOR)
        session = await editor.new()
        await attending(home, session)
        await editor.leave()
        await home.clock.advance(0)

        assert is_open(home, session)


async def test_a_lost_bridges_agents_wait_ten_minutes_for_its_return(tmp_path):
    """Whatever they can: one that cannot be resumed would stay for ever."""
    async with house(tmp_path, primary=LASTING) as home:
        bridge = await home.editor(terms=BRIDGE)
        session = await bridge.new()
        turn = await bridge.prompt(session)
        await home.clock.advance(10)
        assert turn.is_answered
        await bridge.leave()
        await home.clock.advance(599)
        before = is_open(home, session)
        await home.clock.advance(1)

        assert (True, False) == (before, is_open(home, session))


async def test_the_agents_of_a_session_that_nobody_prompted_wait_for_nobody(tmp_path):
    """Who opens sessions and leaves, again and again, would have agents without end."""
    async with house(tmp_path, primary=LASTING) as home:
        bridge = await home.editor(terms=BRIDGE)
        session = await bridge.new()
        await bridge.leave()
        await home.clock.advance(0)

        assert not is_open(home, session)


async def test_a_bridge_that_came_back_keeps_its_agents(tmp_path):
    """It is there."""
    async with house(tmp_path, primary=LASTING) as home:
        bridge = await home.editor(terms=BRIDGE)
        session = await bridge.new()
        await bridge.prompt(session)
        await home.clock.advance(10)
        await bridge.leave()
        await home.clock.advance(300)
        await attending(home, session)
        await home.clock.advance(900)

        assert is_open(home, session)


async def test_an_agent_is_not_closed_in_the_middle_of_a_turn(tmp_path):
    """It has ten minutes from its end."""
    long = {
        "capabilities": {},
        "turns": [[{"do": "say", "text": "x"}, {"do": "stall", "ms": 700_000}]],
    }
    async with house(tmp_path, primary=long) as home:
        session, _ = await lost(home)
        await home.clock.advance(700 + 599)
        before = is_open(home, session)
        await home.clock.advance(1)

        assert (["end_turn"], True, False) == (answers(home, session), before, is_open(home, session))


async def test_a_session_whose_opening_was_answered_by_an_error_is_closed_with_its_client(tmp_path, monkeypatch):
    """Nobody knows its name."""

    async def cannot(_: object) -> None:
        raise RpcError(-33001, "it cannot")

    async with house(tmp_path, primary=LASTING) as home:
        editor = await home.editor(terms=EDITOR)
        monkeypatch.setattr(home.broker, "opened", cannot)
        await editor.call("session/new", cwd="/", mcpServers=[])
        (session,) = home.broker.sessions
        before = is_open(home, session)
        await editor.leave()
        await home.clock.advance(0)

        assert (True, False) == (before, is_open(home, session))
