"""What another ACP Broker says beyond ACP (docs/bridge.md): that it is one, and the numbers of its updates."""

import msgspec
from msgspec import Raw, Struct, field

from acp_broker.wire import jsonrpc

_members = msgspec.json.Decoder(dict[str, Raw]).decode
_OURS = "acp-broker"
# The ids of messages about turns that a broker's end has interrupted (store/records.py).
_INTERRUPTED = "interrupted-t-"


class _Ours(Struct):
    seq: int | None = None


class _Meta(Struct):
    ours: _Ours = field(name=_OURS, default_factory=_Ours)


class _Noted(Struct):
    meta: _Meta = field(name="_meta", default_factory=_Meta)


class _Seq(Struct):
    seq: bool = False


class _Knows(Struct):
    ours: _Seq = field(name=_OURS, default_factory=_Seq)


class _Capabilities(Struct):
    meta: _Knows = field(name="_meta", default_factory=_Knows)


class _Initialized(Struct):
    can: _Capabilities = field(name="agentCapabilities", default_factory=_Capabilities)


class _Turn(Struct):
    state: str = ""
    key: str | None = field(name="idempotencyKey", default=None)


_meta = msgspec.json.Decoder(_Meta).decode


def is_broker(initialized: Raw) -> bool:
    """Whether an `initialize` result is of an ACP Broker that numbers what it says."""
    try:
        return msgspec.json.decode(initialized, type=_Initialized).can.meta.ours.seq
    except msgspec.DecodeError:
        return False


def taken_off(params: dict[str, Raw]) -> int | None:
    """Take the number off an update, with all that is between a broker and its client; None where it has none."""
    meta = params.get("_meta")
    if meta is None:
        return None
    try:
        number = _meta(meta).ours.seq
    except msgspec.DecodeError:
        return None
    rest = _members(meta)
    if rest.pop(_OURS, None) is not None:
        if rest:
            params["_meta"] = jsonrpc.encode(rest)
        else:
            del params["_meta"]
    return number


def unsigned(answer: Raw) -> Raw:
    """An answer of somebody who is no broker, without what only one may say there."""
    members = _members(answer)
    try:
        meta = _members(members["_meta"])
    except msgspec.DecodeError:  # no object, so nothing is in it
        return answer
    if meta.pop(_OURS, None) is None:
        return answer
    return jsonrpc.encode({**members, "_meta": meta})


def marked(params: dict[str, Raw], **ours: object) -> dict[str, Raw]:
    """Request params with more of ours in their `_meta`; what a client had there for its own broker is replaced."""
    meta = jsonrpc.given(params.get("_meta", jsonrpc.NULL))
    members = _members(meta) if meta is not None else {}
    members[_OURS] = jsonrpc.encode(ours)
    return {**params, "_meta": jsonrpc.encode(members)}


class Numbers:
    """Up to where a broker's session was heard."""

    def __init__(self) -> None:
        self.last = 0

    def is_new(self, kind: str, params: dict[str, Raw], message_id: str | None) -> bool:
        """Whether an update is to be heard: not one that was, and not what a broker shows to a person who comes back:
        the prompt, and a word of its own that the turn was interrupted, which is its answer too."""
        number = taken_off(params)
        if number is not None:
            if number <= self.last:
                return False
            self.last = number
        is_own_word = message_id is not None and message_id.startswith(_INTERRUPTED)
        return kind != "user_message_chunk" and not is_own_word


def begins(turn: Raw, key: str) -> bool:
    """Whether the params of an `_acp-broker/turn` say that the prompt with this key begins."""
    try:
        told = msgspec.json.decode(turn, type=_Turn)
    except msgspec.DecodeError:
        return False
    return (told.state, told.key) == ("started", key)


def known(answer: Raw) -> Numbers | None:
    """The numbers of a session that was taken up, from where its answer says; None: it does not say."""
    try:
        seen = msgspec.json.decode(answer, type=_Noted).meta.ours.seq
    except msgspec.DecodeError:
        return None
    if seen is None:
        return None
    numbers = Numbers()
    numbers.last = seen
    return numbers
