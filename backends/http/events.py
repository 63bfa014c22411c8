"""One event's JSON in a kind's own types; that of careless servers is mended first."""

import json
import re
from collections.abc import Callable
from typing import TypeVar

import msgspec
from msgspec import Raw, Struct

from acp_broker.core import http_failures
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.redact import plain
from acp_broker.errors import BackendFailure

T = TypeVar("T")


class _Listed(Struct):
    error: Raw


# Half of a UTF-16 pair: JSON can write it, text cannot hold it.
_LONE = re.compile("[\ud800-\udfff]")
_listed = msgspec.json.Decoder(list[_Listed]).decode


def event_of(data: bytes, decode: Callable[[bytes], T]) -> T:
    """An event in a kind's own types. Raises BackendFailure for what is none: an error, if it is a list of one."""
    try:
        return _decoded(data, decode)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        if data.startswith(b"[") and _is_listed_error(data):
            raise BackendFailure(http_failures.from_event(data)) from error
        text = f"it sent what is no part of an answer: {plain(data[:200].decode('utf-8', 'replace'))}"
        raise BackendFailure(Failure(FailureKind.GARBLED, text, seen_at="submitted")) from error


def ended_as(reason: str, told: tuple[FailureKind, str]) -> BackendFailure:
    """For an answer that says that it has ended, by a reason that is none of a good end: what it means, in words."""
    kind, text = told
    return BackendFailure(Failure(kind, f"ended its answer as {reason}: {text}", reason, seen_at="submitted"))


def _decoded(data: bytes, decode: Callable[[bytes], T]) -> T:
    try:
        return decode(data)
    except (msgspec.DecodeError, UnicodeError):
        if (mended := _mended(data)) is None:
            raise
        return decode(mended)


def _mended(data: bytes) -> bytes | None:
    """What careless servers take for JSON: letters cut in two, control characters as they are, NaN. None: it is none.

    Raises RecursionError.
    """
    try:
        value = json.loads(data.decode("utf-8", "replace"), strict=False, parse_constant=lambda _: None)
        return _LONE.sub("\ufffd", json.dumps(value, ensure_ascii=False)).encode()
    except ValueError:
        return None


def _is_listed_error(data: bytes) -> bool:
    """Google writes an error as a list of one, where a list of chunks would have been the answer."""
    try:
        return bool(_listed(data))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
