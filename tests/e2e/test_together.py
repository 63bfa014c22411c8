"""Several clients in one session of a real daemon: one is lost, one is slow, and the others notice nothing of it."""

import socket
from pathlib import Path

from tests.support.broker import chain
from tests.support.daemon import WEBSOCKET, Bridge, Daemon
from tests.support.lasting import NUMBERS
from tests.support.numbered import TURN, news, numbered

PERMISSION = "session/request_permission"
# More than sockets and the broker's memory of a session hold together.
WORDS, LENGTH = 8_000, 1_000
MUCH = {"do": "repeat", "times": WORDS, "steps": [{"do": "say", "text": "x" * LENGTH}]}
ASKS = {"do": "askPermission", "title": "May I?", "toolCallId": "call-1"}


def beside(daemon: Daemon, session: str) -> Bridge:
    """Another client that attends the session, and is told of turns."""
    bridge = daemon.websocket()
    bridge.call("initialize", protocolVersion=1, clientCapabilities=NUMBERS)
    bridge.call("session/resume", sessionId=session, cwd=str(daemon.work), mcpServers=[])
    return bridge


def until_ended(bridge: Bridge) -> None:
    bridge.until(lambda message: message.get("method") == TURN and message["params"]["state"] == "ended")


def test_one_is_killed_and_one_is_slow_and_each_of_the_rest_sees_everything(tmp_path: Path) -> None:
    """In order, once; the slow one as well, when it reads on; and so does who comes when all is over."""
    script = {"turns": [[{"do": "say", "text": "first"}, MUCH, {"do": "say", "text": "last"}]]}
    with Daemon(tmp_path, chain(main=script, frontends=WEBSOCKET)) as daemon:
        killed = daemon.websocket()
        session = killed.open()
        slow, other = beside(daemon, session), beside(daemon, session)
        killed.start(session, "go on")
        killed.until_method("session/update")
        killed.line.socket.shutdown(socket.SHUT_RDWR)
        until_ended(other)
        until_ended(slow)
        late = daemon.websocket()
        late.call("initialize", protocolVersion=1, clientCapabilities=NUMBERS)
        late.call("session/load", sessionId=session, cwd=str(daemon.work), mcpServers=[])
        seen, seen_slowly, seen_late = numbered(other.heard), numbered(slow.heard), numbered(late.heard)

    numbers = [number for number, _ in seen]
    assert sorted(set(numbers)) == numbers
    words = ["echo go on", "started", "say first", *[f"say {'x' * LENGTH}"] * WORDS, "say last", "ended end_turn main"]
    assert words == [word for _, word in seen]
    assert seen == seen_slowly == seen_late


def test_a_question_of_one_who_is_killed_is_answered_by_one_and_withdrawn_at_the_other(tmp_path: Path) -> None:
    """The agent gets one answer, and nobody is left with a question that is settled."""
    with Daemon(tmp_path, chain(main={"turns": [[ASKS, {"do": "sayAnswer"}]]}, frontends=WEBSOCKET)) as daemon:
        killed = daemon.websocket()
        session = killed.open()
        one, other = beside(daemon, session), beside(daemon, session)
        killed.start(session)
        killed.until_method(PERMISSION)
        killed.line.socket.shutdown(socket.SHUT_RDWR)
        asked, also_asked = one.until_method(PERMISSION), other.until_method(PERMISSION)
        one.answer(asked, {"outcome": {"outcome": "selected", "optionId": "allow"}})
        withdrawn = other.until_method("$/cancel_request")
        until_ended(one)
        until_ended(other)

    assert also_asked["id"] == withdrawn["params"]["requestId"]
    assert [] == [message for message in one.heard if message.get("method") == "$/cancel_request"]
    assert ["started", "ended end_turn main"] == news(one.heard) == news(other.heard)
    assert "say allow" in [word for _, word in numbered(other.heard)]
