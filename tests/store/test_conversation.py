"""A session's past turns out of its log: the newest, and of the log no more than holds them."""

import pytest

from acp_broker.core.names import TurnId
from acp_broker.errors import StoreError
from acp_broker.store.conversation import Conversation, read
from acp_broker.store.records import line

NO_RECORD = b"no record of a session log\n"


def turn(number: int, words: int = 100, tools: int = 0) -> bytes:
    """The records of one turn, with so many bytes of words, and of what tools brought."""
    told = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "a" * words}}
    found = {"sessionUpdate": "tool_call", "toolCallId": "1", "title": "Read", "content": ["x" * tools]}
    return b"".join(
        (
            line("accepted", turn=f"t{number}", prompt=[{"type": "text", "text": f"prompt {number}"}]),
            line("shown", turn=f"t{number}", updates=[{"update": found}] if tools else []),
            line("shown", turn=f"t{number}", updates=[{"update": told}]),
            line("answer", turn=f"t{number}", frame={"result": {"stopReason": "end_turn"}}),
        )
    )


def told(path, limit_bytes: int, turns: int = 100) -> list[str]:
    past, _ = read(path, Conversation(limit_bytes), {TurnId(f"t{number}") for number in range(turns)})
    return [one.said.turn for one in past]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log.jsonl"


@pytest.mark.parametrize("limit", range(0, 6_000, 211))
def test_the_newest_are_told_wherever_the_log_is_entered(path, limit):
    """A window of the log may begin in any record."""
    path.write_bytes(b"".join(turn(number, words=10 * number) for number in range(40)))
    whole = Conversation(limit, upto=1)
    path_of_all = path.with_name("all")
    path_of_all.write_bytes(b"\n" + path.read_bytes())
    everything, _ = read(path_of_all, whole, {TurnId(f"t{number}") for number in range(40)})

    assert [one.said.turn for one in everything] == told(path, limit)


def test_what_is_known_is_not_read_again(path):
    """The log is as it was when it was read."""
    path.write_bytes(turn(1) + turn(2))
    read_then, known = read(path, Conversation(9_000), {TurnId("t1"), TurnId("t2")})

    assert read_then == known.past({TurnId("t1"), TurnId("t2")}, TurnId("t2"))


def test_of_what_is_known_only_what_is_wanted_is_told(path):
    """The log of a forked session may hold more."""
    path.write_bytes(turn(1) + turn(2))
    _, known = read(path, Conversation(9_000), {TurnId("t2")})

    assert ["t2"] == [one.said.turn for one in known.past({TurnId("t2")}, TurnId("t2"))]


@pytest.mark.parametrize("more", [b"", turn(3), line("accepted", turn="t3", prompt=[])])
def test_a_turn_that_may_have_come_since_is_looked_for(path, more):
    """Another process may have run it; and of one that runs, the answer is still to come."""
    path.write_bytes(turn(1) + turn(2).rpartition(b'{"record":"answer"')[0] if not more else turn(1) + turn(2) + more)
    _, known = read(path, Conversation(9_000), {TurnId("t1"), TurnId("t2")})

    assert known.past({TurnId("t1"), TurnId("t2")}, TurnId("t2")) is None


def test_what_is_long_past_is_not_read(path):
    """A fallback's first turn in a session of weeks must not wait for all of it."""
    path.write_bytes(NO_RECORD + b"".join(turn(number) for number in range(100)))

    assert ["t98", "t99"] == told(path, 400)


def test_more_is_read_where_tools_have_filled_the_log(path):
    """What they brought is in the log, and no part of what is told."""
    path.write_bytes(NO_RECORD + b"".join(turn(number, tools=20_000) for number in range(100)))

    assert ["t98", "t99"] == told(path, 350)


def test_all_is_read_where_all_is_needed(path):
    """Nothing is left out for having been long ago."""
    path.write_bytes(line("opened", session="s") + turn(0) + turn(1, tools=100_000))

    assert ["t0", "t1"] == told(path, 1_000)


def test_turns_that_nobody_asked_for_do_not_count(path):
    """They do not make the window large enough."""
    path.write_bytes(turn(0) + b"".join(turn(number) for number in range(1, 100)))

    assert ["t0"] == told(path, 400, turns=1)


@pytest.mark.parametrize(("limit", "expected"), [(400, 2), (1_000_000, 101)])
def test_the_next_read_begins_where_the_last_turn_does(path, limit, expected):
    """It may be running still; what stands before it is known, and nothing is told twice."""
    path.write_bytes(b"".join(turn(number) for number in range(100)))
    ids = {TurnId(f"t{number}") for number in range(101)}
    _, known = read(path, Conversation(limit), ids)
    path.write_bytes(path.read_bytes() + turn(100))
    past, _ = read(path, known, ids)

    assert len(b"".join(map(turn, range(99)))) == known.upto
    assert [f"t{number}" for number in range(101)][-expected:] == [one.said.turn for one in past]


def test_a_log_that_is_not_there_is_told(path):
    """The broker's own log says why a model knows nothing."""
    with pytest.raises(StoreError, match="cannot read"):
        told(path, 400)
