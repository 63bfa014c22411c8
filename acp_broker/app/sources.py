"""Where references in config.json are looked up, and whether that could be done here.

A module of its own: most brokers read their keys from variables, and start without loading this.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from acp_broker.app.references import check_allowed, provider_id, provider_of, shown
from acp_broker.auth import google_file
from acp_broker.auth.secret_file import SecretFile
from acp_broker.auth.secret_keyring import SecretKeyring
from acp_broker.auth.secret_program import Child, SecretProgram, Start
from acp_broker.auth.secret_store import SecretStore
from acp_broker.auth.secrets import Source
from acp_broker.config import (
    Config,
    EnvProvider,
    EnvSecret,
    ExecProvider,
    FileProvider,
    GoogleProfile,
    KeyringProvider,
    SecretRef,
    reference,
    secrets_of,
    state_dir,
)
from acp_broker.errors import Problem, Unresolved

# How long `config check` waits to hear whether there is a keyring.
KEYRING_CHECK_S = 5.0


def source(config: Config, wanted: SecretRef, start: Start, environ: Mapping[str, str]) -> Source:
    """Where a reference that is not to a variable is looked up; `environ` is the broker's, for `passEnv`."""
    match provider_of(config, wanted):
        case FileProvider() as file:
            is_single = file.mode == "singleValue"
            return SecretFile(file.path, is_single, max_bytes=file.max_bytes, limit_s=file.timeout_ms / 1000)
        case ExecProvider(no_output_timeout_ms=silence) as program:
            passed = {variable: environ[variable] for variable in program.pass_env if variable in environ}
            return SecretProgram(
                provider_id(config, wanted),
                program.command,
                start,
                program.args,
                env=tuple({**passed, **program.env}.items()),
                limit_s=program.timeout_ms / 1000,
                silence_s=None if silence is None else silence / 1000,
                max_bytes=program.max_output_bytes,
                json_only=program.json_only,
                may_be_link=program.allow_symlink_command,
                trusted=program.trusted_dirs,
            )
        case KeyringProvider() as keyring:
            return keyring_of(keyring, environ)
        case EnvProvider():
            raise AssertionError("config.load lets no such reference through")


def keyring_of(provider: KeyringProvider, environ: Mapping[str, str]) -> SecretKeyring:
    """The keyring, and what stands in for it in the state folder of this `environ`."""
    store = SecretStore(state_dir(environ) / "auth" / "secrets.json")
    return SecretKeyring(provider.service, store, limit_s=provider.timeout_ms / 1000)


def unresolvable(config: Config, environ: Mapping[str, str]) -> Iterator[Problem]:
    """References that cannot be looked up here. No program is started and no keyring asked: that may need a person.

    Variables that are not set are config.load's to say.
    """
    for path, wanted in _references(config):
        try:
            _look(config, wanted, environ)
        except Unresolved as error:
            yield Problem(path, f"{shown(config, wanted)}: {error}")
    for name, profile in config.auth.profiles.items():
        found = _without_google(profile, environ) if isinstance(profile, GoogleProfile) else None
        if found is not None:
            yield Problem(f"auth.profiles.{name}", found)


def _without_google(profile: GoogleProfile, environ: Mapping[str, str]) -> str | None:
    """What is wrong with the file of Google's credentials; nobody is asked for a token."""
    path, named_by = google_file.place(profile.credentials_file, environ)
    try:
        found = google_file.read(path)
    except Unresolved as error:
        return str(error)
    if found is not None or (profile.metadata_server and not named_by):
        return None
    return f"{path} is not there" + ("" if named_by else f": {google_file.LOGIN}, or name a file in credentialsFile")


def _references(config: Config) -> Iterator[tuple[str, SecretRef]]:
    for name, profile in config.auth.profiles.items():
        yield from ((f"auth.profiles.{name}", wanted) for wanted in secrets_of(profile))
    websocket = config.frontends.websocket
    if websocket is not None and websocket.token is not None:
        yield "frontends.websocket.token", reference(websocket.token)


def _look(config: Config, wanted: SecretRef, environ: Mapping[str, str]) -> None:
    if isinstance(wanted, EnvSecret):
        check_allowed(config, wanted)
        return
    match source(config, wanted, _nothing_is_started, environ):
        case SecretFile() as file:
            file.read(wanted.id)
        case SecretProgram() as program:
            program.distrust()
        case SecretKeyring() as keyring:
            _in_time(partial(keyring.check, wanted.id), KEYRING_CHECK_S)


def _in_time(check: Callable[[], None], limit_s: float) -> None:
    """As `check`, unless it hangs: then it is left behind."""
    found: list[Unresolved] = []

    def run() -> None:
        try:
            check()
        except Unresolved as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():
        raise Unresolved(f"the keyring does not say within {limit_s:g} s whether it is there")
    for error in found:
        raise error


async def _nothing_is_started(*_: object, **__: object) -> Child:
    raise AssertionError("only looked at")
