"""OpenAI's Responses, for tests/support/chat_player.py and by the piece."""

import msgspec

from tests.support.chat_player import Speech

USAGE = {
    "input_tokens": 7,
    "input_tokens_details": {"cache_write_tokens": 2, "cached_tokens": 4},
    "output_tokens": 3,
    "output_tokens_details": {"reasoning_tokens": 1},
    "total_tokens": 10,
}


def event(kind: str, **members: object) -> bytes:
    """One event of a stream."""
    data = {"type": kind, **members, "sequence_number": 1}
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), msgspec.json.encode(data))


def response(status: str, **members: object) -> dict[str, object]:
    whole = {"id": "resp_1", "object": "response", "status": status, "error": None, "incomplete_details": None}
    return {**whole, "instructions": "Rate limit exceeded", "output": [], "usage": None, **members}


def message(*content: dict[str, object], status: str = "completed") -> dict[str, object]:
    return {"id": "msg_1", "type": "message", "status": status, "role": "assistant", "content": list(content)}


def text(said: str) -> dict[str, object]:
    return {"type": "output_text", "text": said, "annotations": [], "logprobs": []}


def said(words: str) -> bytes:
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    return event("response.output_text.delta", **place, delta=words, logprobs=[])


def refused(words: str) -> bytes:
    return event("response.refusal.delta", item_id="msg_1", output_index=0, content_index=0, delta=words)


def thought(words: str, index: int = 0) -> bytes:
    place = {"item_id": "rs_1", "output_index": 0, "summary_index": index}
    return event("response.reasoning_summary_text.delta", **place, delta=words)


def ended(**members: object) -> bytes:
    return event("response.completed", response=response("completed", usage=USAGE, **members))


def incomplete(reason: str | None) -> bytes:
    details = None if reason is None else {"reason": reason}
    return event("response.incomplete", response=response("incomplete", incomplete_details=details, usage=USAGE))


def failed(code: str | None, message: str) -> bytes:
    error = None if code is None else {"code": code, "message": message}
    return event("response.failed", response=response("failed", error=error))


BEGUN = b"".join(event(f"response.{name}", response=response("in_progress")) for name in ("created", "in_progress"))


def _end(reason: str) -> bytes:
    found = {"max_tokens": "max_output_tokens", "refusal": "content_filter"}.get(reason)
    return incomplete(found) if found else ended()


RESPONSES = Speech(BEGUN, said, thought, _end)
