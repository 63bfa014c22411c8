"""What Responses says, as it is on the wire: its events, and the response that makes an answer whole."""

import msgspec
from msgspec import Struct

from backends.http.usage import Usage, cost, count


class Text(Struct):
    """A part of a message, or of reasoning."""

    text: str | None = None
    refusal: str | None = None


class Item(Struct):
    """A message, reasoning with or without a summary, a call."""

    type: str = ""
    content: list[Text] | str | None = None
    summary: list[Text] | None = None


class Incomplete(Struct):
    reason: str | None = None


class Response(Struct):
    status: str | None = None
    output: list[Item] | None = None
    usage: object = None
    error: dict[str, object] | str | None = None
    incomplete_details: Incomplete | None = None


class Event(Response):
    """Any event; and the response itself, where its server does not stream."""

    type: str = ""
    delta: str | dict[str, object] | None = None
    item: Item | None = None
    response: Response | None = None


decode = msgspec.json.Decoder(Event).decode


def used(told: object) -> Usage:
    """What was read from the cache, or written to it, is part of `input_tokens`."""
    asked, answered = count(told, "input_tokens") or 0, count(told, "output_tokens") or 0
    return Usage(
        count(told, "total_tokens") or asked + answered,
        asked,
        answered,
        count(told, "output_tokens_details", "reasoning_tokens"),
        count(told, "input_tokens_details", "cached_tokens"),
        count(told, "input_tokens_details", "cache_write_tokens"),
        cost=cost(told),
    )
