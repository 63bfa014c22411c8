"""`acp-broker token show|rotate`: the bearer token that bridges need to be let in over WebSocket."""

import sys
from collections.abc import Mapping
from pathlib import Path

from acp_broker.app import kinds
from acp_broker.app.bearer import KEY, configured
from acp_broker.auth.token import TokenFile
from acp_broker.config import EnvSecret, find, load, reference, state_dir
from acp_broker.errors import BrokerError, UsageError


def run(path: Path | None, environ: Mapping[str, str], action: str) -> int:
    """The token alone on stdout: scripts take it from there. 1 where it cannot be had."""
    try:
        _check_ours(path, environ)
        file = TokenFile(state_dir(environ))
        print(file.read() if action == "show" else file.rotate())
    except BrokerError as error:
        print(f"acp-broker: {error}", file=sys.stderr)
        return 1
    return 0


def _check_ours(path: Path | None, environ: Mapping[str, str]) -> None:
    """Raises UsageError where config.json names another token than ours, and says where that one is."""
    source = find(path, environ)
    # A token may be made before the first config is written.
    if path is None and not source.exists():
        return
    config = load(kinds(), path=source, environ=environ)
    secret = configured(config)
    if secret is not None:
        match reference(secret):
            case EnvSecret(id=variable):
                place = f"${variable} in the environment of acp-broker serve"
            case other:
                place = f'source "{other.__struct_config__.tag}", id "{other.id}"'
        raise UsageError(f"the token comes from {place}: {KEY} in {config.source}")
