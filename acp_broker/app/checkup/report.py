"""What `acp-broker check` says of a chain: stable fields, which docs/setup.md explains; `--json` prints them."""

import shutil
from collections.abc import Mapping
from typing import Literal

import msgspec
from msgspec import Raw, Struct

from acp_broker.app import logins
from acp_broker.app.checkup import domains, modes, retries
from acp_broker.app.checkup.domains import Shares
from acp_broker.app.checkup.looking import Look
from acp_broker.app.checkup.modes import Modes
from acp_broker.app.checkup.retries import Retries
from acp_broker.app.checkup.turn import Turn
from acp_broker.app.references import shown, wanted_by
from acp_broker.config import Config
from acp_broker.core.failures import FailureKind
from acp_broker.core.names import BackendId
from acp_broker.errors import Problem
from acp_broker.wire import agent
from backends.acp import AcpConfig
from backends.acp import environment as acp_environment
from backends.acp.row import Row
from backends.acp.rows import find

_LOGGED_OUT = (FailureKind.AUTH_MISSING, FailureKind.AUTH_REJECTED)


class Capabilities(Struct, frozen=True, rename="camel"):
    """What an agent says that it can do."""

    image: bool
    audio: bool
    embedded_context: bool
    load_session: bool
    resume_session: bool
    mcp_http: bool
    mcp_sse: bool


class Refused(Struct, frozen=True):
    """A credential of its profile that failed, by name, so that the next one was used."""

    credential: str
    failure: str
    why: str


class Login(Struct, frozen=True, rename="camel"):
    """`required`: it wants a login first; `commands` run one, `hint` says how. `unseen`: it opened a session, but there
    is nothing where its login would be. `ok`: it opened a session otherwise, or answered.

    `seen`: the files and variables of a login that are there, by name.
    """

    state: Literal["ok", "unseen", "required"] | None = None
    seen: tuple[str, ...] = ()
    failed: tuple[Refused, ...] = ()
    commands: tuple[str, ...] = ()
    hint: str = ""


class Answered(Struct, frozen=True, rename="camel"):
    """One tiny turn, of `--turn`. Milliseconds from the prompt, to the first word and to the end."""

    ok: bool
    words: str
    first_ms: int | None
    ms: int
    failure: str | None = None
    why: str | None = None


class Asked(Struct, frozen=True):
    """What was asked of its provider, free of charge, and what that showed."""

    requests: tuple[str, ...]
    says: str


class Report(Struct, frozen=True, rename="camel", kw_only=True):
    """One backend. `agent` names its row among the known agents; null: nobody has described it."""

    id: BackendId
    kind: str
    role: Literal["primary", "fallback"]
    can_answer: bool
    is_agent: bool = True
    failure: str | None = None
    why: str | None = None
    program: str | None = None
    agent: str | None = None
    name: str | None = None
    version: str | None = None
    start_ms: int | None = None
    session_ms: int | None = None
    login: Login = Login()
    provider: Asked | None = None
    capabilities: Capabilities | None = None
    modes: Modes = Modes()
    retries: Retries = Retries()
    shares: tuple[Shares, ...] = ()
    turn: Answered | None = None
    advice: tuple[str, ...] = ()


class Checked(Struct, frozen=True):
    """The whole chain; `ok`: all of it can answer."""

    config: str
    ok: bool
    backends: tuple[Report, ...]
    warnings: tuple[Problem, ...]


class About(Struct, frozen=True):
    """What is known of one backend beside what it says: `environment` is its agent's own, with what we set in it.

    `agent` is the name of its row. `is_late`: only what it calls itself told who it is, too late for its variables.
    `is_followed`: another backend comes behind it. `is_agent`: it has a login, modes and tools of its own. `fix` is
    what the look at its provider advises.
    """

    row: Row | None = None
    agent: str | None = None
    is_late: bool = False
    is_followed: bool = False
    environment: Mapping[str, str] = {}
    program: str | None = None
    is_agent: bool = True
    fix: str = ""


class _Info(Struct):
    name: str | None = None
    title: str | None = None
    version: str | None = None


class _Said(Struct):
    info: _Info | None = msgspec.field(name="agentInfo", default=None)


