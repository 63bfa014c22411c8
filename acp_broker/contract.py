"""What a backend must be: one coroutine that runs one attempt, behind one `open` that owns what lives longer.

An attempt shows things through its `Client`, in order; returns when the turn is finished; raises `BackendFailure`
for what it can name; stops politely once `turn.cancel_asked` is set; stops at once, leaving nothing behind, when
it is cancelled. Nothing here waits and nothing here decides: `show`, `ask`, `tell` and `reached` only hand over.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar, runtime_checkable

from anyio import Event
from msgspec import Raw, Struct

from acp_broker.clock import Clock
from acp_broker.core.failures import Failure
from acp_broker.core.habits import UNKNOWN, Habits
from acp_broker.core.history import Exchange
from acp_broker.core.names import BackendId, Phase, Projects, SessionId, StopReason, TurnId
from acp_broker.wire.acp import Answer, Update


class SessionSetup(Struct, frozen=True):
    """What a session was opened with. Paths are absolute. `mcp_servers` hold secrets: memory only, never logged."""

    session: SessionId
    cwd: str
    additional_directories: tuple[str, ...] = ()
    mcp_servers: tuple[Raw, ...] = ()
    # What else the request held (`_meta`, members that we do not know): passed on untouched.
    rest: Mapping[str, Raw] = {}


class CancelAsked:
    """Set once when the turn should end: look at it, wait for it, or be called."""

    def __init__(self) -> None:
        self._is_set = False
        self._callbacks: list[Callable[[], None]] = []

    def is_set(self) -> bool:
        return self._is_set

    async def wait(self) -> None:
        event = Event()
        self.then(event.set)
        await event.wait()

    def then(self, callback: Callable[[], None]) -> None:
        """Call back when it is set; at once if it is. Costs no task, so a turn that is not cancelled pays nothing."""
        if self._is_set:
            callback()
        else:
            self._callbacks.append(callback)

    def set(self) -> None:
        if not self._is_set:
            self._is_set = True
            callbacks, self._callbacks = self._callbacks, []
            for callback in callbacks:
                callback()


async def _no_past(_limit_bytes: int) -> Sequence[Exchange]:
    return ()


class TurnRequest(Struct, frozen=True):
    """One attempt's order: the prompt's content blocks, and what else the request held (`_meta`, unknown members).

    `past` gives the turns before this one, oldest first: the newest whole ones that fit into so many bytes. For a
    backend that remembers nothing by itself; it reads the session's log, and costs nothing where nobody asks.
    """

    turn: TurnId
    attempt: int
    prompt: Raw
    cancel_asked: CancelAsked
    rest: Mapping[str, Raw] = {}
    past: Callable[[int], Awaitable[Sequence[Exchange]]] = _no_past
    # The types of the prompt's blocks, where they are known: a prompt may be megabytes, and is not read again for that.
    kinds: frozenset[str] | None = None


class Finished(Struct, frozen=True):
    """How a runtime ended a turn: its stop reason, and its whole answer as raw JSON (`usage`, `_meta`, the rest)."""

    stop_reason: StopReason
    answer: Raw = Raw(b"{}")
    # What was changed so that this runtime could take the prompt, one sentence each.
    adapted: tuple[str, ...] = ()


class About(Struct, frozen=True):
    """What an opened backend says of itself: the results of ACP `initialize` and `session/new`, raw JSON each.

    `opened` is the whole `session/new` (or load, resume) result: modes, configOptions and what else it holds.
    `habits` is how its agent speaks: what its words are weighed by.
    `has_no_memory`: it begins every turn anew, with `TurnRequest.past`; no earlier turn is put into its prompts.
    """

    initialized: Raw = Raw(b"{}")
    opened: Raw = Raw(b"{}")
    habits: Habits = UNKNOWN
    has_no_memory: bool = False


class Client(Protocol):
    """The voice an attempt (or an opened backend between attempts) has. Calls keep their order and never wait."""

    def reached(self, phase: Phase) -> None:
        """The attempt is now in `phase`. `submitted` is said before the first byte of the prompt is written."""

    def show(self, updates: Sequence[Update]) -> None:
        """What one read brought, in order: one call per read, not per update."""

    def ask(self, method: str, params: dict[str, Raw], answered: Callable[[Answer], None]) -> "Asked":
        """Put an agent's request to the frontend; `answered` is called exactly once, now or later.

        `params["sessionId"]`, where present, is rewritten to the frontend's. When the attempt ends first, the
        answer is ours: permission `cancelled`, everything else -32800.
        """

    def tell(self, method: str, params: dict[str, Raw] | None) -> None:
        """Pass an extension notification (`_x`) on to the frontend that prompted."""


class Asked(Protocol):
    def withdraw(self) -> None:
        """The agent no longer wants the answer (`$/cancel_request`): tell the frontend, answer with -32800."""


class Backend(Protocol):
    """One opened runtime of one session."""

    about: About

    async def run(self, turn: TurnRequest, client: Client) -> Finished:
        """Run one attempt to its end.

        Raises BackendFailure. After `turn.cancel_asked` it returns soon, whatever the stop reason. Cancelled, it
        leaves nothing that can still act: the runtime is idle again or dead.
        """

    async def call(self, method: str, params: dict[str, Raw]) -> Raw:
        """Pass one request that is no prompt (set_mode, set_config_option, authenticate, logout, `_x`) and return its
        result. `sessionId`, where present, is rewritten to the runtime's own.

        Has no limit of its own: who asks knows how long it may take, and cancels. Raises RpcError as the runtime
        answered, BackendFailure when it cannot answer.
        """

    def tell(self, method: str, params: dict[str, Raw]) -> None:
        """Pass one notification to the runtime; dropped when it is gone."""

    async def gone(self) -> str:
        """Wait until the runtime is no longer there; return why. Never returns for a runtime that cannot go."""


class Looked(Struct, frozen=True):
    """What a free look at a provider has shown. `asked` are the requests that it took, `says` what came of them.

    `failure`: it could not answer a turn, either; `fix` says what a person can do about it, where that is known.
    """

    asked: tuple[str, ...] = ()
    says: str = ""
    failure: Failure | None = None
    fix: str = ""


@runtime_checkable
class Looks(Protocol):
    """What an opened Backend may offer beside: `acp-broker check` and `init` use it, a turn never does.

    Neither may cost anything, nor take longer than some seconds.
    """

    async def look(self) -> Looked:
        """Ask the provider whether it is there, takes the credential, and has the model."""

    async def models(self) -> tuple[str, ...]:
        """The names of all models that it lists. Raises BackendFailure, also where there is no list."""


class Child(Protocol):
    """A child process that speaks lines; edge/process.py says what each member promises."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    def write(self, data: bytes) -> None: ...

    async def run(self, on_lines: Callable[[list[bytes]], None]) -> None: ...

    def stderr_tail(self) -> str: ...

    async def wait(self) -> int: ...

    def kill(self) -> None: ...

    async def stop(self, *, eof_grace_s: float, term_grace_s: float) -> None: ...


