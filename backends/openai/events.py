"""What Responses says, as it is on the wire: its events, and the response that makes an answer whole."""

import msgspec
from msgspec import Struct

from backends.http import turn


class Text(Struct):
    """A part of a message, or of reasoning."""

    text: str | None = None
    refusal: str | None = None


class Item(Struct):
    """A message, reasoning with or without a summary, a call."""

    type: str = ""
    content: list[Text] | str | None = None
    summary: list[Text] | None = None


class InputDetails(Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class OutputDetails(Struct):
    reasoning_tokens: int | None = None


class Usage(Struct):
    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    input_tokens_details: InputDetails | None = None
    output_tokens_details: OutputDetails | None = None
    cost: float | None = None


class Incomplete(Struct):
    reason: str | None = None


class Response(Struct):
    status: str | None = None
    output: list[Item] | None = None
    usage: Usage | None = None
    error: dict[str, object] | str | None = None
    incomplete_details: Incomplete | None = None


class Event(Response):
    """Any event; and the response itself, where its server does not stream."""

    type: str = ""
    delta: str | dict[str, object] | None = None
    item: Item | None = None
    response: Response | None = None


decode = msgspec.json.Decoder(Event).decode


def used(told: Usage) -> turn.Usage:
    """What was read from the cache, or written to it, is part of `input_tokens`."""
    into, out = told.input_tokens_details or InputDetails(), told.output_tokens_details or OutputDetails()
    return turn.Usage(
        told.total_tokens or told.input_tokens + told.output_tokens,
        told.input_tokens,
        told.output_tokens,
        out.reasoning_tokens,
        into.cached_tokens,
        into.cache_write_tokens,
        cost=told.cost,
    )