def about(config: Config, name: BackendId, inherited: Mapping[str, str], look: Look) -> About:
    """`inherited` is the environment that its child is made from."""
    settings = config.backends[name]
    command: tuple[str, ...] = getattr(settings, "command", None) or ()
    program = shutil.which(command[0], path=inherited.get("PATH")) if command else None
    if not isinstance(settings, AcpConfig):
        fix = look.provider.fix if look.provider is not None else ""
        return About(environment=inherited, program=program, is_agent=not settings.takes_credential, fix=fix)
    path, is_followed = inherited.get("PATH"), name != (config.acp.backend, *config.acp.fallbacks)[-1]
    told = find(settings.agent, command, path=path)
    found = find(settings.agent, command, agent.name_of(look.about.initialized), path=path)
    given = told.row.env if told is not None and is_followed else {}
    environment = acp_environment(settings, inherited, given)
    if found is None:
        return About(environment=environment, program=program)
    known_as = found.name or found.row.title or "described in config.json"
    is_late = bool(found.row.env) and told is None and is_followed
    return About(found.row, known_as, is_late, is_followed, environment, program)


def report(config: Config, name: BackendId, look: Look, known_of: Mapping[BackendId, About]) -> Report:
    """One backend's, without its `advice`; `known_of` has an entry for each of the chain."""
    own, primary = known_of[name], config.acp.backend
    settings = config.backends[name]
    said = info(look)
    told = {other: domains.of(config, other, one.row, one.environment) for other, one in known_of.items()}
    turn = _answered(look.turn) if look.turn is not None else None
    failed = look.fault
    return Report(
        id=name,
        kind=str(settings.__struct_config__.tag),
        role="primary" if name == primary else "fallback",
        can_answer=failed is None,
        is_agent=own.is_agent,
        failure=failed.kind.value if failed is not None else None,
        why=failed.text if failed is not None else None,
        program=own.program,
        agent=own.agent,
        name=said.title or said.name,
        version=said.version,
        start_ms=_ms(look.started_s),
        session_ms=_ms(look.opened_s),
        login=_login(config, name, look, own),
        provider=Asked(look.provider.asked, look.provider.says) if look.provider is not None else None,
        capabilities=_capabilities(look) if look.started_s is not None else None,
        modes=modes.of(look.about, own.row),
        retries=retries.of(own.row, own.environment),
        shares=domains.shares(name, told),
        turn=turn,
    )


def info(look: Look) -> _Info:
    """What the agent calls itself."""
    try:
        return msgspec.json.decode(look.about.initialized, type=_Said).info or _Info()
    except msgspec.DecodeError:
        return _Info()


def _capabilities(look: Look) -> Capabilities:
    can = agent.initialized(look.about.initialized).can
    return Capabilities(
        image=can.prompt.image,
        audio=can.prompt.audio,
        embedded_context=can.prompt.embedded,
        load_session=can.load,
        resume_session=can.session.resume is not None,
        mcp_http=can.mcp.http,
        mcp_sse=can.mcp.sse,
    )


def _login(config: Config, name: BackendId, look: Look, own: About) -> Login:
    wanted = wanted_by(config, name)
    there = logins.seen(own.row, own.environment).names if own.row is not None else ()
    names = tuple(shown(config, one) for one in wanted) or there
    refused = tuple(Refused(names[one.credential], one.failure.kind.value, one.failure.text) for one in look.refused)
    failed = look.fault
    login = own.row.login if own.row is not None else None
    state: Literal["ok", "unseen", "required"] | None = "ok"
    if failed is not None and failed.kind in _LOGGED_OUT:
        state = "required"
    elif look.failure is not None or (not own.is_agent and not wanted):
        state = None
    elif login is not None and not names and (look.turn is None or failed) and config.backends[name].auth is None:
        state = "unseen"
    if state in ("ok", None):
        return Login(state, names, refused)
    commands = tuple(f"acp-broker login {name} {method}" for method in _terminal_methods(look))
    hint = login.hint if login is not None else ""
    return Login(state, () if wanted else there, refused, commands, hint)


class _Method(Struct):
    id: str = ""
    type: str = ""


def _terminal_methods(look: Look) -> list[str]:
    return [
        one.id for one in map(_method, agent.initialized(look.about.initialized).auth_methods) if one.type == "terminal"
    ]


def _method(raw: Raw) -> _Method:
    try:
        return msgspec.json.decode(raw, type=_Method)
    except msgspec.DecodeError:
        return _Method()


def _answered(turn: Turn) -> Answered:
    failed = turn.failure
    kind, why = (failed.kind.value, failed.text) if failed is not None else (None, None)
    return Answered(failed is None, turn.words, _ms(turn.first_s), round(turn.seconds * 1000), kind, why)


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)
