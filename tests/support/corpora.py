"""The corpora of `tests/core/corpora`: honest short answers, and failures in the words of agents and providers.

One JSON object per line. Honest: `text`, `why`. Failures: `text`, or `rpc` (a JSON-RPC error), `kind`, `source`.
"""

from pathlib import Path

import msgspec
from msgspec import Struct

_FOLDER = Path(__file__).parents[1] / "core" / "corpora"


class RpcError(Struct):
    code: int
    message: str
    data: object = None


class Honest(Struct, forbid_unknown_fields=True):
    text: str
    why: str


class Failing(Struct, forbid_unknown_fields=True):
    kind: str
    source: str
    text: str = ""
    rpc: RpcError | None = None


def honest(name: str = "honest") -> list[Honest]:
    return msgspec.json.Decoder(Honest).decode_lines(_lines(name))


def failing(name: str = "failures") -> list[Failing]:
    """Those that come as messages."""
    return [one for one in _failures(name) if one.rpc is None]


def errors(name: str = "failures") -> list[Failing]:
    """Those that come as JSON-RPC errors."""
    return [one for one in _failures(name) if one.rpc is not None]


def _failures(name: str) -> list[Failing]:
    return msgspec.json.Decoder(Failing).decode_lines(_lines(name))


def _lines(name: str) -> bytes:
    return (_FOLDER / f"{name}.jsonl").read_bytes()
