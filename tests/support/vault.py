"""A vault for tests that start no program."""

from collections.abc import Mapping
from pathlib import Path

from acp_broker.app.vault import Vault
from acp_broker.auth.secret_program import Child
from acp_broker.clock import SystemClock


async def _no_child(*_: object, **__: object) -> Child:
    raise AssertionError("nothing is started here")


def vault(environ: Mapping[str, str] | None = None, home: Path = Path("/nonexistent")) -> Vault:
    """It needs no closing: nothing that it looks up hangs."""
    return Vault(_no_child, environ or {}, SystemClock(), 4, home, _nothing)


def _nothing(event: str, **fields: object) -> None:
    """Nobody reads it."""
