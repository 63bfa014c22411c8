"""Anthropic's Messages, for tests/support/chat_player.py and by the piece."""

import msgspec

from tests.support.chat_player import Speech

USAGE = {"input_tokens": 7, "cache_creation_input_tokens": 2, "cache_read_input_tokens": 5, "output_tokens": 1}


def event(name: str, **members: object) -> bytes:
    """One event of a stream."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode({"type": name, **members}))


def delta(**members: str) -> bytes:
    """A piece of a block."""
    return event("content_block_delta", index=0, delta={"type": f"{next(iter(members))}_delta", **members})


def stopped(reason: str) -> bytes:
    """The stop reason, and what was used; not yet the end."""
    return event("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage={"output_tokens": 3})


def ended(reason: str = "end_turn") -> bytes:
    """The end of a stream."""
    return stopped(reason) + event("message_stop")


def failed(kind: str, message: str) -> bytes:
    """An error inside a stream."""
    return event("error", error={"type": kind, "message": message, "details": None}, request_id="req_1")


BEGUN = event(
    "message_start",
    message={"id": "msg_1", "type": "message", "role": "assistant", "content": [], "stop_reason": None, "usage": USAGE},
)
MESSAGES = Speech(BEGUN, lambda text: delta(text=text), lambda text: delta(thinking=text), ended)
