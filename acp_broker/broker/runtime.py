"""A configured backend, as the broker sees it: who it is, how long it may take, how to open it."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager

from msgspec import Struct
from msgspec.structs import replace

from acp_broker.contract import Backend, Spawn, Tools
from acp_broker.core.names import Candidate, Projects
from acp_broker.core.turnrules import Limits
from acp_broker.wire.framing import MAX_LINE_BYTES

Environ = Mapping[str, str]
# How long an agent without a turn is kept before it is closed, where it can be resumed.
REAP_AFTER_S = 600.0


def _no() -> bool:
    return False


class Leased(Struct, frozen=True):
    """What a backend is opened with: its profile's secret, if the broker keeps one.

    `is_token`: it is an access token, no API key. `is_spent`: it can no longer be used. `is_outdated`: there is a newer
    one, which lasts longer. `distrust` says that it was refused; True: the next lease may bring another. `projects` is
    what its credentials say beside it.
    """

    secret: str | None = None
    is_token: bool = False
    is_spent: Callable[[], bool] = _no
    is_outdated: Callable[[], bool] = _no
    distrust: Callable[[], bool] = _no
    projects: Projects = Projects()

    def __repr__(self) -> str:
        return "Leased(...)"


async def no_secret(_environ: Environ, _credential: int) -> Leased:
    """The `lease` of a backend without a profile that the broker keeps."""
    return Leased()


class Runtime(Struct, frozen=True):
    """One entry of `backends`. `fingerprint` changes when a session must open it anew: kind, command, names, model.

    `lease` looks up a secret of its profile's, by its number below `credentials`, for somebody with such an
    environment; raises BackendFailure, may hang.
    `asks` is equal for two that ask the same of the same provider; None: there is no telling.
    `window` is how many tokens it takes, `host` the address that it asks, where they are known.
    `environment` gives the whole environment of its child, from that of whom it works for and that secret; no other
    backend's credentials are in it. `check` looks, without starting anything, whether it could start in such an
    environment: None, or one sentence on what is missing.
    """

    candidate: Candidate
    kind: str
    fingerprint: str
    environment: Callable[[Environ, str | None], Environ]
    open: Callable[[Tools], AbstractAsyncContextManager[Backend]]
    check: Callable[[Environ], str | None]
    spawn: Spawn
    lease: Callable[[Environ, int], Awaitable[Leased]] = no_secret
    credentials: int = 1
    limits: Limits = Limits()
    # `limits`, and what is known of its agent: looked up when a turn is first planned, not when the broker starts.
    known_limits: Callable[[], Limits] | None = None
    # Whether another backend comes behind it in the chain.
    is_followed: bool = False
    modes: Mapping[str, str] = {}
    asks: bytes | None = None
    window: int | None = None
    host: str | None = None
    max_message_bytes: int = MAX_LINE_BYTES
    restart_backoff_s: tuple[float, ...] = (1.0, 2.0, 5.0, 15.0, 60.0)

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The backend with each credential of its profile, in order."""
        return tuple(replace(self.candidate, credential=number) for number in range(self.credentials))
