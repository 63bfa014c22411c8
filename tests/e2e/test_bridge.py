"""What a bridge relies on when it loses its connection: real sockets, a real daemon, whatever happens at its end."""

import socket
from pathlib import Path

from tests.support.broker import chain
from tests.support.daemon import WEBSOCKET, Bridge, Daemon
from tests.support.heard import shown
from tests.support.talk import Talk

ASKS = {"do": "askPermission", "title": "May I?", "toolCallId": "call-1"}
ALLOW = {"outcome": {"outcome": "selected", "optionId": "allow"}}
PERMISSION = "session/request_permission"


def lose(bridge: Bridge) -> None:
    """As when a cable is pulled and the kernel notices: no close frame, nothing that was on its way arrives."""
    bridge.line.socket.shutdown(socket.SHUT_RDWR)


def words(messages: list[dict]) -> list[str]:
    """What prompts and answers say, in order."""
    updates = [one["params"]["update"] for one in messages if one.get("method") == "session/update"]
    return [shown(update) for update in updates if update["sessionUpdate"].endswith("_chunk")]


def load(bridge: Talk, session: str) -> int:
    bridge.initialize()
    return bridge.request("session/load", sessionId=session, cwd=str(bridge.work), mcpServers=[])


def says(text: str):
    return lambda message: words([message]) == [f"say {text}"]


def test_a_turn_whose_connection_is_lost_goes_on_and_nothing_of_it_is_missing(tmp_path: Path) -> None:
    """Wherever in its stream the bridge comes back, the past and the rest join without a gap, and nothing is twice."""
    count = 300
    script = {
        "turns": [[{"do": "say", "text": "a" * count, "chunks": count, "everyMs": 1}, {"do": "say", "text": "z"}]]
    }
    with Daemon(tmp_path, chain(main=script, frontends=WEBSOCKET)) as daemon:
        lost = daemon.websocket()
        session = lost.open()
        lost.start(session, "go on")
        lost.until(says("a"))
        lose(lost)
        back = daemon.websocket()
        load(back, session)
        heard = words(back.until(says("z")))

    assert ["echo go on", *["say a"] * count, "say z"] == heard


def test_each_word_has_the_message_id_that_it_was_shown_with(tmp_path: Path) -> None:
    """By it a chat knows which of its messages a word belongs to."""
    script = {
        "turns": [[{"do": "say", "text": "one", "chunks": 3}, ASKS, {"do": "say", "text": "two", "messageId": "m"}]]
    }
    with Daemon(tmp_path, chain(main=script, frontends=WEBSOCKET)) as daemon:
        first = daemon.websocket()
        first.answers[PERMISSION] = ALLOW
        session = first.open()
        live = first.prompt(session).updates
        second = daemon.websocket()
        past = second.until_reply(load(second, session)).updates[1:]

    kept = [(shown(update), update["messageId"]) for update in live if "messageId" in update]
    assert ["say o", "say n", "say e", "say two"] == [word for word, _ in kept]
    assert kept == [(shown(update), update["messageId"]) for update in past if "messageId" in update]


def test_a_question_whose_connection_is_lost_is_asked_again(tmp_path: Path) -> None:
    """Behind the replay, so that the person sees what it is about; the answer reaches the agent."""
    script = {"turns": [[{"do": "say", "text": "before"}, ASKS, {"do": "sayAnswer"}]]}
    with Daemon(tmp_path, chain(main=script, frontends=WEBSOCKET)) as daemon:
        lost = daemon.websocket()
        session = lost.open()
        lost.start(session, "do it")
        lost.until_method(PERMISSION)
        lose(lost)
        back = daemon.websocket()
        load(back, session)
        question = back.until_method(PERMISSION)
        before = words(back.heard)
        back.answer(question, ALLOW)
        after = words(back.until(says("allow")))

    assert "May I?" == question["params"]["toolCall"]["title"]
    assert (["echo do it", "say before"], ["say allow"]) == (before, after)


def test_prompts_that_waited_when_the_connection_was_lost_are_answered(tmp_path: Path) -> None:
    """They were taken; nobody cancels them but a person. Who comes back sees them all, in order, once."""
    asks = [{"do": "say", "text": "asks"}, ASKS, {"do": "sayAnswer"}]
    script = {"turns": [asks, [{"do": "echo", "chunks": 1}]]}
    with Daemon(tmp_path, chain(main=script, frontends=WEBSOCKET)) as daemon:
        lost = daemon.websocket()
        session = lost.open()
        lost.start(session, "one")
        lost.until_method(PERMISSION)
        lost.write(lost.prompting(session, "two"), lost.prompting(session, "three"))
        lost.call("session/list")
        lose(lost)
        back = daemon.websocket()
        load(back, session)
        back.answer(back.until_method(PERMISSION), ALLOW)
        back.until(says("three"))
        heard = words(back.heard)

    assert ["echo one", "say asks", "say allow", "echo two", "say two", "echo three", "say three"] == heard
    assert 3 == len(daemon.log("turn_over"))


def test_a_bridge_that_came_back_goes_on_where_it_was(tmp_path: Path) -> None:
    """The next prompt is answered on the new connection, by the same agent in the same session."""
    script = {"turns": [[{"do": "say", "text": "first"}], [{"do": "say", "text": "second"}]]}
    with Daemon(tmp_path, chain(main=script, frontends=WEBSOCKET)) as daemon:
        lost = daemon.websocket()
        session = lost.open()
        lost.prompt(session, "one")
        lose(lost)
        back = daemon.websocket()
        back.until_reply(load(back, session))
        turn = back.prompt(session, "two")

    assert (["say second"], "end_turn") == (turn.words, turn.reply["result"]["stopReason"])