class Spawn(Protocol):
    """Starts a child that cannot outlive the broker. Raises BackendFailure."""

    async def __call__(self, command: Sequence[str], *, env: Mapping[str, str], cwd: str | None) -> Child: ...


class Tools(Protocol):
    """What a backend is given at `open`; one per session and backend."""

    backend: BackendId
    clock: Clock
    # None: only initialize, to learn what the runtime can do or to log it in. `run` is never called then.
    setup: SessionSetup | None
    # What the frontend can do and who it is, raw JSON as it sent them (ACP v1, initialization).
    client_capabilities: Raw
    client_info: Raw | None
    # The ACP authentication method that succeeded for this backend before, to be repeated in a new process.
    authenticated_by: str | None
    # Its profile's secret, as it was looked up for this opening; None where there is none. For no log and no repr.
    credential: str | None
    # Whether that is an access token and no API key: providers want the two in different headers.
    is_token: bool
    # What its profile's credentials say of projects, where they are a cloud's.
    projects: Projects
    # The whole environment of a child, resolved for this backend and its profile; nobody else's credentials in it.
    environment: Mapping[str, str]
    # Whether another backend follows in the chain: an agent that fails quickly then serves better than one that tries
    # its provider again and again.
    is_followed: bool
    # Of one message over a connection of its own, in bytes, either way. What is spawned is held to it already.
    max_message_bytes: int
    spawn: Spawn
    # Outside of any attempt: titles, command lists, usage; asks before the first turn.
    between: Client

    def reached(self, phase: Phase) -> None:
        """`starting` or `opening` begins."""

    def remember(self, runtime_session: str) -> None:
        """The runtime's own id of this session, for `remembered` at the next open. Nothing said in it is there yet:
        it is called when the runtime begins a session, not when it finds one again."""

    def remembered(self) -> str | None:
        """The runtime's own id of this session from an earlier open, if any."""

    def log(self, event: str, **fields: str | float | None) -> None:
        """One structured line in the broker's log, with session and backend added."""


C_contra = TypeVar("C_contra", contravariant=True)


class BackendKind(Protocol[C_contra]):
    """A module of `backends/` (or of an outside package) that runs backends of one kind.

    `config` is a frozen Struct whose tag is the kind's name. `check` looks, without starting anything, whether the
    backend could start here: None, or one sentence that says what is missing and how to get it. It may
    have `offers`, as backends/offering.py says.
    """

    config: type

    def check(self, config: C_contra, environment: Mapping[str, str]) -> str | None: ...

    def open(self, config: C_contra, tools: Tools) -> AbstractAsyncContextManager[Backend]: ...
