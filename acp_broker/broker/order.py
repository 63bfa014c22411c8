"""What a turn is made of: one prompt, as it was accepted."""

from collections.abc import Mapping

from msgspec import Raw, Struct

from acp_broker.broker.keys import Key
from acp_broker.core.names import TurnId


class Order(Struct, frozen=True):
    """A prompt as it was accepted: from whom, under which request id, with what in it. `rest`: its other members.

    `kinds` are the types of its content blocks.
    """

    turn: TurnId
    frontend: int
    request_id: Raw
    prompt: Raw
    kinds: frozenset[str]
    rest: Mapping[str, Raw] = {}
    # The frontend's own key, by which it can ask for the same turn again.
    key: Key | None = None
