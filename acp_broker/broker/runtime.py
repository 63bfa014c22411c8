"""A configured backend, as the broker sees it: who it is, how long it may take, how to open it."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager

from msgspec import Struct

from acp_broker.contract import Backend, Spawn, Tools
from acp_broker.core.names import Candidate
from acp_broker.core.turnrules import Limits

# How long an agent without a turn is kept before it is closed, where it can be resumed (design.md, section 9).
REAP_AFTER_S = 600.0


class Runtime(Struct, frozen=True):
    """One entry of `backends`. `fingerprint` changes when a session must open it anew: kind, command, names, model.

    `check` looks, without starting anything, whether it could start here: None, or one sentence on what is missing.
    `environment` is the whole environment of its child; no other backend's credentials are in it.
    """

    candidate: Candidate
    kind: str
    fingerprint: str
    environment: Mapping[str, str]
    open: Callable[[Tools], AbstractAsyncContextManager[Backend]]
    check: Callable[[], str | None]
    spawn: Spawn
    limits: Limits = Limits()
    modes: Mapping[str, str] = {}
    restart_backoff_s: tuple[float, ...] = (1.0, 2.0, 5.0, 15.0, 60.0)
