"""The corpora of `tests/core/corpora`: honest short answers, and failures in the words of agents and providers.

One JSON object per line. Honest: `text`, `why`. Failures: `text`, or `rpc` (a JSON-RPC error), `kind`, `source`.

`honest` and `failures` were written with the rules. The held-out ones were gathered in three rounds, half of the
failures from issue trackers, each when the rules had passed all before: then 162 of 169 honest answers arrived, and 51
of 132 failures were seen through. What they taught was made general, or listed where it is a provider's own sentence;
`is_missed` marks the failures that still are taken for answers.
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
    is_missed: bool = False


def honest() -> list[Honest]:
    """All of them."""
    decode = msgspec.json.Decoder(Honest).decode_lines
    return [*decode(_lines("honest")), *decode(_lines("heldout_honest"))]


def failing() -> list[Failing]:
    """Those that come as messages, and are known."""
    return [one for one in _failures() if one.rpc is None and not one.is_missed]


def missed() -> list[Failing]:
    """Those that are taken for answers."""
    return [one for one in _failures() if one.is_missed]


def errors() -> list[Failing]:
    """Those that come as JSON-RPC errors."""
    return [one for one in _failures() if one.rpc is not None]


def _failures() -> list[Failing]:
    decode = msgspec.json.Decoder(Failing).decode_lines
    return [*decode(_lines("failures")), *decode(_lines("heldout_failures"))]


def _lines(name: str) -> bytes:
    return (_FOLDER / f"{name}.jsonl").read_bytes()
