"""JSON-RPC 2.0 messages as ACP v1 uses them: one object per frame, ids of any form, the rest kept as raw JSON.

`read` never raises: what is no message becomes a `Malformed` that says which error reply it deserves. The writers
below return one whole line each, newline included.
"""

import re

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from acp_broker.errors import INTERNAL_ERROR, INVALID_REQUEST, PARSE_ERROR, RpcError
from acp_broker.wire.framing import Overlong

NULL = Raw(b"null")


class Request(Struct, frozen=True):
    """A call that must be answered. `id` is the peer's own JSON, echoed untouched."""

    id: Raw
    method: str
    params: Raw | None


class Notification(Struct, frozen=True):
    method: str
    params: Raw | None


class Response(Struct, frozen=True):
    """An answer to a request of ours; `id` is None where the peer sent null or none: nobody's, to be ignored."""

    id: Raw | None
    outcome: Raw | RpcError


class Malformed(Struct, frozen=True):
    """No message at all; deserves an error reply with `code` and `text` under `id`."""

    code: int
    text: str
    id: Raw = NULL


Message = Request | Notification | Response | Malformed


# msgspec follows about a thousand levels, less the depth of the call stack: so few brackets are always safe.
_SAFE_BRACKETS = 500
# In bytes: every level takes two.
SURELY_SHALLOW = 2 * _SAFE_BRACKETS
# From here on to search for brackets is quicker than to count them: what is so long is mostly one text or image.
_LONG_BYTES = 64 * 1024
# Levels that a checked message has to spare: for the records it is wrapped in, and for deeper call stacks.
_SPARE = 100


# Every escape of a JSON string, whole pairs as one; group 1 is half a pair.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)


# A member of a JSON object that was cut off somewhere: its key, and its value where that is whole and no container.
_MEMBER = re.compile(rb'\s*("(?:[^"\\]|\\.)*")\s*:\s*(?:("(?:[^"\\]|\\.)*"|[^\s"\[\]{},]+)\s*[,}])?', re.DOTALL)


class Frame(Struct):
    """Any message, as it is on the wire."""

    id: Raw | UnsetType = UNSET
    method: str | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET


class _Error(Struct):
    code: int = INTERNAL_ERROR
    message: str = ""
    data: Raw | UnsetType = UNSET


class _Id(Struct):
    id: Raw = NULL


class _Asks(Struct):
    jsonrpc: str
    id: int
    method: str
    params: object


class _Tells(Struct):
    jsonrpc: str
    method: str
    params: object


class _Answers(Struct):
    jsonrpc: str
    id: Raw
    result: object


frame = msgspec.json.Decoder(Frame).decode
_error = msgspec.json.Decoder(_Error).decode
_id = msgspec.json.Decoder(_Id).decode
_nested = msgspec.json.Decoder(list[Raw]).decode
_encode = msgspec.json.Encoder().encode
# The newline is part of it: added to what may be megabytes, it would copy them.
_lines = msgspec.json.Encoder().encode_lines
_members = msgspec.json.Decoder(dict[str, Raw]).decode


def check(line: bytes) -> None:
    """See that a line can be passed on as it stands: UTF-8 inside its strings too, and no deeper than we can follow.

    Decoding looks at neither in what it keeps as raw JSON. Raises UnicodeDecodeError or RecursionError.
    """
    if not line.isascii():
        line.decode()
    if len(line) > SURELY_SHALLOW and _has_many_brackets(line):
        _nested(b"[" * _SPARE + line + b"]" * _SPARE)


def _has_many_brackets(line: bytes) -> bool:
    if len(line) < _LONG_BYTES:
        return line.count(b"[") + line.count(b"{") > _SAFE_BRACKETS
    left = _SAFE_BRACKETS
    for bracket in (b"[", b"{"):
        at = line.find(bracket)
        while at >= 0:
            if not left:
                return True
            left -= 1
            at = line.find(bracket, at + 1)
    return False


def mended(line: bytes) -> bytes | None:
    """The line with U+FFFD for each half of a surrogate pair that stands alone; None for one without any.

    JavaScript writes such a half as an escape when it has cut a string inside an emoji. JSON's grammar allows it
    (RFC 8259, section 8.2), but msgspec and other strict readers refuse the whole message.
    """
    if isinstance(line, Overlong):
        return None
    whole = _ESCAPE.sub(lambda escape: b"\\ufffd" if escape[1] else escape[0], line)
    return whole if whole != line else None


def given(raw: Raw | UnsetType) -> Raw | None:
    """A member that may be left out; null counts as left out. (msgspec decodes no `Raw | None`.)"""
    return None if raw is UNSET or raw == NULL else raw


