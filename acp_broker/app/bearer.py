"""The bearer token that config.json names, or else the one of ours: who is let in over WebSocket."""

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from acp_broker.auth.token import FIT, TokenFile, is_token
from acp_broker.config import Config, EnvSecret, Secret, reference
from acp_broker.errors import UsageError

KEY = "frontends.websocket.token"


class FromVariable(Struct, frozen=True):
    """A token that config.json takes from the environment of `serve`."""

    variable: str
    token: str

    def read(self) -> str:
        return self.token


def configured(config: Config) -> Secret | None:
    """What config.json says of the token; None: it is ours."""
    websocket = config.frontends.websocket
    return websocket.token if websocket is not None else None


def bearer(config: Config, home: Path, environ: Mapping[str, str]) -> FromVariable | TokenFile:
    """Where the token is read, at each use. Raises UsageError for one that this version cannot look up.

    Never another one than config.json names: who wrote a reference must not find the door open to somebody else.
    """
    secret = configured(config)
    if secret is None:
        return TokenFile(home)
    match reference(secret):
        case EnvSecret(id=variable):
            token = environ.get(variable, "")
            if not token:
                raise UsageError(f"{KEY} is ${variable}, which is not set in this environment")
            if not is_token(token):
                raise UsageError(f"{KEY} is ${variable}, whose value cannot be sent as a token; it takes {FIT}")
            return FromVariable(variable, token)
        case other:
            source = str(other.__struct_config__.tag)
            raise UsageError(f'{KEY} has source "{source}", which this version cannot look up; write "${{VARIABLE}}"')
