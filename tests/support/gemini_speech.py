"""The Gemini API, for tests/support/chat_player.py and by the piece."""

import msgspec

from tests.support.chat_player import Speech


def event(data: object) -> bytes:
    """One event of a stream."""
    return b"data: %b\r\n\r\n" % msgspec.json.encode(data)


def said(text: str, **part: object) -> bytes:
    return event({"candidates": [{"content": {"parts": [{"text": text, **part}], "role": "model"}, "index": 0}]})


def ended(reason: str) -> bytes:
    """The end of a stream, and what it has used."""
    usage = {"promptTokenCount": 7, "candidatesTokenCount": 2, "thoughtsTokenCount": 1, "totalTokenCount": 10}
    end = {"content": {"parts": [{"text": ""}], "role": "model"}, "finishReason": reason, "index": 0}
    return event({"candidates": [end], "usageMetadata": usage})


def error(code: int, status: str, message: str, *details: object) -> dict[str, object]:
    told = {"code": code, "message": message, "status": status}
    return {"error": {**told, "details": details} if details else told}


GEMINI = Speech(
    event({"candidates": [{"content": {"role": "model"}, "index": 0}], "usageMetadata": {"promptTokenCount": 7}}),
    said,
    lambda text: said(text, thought=True),
    lambda reason: ended({"max_tokens": "MAX_TOKENS", "refusal": "SAFETY"}.get(reason, "STOP")),
)
