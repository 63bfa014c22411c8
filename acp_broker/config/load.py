"""From a file to a Config, or to a ConfigError that lists every problem.

The shape of everything, the names that stand for something declared elsewhere, and secrets written out are looked at
in one pass each over the same JSON value, so that one wrong line never hides another.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct, ValidationError, structs

from acp_broker.backend_config import BackendConfig
from acp_broker.config.check import Check, Names
from acp_broker.config.credentials import (
    AgentProfile,
    EnvSecret,
    ExecSecret,
    FileSecret,
    KeyringSecret,
    OAuthProfile,
    child_variable,
    source_variables,
)
from acp_broker.config.file import join, read, walk
from acp_broker.config.hints import quoted, suggest
from acp_broker.config.place import at_home, find
from acp_broker.config.shape import Acp, Config, Document
from acp_broker.core.names import BackendId, ProfileId
from acp_broker.errors import ConfigError, Problem

T = TypeVar("T")
# The name of a kind and the type of its entries in config.json. A type is fetched only when an entry uses it.
Kinds = Mapping[str, type[BackendConfig]]

# How well-known services begin their keys and tokens; JSON web tokens and PEM files begin with the last two.
_SECRET = re.compile(
    r"""(^|[\s=:"'])(sk-|sk_|gh[opsu]_|github_pat_|AIza|xox[abp]-|xai-|gsk_|ya29\.|AKIA|eyJ)[\w.-]{16,}|-----BEGIN """
)
_SOURCES: Mapping[type[Struct], str] = {
    EnvSecret: "env",
    FileSecret: "file",
    ExecSecret: "exec",
    KeyringSecret: "keyring",
}
# These two need no declaration: there is one environment and one keyring.
_BUILT_IN = ("env", "keyring")
# Shorter than this, a limit was probably meant in seconds.
_SHORT_MS = 1_000
# Nobody answers as fast as that, and few connections are made so soon.
_HARDLY_MS = 100
_WAITS = frozenset({"connectMs", "firstByteMs", "firstOutputMs", "idleMs"})


def load(kinds: Kinds, *, path: Path | None, environ: Mapping[str, str]) -> Config:
    """Read and check the config.json that `find` names.

    Raises ConfigError with every problem of the file, and UsageError as `find` does.
    """
    source = find(path, environ)
    try:
        value, repeated = read(source)
        return _config(kinds, _expanded(value, environ), repeated, source, environ)
    except RecursionError as error:
        raise ConfigError(str(source), [Problem("(file)", "is nested too deeply")]) from error


def _config(kinds: Kinds, value: object, repeated: list[Problem], source: Path, environ: Mapping[str, str]) -> Config:
    hook = partial(_decode_path, environ)
    names: dict[object, Names] = {
        BackendId: ("backend", _members(value, "backends")),
        ProfileId: ("profile", _members(value, "auth", "profiles")),
    }
    check = Check(partial(_decode, hook), {BackendConfig: ("kind", kinds)}, names)
    check.look(value, Document, "")
    secrets = list(_secrets(value))
    places = {problem.path for problem in secrets}
    found = [*repeated, *check.problems, *_providers(value, check), *_commands(value)]
    # Whatever else there is to say of a place with a secret in it could quote the secret.
    problems = [*(problem for problem in found if problem.path not in places), *secrets]
    if problems or not isinstance(value, dict):
        raise ConfigError(str(source), problems)
    try:
        document = _decode(hook, {**value, "backends": {}}, Document)
        backends = {
            BackendId(name): _decode(hook, entry, kinds[entry["kind"]]) for name, entry in value["backends"].items()
        }
    except ValidationError as error:
        raise ConfigError(str(source), [Problem("(file)", str(error))]) from error
    return _settled(document, backends, source, environ)


def _settled(
    document: Document, backends: dict[BackendId, BackendConfig], source: Path, environ: Mapping[str, str]
) -> Config:
    return Config(
        source=source,
        acp=_chained(document.acp),
        backends=backends,
        auth=document.auth,
        secrets=document.secrets,
        frontends=document.frontends,
        limits=document.limits,
        sessions=document.sessions,
        log=document.log,
        warnings=(
            *_short_limits(document),
            *_short_own_limits(backends),
            *_shared_fates(document.acp, backends),
            *_unset(document, environ),
            *_unnamed(document, backends),
            *_shut(document),
        ),
    )


def _chained(acp: Acp) -> Acp:
    """The chain as OpenClaw reads it: names trimmed, the first mention kept, the primary not its own fallback."""
    chain = dict.fromkeys(BackendId(name.strip()) for name in (acp.backend, *acp.fallbacks))
    backend, *fallbacks = chain
    return structs.replace(acp, backend=backend, fallbacks=tuple(fallbacks))


def _providers(value: object, check: Check) -> Iterator[Problem]:
    """References to a provider that is not declared, or is declared to be something else."""
    declared = _members(value, "secrets", "providers")
    defaults = _members(value, "secrets", "defaults")
    named = [(join("secrets.defaults", source), source, name) for source, name in defaults.items()]
    for path, kind, secret in check.objects:
        if source := _SOURCES.get(kind):
            named.append((join(path, "provider"), source, secret.get("provider") or defaults.get(source, "default")))
    for path, source, name in named:
        provider = declared.get(name) if isinstance(name, str) else None
        if isinstance(provider, dict):
            if provider.get("source", source) != source:
                yield Problem(path, f"{quoted(str(name))} is no provider for {source}; name one that is")
        elif isinstance(name, str) and not (name == "default" and source in _BUILT_IN):
            yield Problem(path, f"no secrets provider is called {quoted(name)}; {suggest(name, declared)}")


def _commands(value: object) -> Iterator[Problem]:
    for name, entry in _members(value, "backends").items():
        match entry:
            case {"command": []}:
                yield Problem(join("backends", name) + ".command", 'names no program; write ["claude-agent-acp"]')
            case {"command": [str(program), *_]} if "/" in program and not program.startswith("/"):
                path = join("backends", name) + ".command[0]"
                yield Problem(path, 'is a relative path; write an absolute one, "~/...", or a name found on $PATH')


def _secrets(value: object) -> Iterator[Problem]:
    kept = 'keep it in the environment or keyring and refer to it in auth.profiles: "key": "${ANTHROPIC_API_KEY}"'
    for path, found in walk(value, ""):
        if isinstance(found, str) and _SECRET.search(found):
            yield Problem(path or "(file)", f"a secret is written out; {kept}")


def _short_limits(document: Document) -> Iterator[Problem]:
    for key, limit in (("firstOutputMs", document.limits.first_output_ms), ("chainMs", document.limits.chain_ms)):
        if limit is not None and limit < _SHORT_MS:
            yield Problem(f"limits.{key}", f"{limit} is in milliseconds; for seconds write {limit * 1000}")
    chain, kept = document.limits.chain_ms, document.limits.reserve_ms * len(document.acp.fallbacks)
    if chain is not None and 0 < kept >= chain:
        found = f"{chain} is no more than the fallbacks' reserveMs together ({kept}), so that the first may use it up"
        yield Problem("limits.chainMs", f"{found}; raise it, or lower reserveMs")


def _short_own_limits(backends: Mapping[BackendId, BackendConfig]) -> Iterator[Problem]:
    for name, backend in backends.items():
        for key, limit in msgspec.to_builtins(backend.limits or {}).items():
            if key in _WAITS and limit < _HARDLY_MS:
                meant = f"for seconds write {limit * 1000}" if limit else "no time is left"
                yield Problem(f"{join('backends', name)}.limits.{key}", f"{limit} is in milliseconds; {meant}")


def _unset(document: Document, environ: Mapping[str, str]) -> Iterator[Problem]:
    """Keys that are not in this environment. An editor that the desktop started has no shell's variables."""
    for name, profile in document.auth.profiles.items():
        for variable in source_variables(profile):
            if environ.get(variable):
                continue
            yield Problem(join("auth.profiles", name), f"{variable} is not set in this environment")


def _shared_fates(acp: Acp, backends: Mapping[BackendId, BackendConfig]) -> Iterator[Problem]:
    """Fallbacks that start the same program with the same environment and credential as one before them, or ask the
    same of the same provider; and those that are named twice."""
    first: dict[object, BackendId] = {}
    met: set[BackendId] = set()
    for index, mention in enumerate((acp.backend, *acp.fallbacks), start=-1):
        name = BackendId(mention.strip())
        if name in met:
            yield Problem(f"acp.fallbacks[{index}]", f"{quoted(name)} is in the chain already: it is left out here")
            continue
        met.add(name)
        config = backends[name]
        command, env = getattr(config, "command", None), getattr(config, "env", None)
        other = first.setdefault((type(config), repr(command), repr(env), config.auth), name)
        if other != name and command is not None:
            found = f"{quoted(name)} has the command and credential of {quoted(other)}: one failure stops both"
            yield Problem(f"acp.fallbacks[{index}]", found)
        if config.asks is not None and (same := first.setdefault(repr(config.asks), name)) != name:
            found = f"{quoted(name)} asks the same of the same provider as {quoted(same)}: no turn tries both"
            yield Problem(f"acp.fallbacks[{index}]", found)


def _unnamed(document: Document, backends: Mapping[BackendId, BackendConfig]) -> Iterator[Problem]:
    """Secrets that no agent is given: only a variable's reference says by itself what it is called there."""
    taken = {backend.auth for backend in backends.values() if backend.takes_credential}
    for name, profile in document.auth.profiles.items():
        if not isinstance(profile, AgentProfile) and child_variable(profile) is None and name not in taken:
            found = 'no agent is given it: say in which variable, such as "env": "ANTHROPIC_API_KEY"'
            yield Problem(join("auth.profiles", name), found)


def _shut(document: Document) -> Iterator[Problem]:
    """Profiles that nobody can log in by."""
    for name, profile in document.auth.profiles.items():
        match profile:
            case OAuthProfile(authorization_url=None, device_authorization_url=None):
                found = "nobody can log in by it: say authorizationUrl or deviceAuthorizationUrl"
                yield Problem(join("auth.profiles", name), found)


def _expanded(value: object, environ: Mapping[str, str]) -> object:
    """The document with `~` made the home folder in what backends start: the program and environment values."""
    backends = {name: _expanded_entry(entry, environ) for name, entry in _members(value, "backends").items()}
    return {**value, "backends": backends} if isinstance(value, dict) and backends else value


def _expanded_entry(entry: object, environ: Mapping[str, str]) -> object:
    expanded = dict(entry) if isinstance(entry, dict) else entry
    if isinstance(expanded, dict):
        match expanded.get("command"):
            case [str(program), *arguments]:
                expanded["command"] = [at_home(program, environ), *arguments]
        match expanded.get("env"):
            case dict(variables):
                expanded["env"] = {
                    name: at_home(text, environ) if isinstance(text, str) else text for name, text in variables.items()
                }
    return expanded


def _members(value: object, *keys: str) -> dict[str, object]:
    """The object found by following `keys`; an empty one where there is none, or something else."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _decode(hook: Callable[[type, object], object], value: object, shape: type[T]) -> T:
    return msgspec.json.decode(json.dumps(value), type=shape, dec_hook=hook)


def _decode_path(environ: Mapping[str, str], kind: type, value: object) -> object:
    # Anything at all, in the words of a script.
    if kind is object:
        return value
    if kind is not Path:
        raise NotImplementedError(kind)
    path = Path(at_home(str(value), environ))
    if not path.is_absolute():
        raise ValueError("is a relative path")
    return path