def read(line: bytes) -> Message:
    """One line (or text frame) as a message."""
    if isinstance(line, Overlong):
        return _overlong(line)
    try:
        check(line)
        seen = frame(line)
    except msgspec.ValidationError:
        return _no_message(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        whole = mended(line)
        return Malformed(PARSE_ERROR, f"not JSON: {error}") if whole is None else read(whole)
    except RecursionError:
        return Malformed(INVALID_REQUEST, "message is nested too deeply")
    if seen.method is not UNSET:
        params = None if seen.params is UNSET else seen.params
        if seen.id is UNSET:
            return Notification(seen.method, params)
        return Request(seen.id, seen.method, params)
    return _response(seen)


def _response(seen: Frame) -> Message:
    id = given(seen.id)  # noqa: A001 - JSON-RPC's own word
    if seen.error is not UNSET and seen.error != NULL:
        return Response(id, read_error(seen.error))
    if seen.result is not UNSET:
        return Response(id, seen.result)
    if seen.error is not UNSET:
        return Response(id, RpcError(INTERNAL_ERROR, "the peer answered with neither result nor error"))
    return Malformed(INVALID_REQUEST, "neither method nor result nor error", NULL if id is None else id)


def read_error(raw: Raw) -> RpcError:
    """JSON-RPC's error object; one of another shape becomes -32603 with the whole of it as `data`."""
    try:
        error = _error(raw)
    except msgspec.DecodeError:
        return RpcError(INTERNAL_ERROR, "error of an unknown shape", raw)
    return RpcError(error.code, error.message, given(error.data))


def _no_message(line: bytes) -> Malformed:
    if line.lstrip()[:1] == b"[":
        return Malformed(INVALID_REQUEST, "batches are not part of ACP")
    try:
        return Malformed(INVALID_REQUEST, "not a JSON-RPC 2.0 message: method must be a string", _id(line).id)
    except msgspec.DecodeError:
        return Malformed(INVALID_REQUEST, "not a JSON-RPC 2.0 message: expected an object")


def _overlong(head: Overlong) -> Message:
    """A request that is refused under its id, where that stands before what is long; an answer that came to nothing."""
    text = "message is longer than the limit"
    members: dict[bytes, bytes | None] = {}
    body = head.lstrip()
    member = _MEMBER.match(body, 1) if body.startswith(b"{") else None
    while member is not None:
        members[member[1]] = member[2]
        member = _MEMBER.match(body, member.end()) if member[2] is not None else None
    id = Raw(members.get(b'"id"') or NULL)  # noqa: A001 - JSON-RPC's own word
    try:
        msgspec.json.decode(id)
    except msgspec.DecodeError:
        id = NULL  # noqa: A001
    if b'"result"' in members or b'"error"' in members:
        return Response(given(id), RpcError(INVALID_REQUEST, text))
    return Malformed(INVALID_REQUEST, text, id)


def encode(value: object) -> Raw:
    """Any plain value or Struct as raw JSON."""
    return Raw(_encode(value))


def request(id: int, method: str, params: object) -> bytes:  # noqa: A002 - JSON-RPC's own word
    return _lines((_Asks("2.0", id, method, params),))


def notification(method: str, params: object) -> bytes:
    return _lines((_Tells("2.0", method, params),))


def result(id: Raw, value: object) -> bytes:  # noqa: A002
    return _lines((_Answers("2.0", id, value),))


def failure(id: Raw, error: RpcError) -> bytes:  # noqa: A002
    body = {"code": error.code, "message": error.message}
    if error.data is not None:
        return b'{"jsonrpc":"2.0","id":%b,"error":%b}\n' % (bytes(id), _encode({**body, "data": error.data}))
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}\n' % (bytes(id), _encode(body))


def answer(id: Raw, outcome: Raw | RpcError) -> bytes:  # noqa: A002
    """The reply to one request, whichever way it ended."""
    return failure(id, outcome) if isinstance(outcome, RpcError) else result(id, outcome)


def same_id(raw: Raw) -> bytes:
    """An id in the form that two spellings of one id share: `"\\u0061"` and `"a"` are the same."""
    try:
        return _encode(msgspec.json.decode(raw))
    except msgspec.DecodeError:  # half a surrogate pair, or a number that no float holds: only equal to itself
        return bytes(raw)


def members_of(raw: Raw) -> dict[str, Raw]:
    """The members of an object; none of what is no object."""
    try:
        return _members(raw)
    except msgspec.DecodeError:
        return {}
