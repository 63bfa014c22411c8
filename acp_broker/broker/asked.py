"""What a `session/prompt` asks, read from its params.

A prompt may hold megabytes of image: to read it takes several passes over all of it. A long one is read in a thread,
whole, before anybody else hears of it; between two passes the event loop has its turn.
"""

from operator import attrgetter

import msgspec
from msgspec import Raw, Struct

from acp_broker.broker import shapes
from acp_broker.broker.keys import Key, digest
from acp_broker.broker.params import members, params_of
from acp_broker.wire import jsonrpc
from acp_broker.wire.jsonrpc import Message, Request

# A message from here on is long. Below it a thread costs more than it frees.
LONG_BYTES = 1024 * 1024

_prompt = msgspec.json.Decoder(shapes.Prompt).decode
_type = attrgetter("type")


class Asked(Struct, frozen=True):
    """`kinds` are the types of the content `blocks`; `rest`: the params' other members."""

    session: str
    kinds: frozenset[str]
    blocks: Raw
    rest: dict[str, Raw]
    key: Key | None


class LongPrompt(Request, frozen=True):
    """A `session/prompt` that was read already."""

    asked: Asked


def asked(request: Request) -> Asked:
    """Raises msgspec.DecodeError for params of another shape."""
    if isinstance(request, LongPrompt):
        return request.asked
    params = _prompt(params_of(request))
    kinds = frozenset(map(_type, params.prompt))
    rest = members(request)
    del rest["sessionId"]
    blocks = rest.pop("prompt")
    name = shapes.idempotency_key(rest["_meta"]) if "_meta" in rest else None
    return Asked(params.session, kinds, blocks, rest, Key(name, digest(blocks)) if name is not None else None)


def unpacked(line: bytes) -> Message:
    """A long line as a message. For a thread."""
    message = jsonrpc.read(line)
    if isinstance(message, Request) and message.method == "session/prompt":
        try:
            return LongPrompt(message.id, message.method, message.params, asked(message))
        except msgspec.DecodeError:  # whoever handles it finds it out again, and says so
            return message
    return message
