"""The bearer token that config.json names, or else the one of ours: who is let in over WebSocket."""

from collections.abc import Mapping
from pathlib import Path

from acp_broker.app.references import shown
from acp_broker.app.vault import Vault
from acp_broker.auth.token import FIT, TokenFile, is_token
from acp_broker.config import Config, EnvSecret, Secret, reference
from acp_broker.errors import Unresolved, UsageError

KEY = "frontends.websocket.token"


class Configured:
    """The token that config.json refers to, looked up at the start; `variable` is where it stands in the environment
    of `serve`, if it does."""

    def __init__(self, token: str, variable: str | None) -> None:
        self.variable = variable
        self._token = token

    def read(self) -> str:
        return self._token


def configured(config: Config) -> Secret | None:
    """What config.json says of the token; None: it is ours."""
    websocket = config.frontends.websocket
    return websocket.token if websocket is not None else None


async def bearer(config: Config, home: Path, environ: Mapping[str, str], vault: Vault) -> Configured | TokenFile:
    """Where the token is read, at each use. Raises UsageError for one that cannot be looked up.

    Never another one than config.json names: who wrote a reference must not find the door open to somebody else.
    """
    secret = configured(config)
    if secret is None:
        return TokenFile(home)
    wanted = reference(secret)
    try:
        token = await vault.resolve(config, wanted, environ)
    except Unresolved as error:
        raise UsageError(f"{KEY}: {error}") from None
    if not is_token(token):
        raise UsageError(f"{KEY}: {shown(config, wanted)}: it cannot be sent as a token, which takes {FIT}")
    return Configured(token, wanted.id if isinstance(wanted, EnvSecret) else None)
