"""A chain of brokers across machines: each says in `initialize` through whom it came, and none takes part twice.

clientCapabilities._meta["acp-broker"] = {"seq": true, "via": ["3f0c...", "91aa..."]}
"""

import hashlib
import os
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path

import msgspec
from msgspec import Raw, Struct, field

from acp_broker.core.failures import Failure, FailureKind
from acp_broker.errors import BackendFailure
from acp_broker.wire import jsonrpc

# More machines behind each other than anybody means.
MOST = 8


class _Ours(Struct):
    via: tuple[str, ...] = ()


class _Meta(Struct):
    ours: _Ours = field(name="acp-broker", default_factory=_Ours)


class _Capabilities(Struct):
    meta: _Meta | None = field(name="_meta", default=None)


@cache
def here() -> str:
    """This broker's name among brokers: the same for each process of one user and state folder of one machine.

    It names nobody: who hears it can only compare it.
    """
    machine = ""
    with suppress(OSError):
        machine = Path("/etc/machine-id").read_text()
    parts = (machine, socket.gethostname(), str(os.getuid()), os.environ.get("ACP_BROKER_HOME", ""))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def onward(capabilities: Raw) -> Raw:
    """The client's capabilities, as a broker elsewhere gets them from us. Raises BackendFailure for a loop."""
    try:
        meta = msgspec.json.decode(capabilities, type=_Capabilities).meta
    except msgspec.DecodeError:  # an agent's own client may write there what it likes
        meta = None
    via = meta.ours.via if meta is not None else ()
    if here() in via:
        raise _refused("the chain of brokers leads back to this one: take one of them out of the other's `backends`")
    if len(via) >= MOST:
        raise _refused(f"{len(via)} brokers stand before this one: a chain of so many is taken for a loop")
    members = msgspec.json.decode(capabilities, type=dict[str, Raw])
    theirs = jsonrpc.given(members.get("_meta", jsonrpc.NULL))
    more = msgspec.json.decode(theirs, type=dict[str, Raw]) if theirs is not None else {}
    more["acp-broker"] = jsonrpc.encode({"seq": True, "via": (*via, here())})
    return jsonrpc.encode({**members, "_meta": more})


def _refused(text: str) -> BackendFailure:
    return BackendFailure(Failure(FailureKind.UNSUPPORTED, text, seen_at="starting"))
