"""Message and tool-call ids that are unique in a session, across agents and their restarts."""

import json

import pytest
from msgspec import Raw

from acp_broker.broker.ids import Ids
from acp_broker.core.names import SessionId
from acp_broker.wire.acp import Update

FIRST, SECOND = 1, 2


@pytest.fixture
def ids() -> Ids:
    return Ids(SessionId("ours"))


def chunk(message_id: str | None = None, *, kind: str = "agent_message_chunk", rest: str = '"content":{}') -> Update:
    named = f'"messageId":{json.dumps(message_id)},' if message_id is not None else ""
    body = f'{{{named}"sessionUpdate":"{kind}",{rest}}}'
    return Update(kind, {"sessionId": Raw(b'"theirs"'), "update": Raw(body.encode())}, message_id)


def tool(call: str, kind: str = "tool_call") -> Update:
    body = json.dumps({"sessionUpdate": kind, "toolCallId": call, "title": "T"}).encode()
    return Update(kind, {"sessionId": Raw(b'"theirs"'), "update": Raw(body)}, None, call)


def message_of(ids: Ids, update: Update, life: int = FIRST) -> object:
    return json.loads(ids.voiced(update, life))["update"].get("messageId")


def call_of(ids: Ids, update: Update, life: int = FIRST) -> object:
    return json.loads(ids.voiced(update, life))["update"]["toolCallId"]


def test_the_session_is_ours(ids):
    """A frontend knows no other."""
    assert "ours" == json.loads(ids.voiced(chunk("m"), FIRST))["sessionId"]


def test_an_id_is_kept_as_the_agent_chose_it(ids):
    """Nothing is changed that need not be."""
    assert "m" == message_of(ids, chunk("m"))


def test_an_id_that_another_life_has_used_is_rewritten(ids):
    """`msg-1` of a restarted agent is another message."""
    message_of(ids, chunk("m"), FIRST)

    assert "m" != message_of(ids, chunk("m"), SECOND)


def test_an_id_is_rewritten_the_same_way_each_time(ids):
    """Its chunks are one message."""
    message_of(ids, chunk("m"), FIRST)
    again = {message_of(ids, chunk("m"), SECOND) for _ in range(3)}

    assert 1 == len(again)


def test_the_life_that_had_it_first_keeps_it(ids):
    """Late words of the first one belong to its own message."""
    message_of(ids, chunk("m"), FIRST)
    message_of(ids, chunk("m"), SECOND)

    assert "m" == message_of(ids, chunk("m"), FIRST)


def test_tool_call_ids_are_rewritten_on_collision(ids):
    """`call_1` is what half of all agents begin with."""
    first, second = call_of(ids, tool("call_1"), FIRST), call_of(ids, tool("call_1"), SECOND)

    assert ("call_1", True) == (first, second != first)


def test_an_update_of_a_tool_call_has_the_rewritten_id(ids):
    """Or it would update the tool call of an agent that is gone."""
    call_of(ids, tool("call_1"), FIRST)
    second = call_of(ids, tool("call_1"), SECOND)

    assert second == call_of(ids, tool("call_1", "tool_call_update"), SECOND)


def test_chunks_without_an_id_share_one(ids):
    """ACP v1, prompt-turn, "Message IDs": one message is one id."""
    given = {message_of(ids, chunk()) for _ in range(3)}

    assert (1, False) == (len(given), None in given)


def test_a_null_id_is_none(ids):
    """Some agents write it; a client that reads strings would fall over."""
    update = chunk(rest='"messageId":null,"content":{}')

    assert isinstance(message_of(ids, update), str)


def test_a_null_id_shares_the_message_of_chunks_without_one(ids):
    """They are the same message."""
    assert message_of(ids, chunk()) == message_of(ids, chunk(rest='"messageId":null,"content":{}'))


def test_thoughts_and_words_are_messages_of_their_own(ids):
    """A client shows them in different places."""
    assert message_of(ids, chunk()) != message_of(ids, chunk(kind="agent_thought_chunk"))


def test_words_after_a_tool_call_are_a_new_message(ids):
    """The answer goes on below the tool call."""
    before = message_of(ids, chunk())
    ids.voiced(tool("call_1"), FIRST)

    assert before != message_of(ids, chunk())


def test_words_after_a_tool_calls_progress_are_the_same_message(ids):
    """A tool that runs in the background does not break a sentence."""
    ids.voiced(tool("call_1"), FIRST)
    before = message_of(ids, chunk())
    ids.voiced(tool("call_1", "tool_call_update"), FIRST)

    assert before == message_of(ids, chunk())


def test_a_new_attempt_begins_a_new_message(ids):
    """Its words continue nobody else's sentence, nor that of its own last turn."""
    before = message_of(ids, chunk())
    ids.new_message()

    assert before != message_of(ids, chunk())


def test_ids_that_we_make_meet_none_that_an_agent_uses(ids):
    """A restarted broker makes others as well: they begin with something random."""
    other = Ids(SessionId("ours"))

    assert ids.fresh().split("-")[0] != other.fresh().split("-")[0]


@pytest.mark.parametrize(
    "rest",
    [
        '"x":1.50,"y":"\\u00e9","z":1e400,"content":{}',
        '"content": {"type":"text","text":"say \\"messageId\\" twice"}',
        '"_meta":{"b":1,"a":[1,  2]},"content":{}',
    ],
)
def test_the_rest_of_an_update_stays_as_it_was_to_the_byte(ids, rest):
    """Numbers, escapes and spaces may mean something to somebody."""
    assert rest.encode() in ids.voiced(chunk("m", rest=rest), FIRST)


def test_an_update_that_only_gets_an_id_keeps_its_bytes(ids):
    """The hot path splices the id in; nothing is decoded."""
    rest = '"content":{"type":"text","text":"1.50 \\u00e9"}'

    assert rest.encode() in ids.voiced(chunk(rest=rest), FIRST)


def test_members_beside_the_update_pass(ids):
    """`_meta` of the notification itself."""
    update = chunk("m")
    update.params["_meta"] = Raw(b'{"a": 1}')

    assert b'"_meta":{"a": 1}' in ids.voiced(update, FIRST)


def test_an_update_with_no_members_before_its_kind_is_still_json(ids):
    """White space in front, as a pretty-printer leaves it."""
    update = Update("agent_message_chunk", {"update": Raw(b' {"sessionUpdate":"agent_message_chunk"}')})

    assert "agent_message_chunk" == json.loads(ids.voiced(update, FIRST))["update"]["sessionUpdate"]


def test_an_id_that_we_made_is_nobodys(ids):
    """An agent that happens to use it, or learnt it from a replay, means another message."""
    message_of(ids, chunk("m"), FIRST)
    made = message_of(ids, chunk("m"), SECOND)

    assert made != message_of(ids, chunk(made), SECOND)
