"""What a person may want to know of a running broker: a snapshot of plain values, made when it is asked for.

Nothing of a prompt or an answer is in it. Times are seconds since 1970, as in the log.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, assert_never

import msgspec
from msgspec import Raw, Struct

from acp_broker.core import health
from acp_broker.core.names import BackendId, ProfileId, SessionId, TurnId

if TYPE_CHECKING:
    from acp_broker.broker import session as of
    from acp_broker.broker.broker import Broker
    from acp_broker.broker.frontend import Frontend
    from acp_broker.broker.standby import Standby


class _Shape(Struct, frozen=True, rename="camel"):
    pass


class Backend(_Shape, frozen=True):
    """One of the chain. `why` and `until`: the failure that it rests after, and when it is tried first again."""

    id: BackendId
    kind: str
    health: Literal["ready", "resting", "probing"]
    why: str | None = None
    until: float | None = None
    profile: ProfileId | None = None
    model: str | None = None
    # How many sessions have it open.
    sessions: int = 0


class Session(_Shape, frozen=True):
    """`client` is whom it works for, None once that is gone; `queued` counts the prompts behind the running one."""

    id: SessionId
    cwd: str
    selected: BackendId
    client: str | None
    queued: int
    open: tuple[BackendId, ...]
    is_closed: bool
    # How many clients are shown what happens in it, and why its log cannot be written, if so.
    attended_by: int = 0
    fault: str | None = None


class Turn(_Shape, frozen=True):
    """A running turn. `backend` is who is asked now, None before the first; `state` is the machine's (docs/turn.md)."""

    id: TurnId
    session: SessionId
    client: str | None
    backend: BackendId | None
    attempt: int
    state: str
    # Of the turn's own time, which stands still while somebody owes its agent an answer.
    seconds: float


class Client(_Shape, frozen=True):
    """A connected frontend. `name` is the way it came; `program` and `version` are what it says of itself."""

    name: str
    program: str | None
    version: str | None
    sessions: int
    # What it has not read yet.
    unread_bytes: int


class Process(_Shape, frozen=True):
    """A living child. Without a session it was started to learn what it can do, or to log it in."""

    pid: int
    backend: BackendId
    session: SessionId | None


class Snapshot(_Shape, frozen=True):
    """`backends` in the order of the chain."""

    backends: tuple[Backend, ...]
    sessions: tuple[Session, ...]
    turns: tuple[Turn, ...]
    clients: tuple[Client, ...]
    processes: tuple[Process, ...]


def snapshot(broker: "Broker") -> Snapshot:
    sessions = tuple(broker.sessions.values())
    return Snapshot(
        backends=tuple(_backend(broker, name, sessions) for name in broker.policy.order),
        sessions=tuple(_session(broker, session) for session in sessions),
        turns=tuple(_turns(broker, sessions)),
        clients=tuple(_client(broker, frontend) for frontend in broker.frontends.values()),
        processes=tuple(_processes(broker, sessions)),
    )


def _backend(broker: "Broker", name: BackendId, sessions: tuple["of.Session", ...]) -> Backend:
    runtime = broker.policy.runtimes[name]
    standbys = (session.open_standby(name) for session in sessions)
    made = Backend(
        id=name,
        kind=runtime.kind,
        health="ready",
        profile=runtime.candidate.profile,
        model=runtime.candidate.model,
        sessions=sum(standby is not None and standby.backend is not None for standby in standbys),
    )
    match broker.chain.condition(runtime):
        case health.Ready():
            return made
        case health.Probing():
            return msgspec.structs.replace(made, health="probing")
        case health.Resting(left_s, why):
            until = round(broker.clock.wall() + left_s, 3)
            return msgspec.structs.replace(made, health="resting", why=why.value, until=until)
        case other:
            assert_never(other)


def _session(broker: "Broker", session: "of.Session") -> Session:
    return Session(
        id=session.id,
        cwd=session.setup.cwd,
        selected=session.settings.backend,
        client=_name(broker, session.frontend),
        queued=session.prompts.waiting,
        open=tuple(one.runtime.candidate.backend for one in session.standbys if one.backend is not None),
        is_closed=session.repose.is_closed,
        attended_by=session.log.readers,
        fault=session.log.fault,
    )


def _turns(broker: "Broker", sessions: tuple["of.Session", ...]) -> Iterator[Turn]:
    for session in sessions:
        turn = session.turn
        if turn is not None:
            yield Turn(
                id=turn.id,
                session=session.id,
                client=_name(broker, turn.order.frontend),
                backend=turn.attempt.candidate.backend if turn.attempt is not None else None,
                attempt=turn.attempt.number if turn.attempt is not None else 0,
                state=type(turn.state).__name__.lower(),
                seconds=round(turn.watch.now(), 3),
            )


def _client(broker: "Broker", frontend: "Frontend") -> Client:
    program, version = _said(frontend.whom.info)
    return Client(
        name=frontend.name,
        program=program,
        version=version,
        sessions=sum(session.frontend == frontend.number for session in broker.sessions.values()),
        unread_bytes=frontend.unread_bytes,
    )


def _processes(broker: "Broker", sessions: tuple["of.Session", ...]) -> Iterator[Process]:
    for session in sessions:
        for standby in session.standbys:
            yield from _of_standby(standby, session.id)
    for standby in broker.reception.standbys:
        yield from _of_standby(standby, None)


def _of_standby(standby: "Standby", session: SessionId | None) -> Iterator[Process]:
    pid = standby.pid
    if pid is not None:
        yield Process(pid, standby.runtime.candidate.backend, session)


def _name(broker: "Broker", frontend: int) -> str | None:
    found = broker.frontends.get(frontend)
    return found.name if found is not None else None


class _Info(Struct):
    name: str | None = None
    version: str | None = None


def _said(info: Raw | None) -> tuple[str | None, str | None]:
    """ACP v1, initialization, "Implementation Information": whatever a client sent there."""
    try:
        said = msgspec.json.decode(info, type=_Info) if info is not None else _Info()
    except msgspec.DecodeError:
        said = _Info()
    return said.name, said.version
