"""Where config.json and the state folder are, for all but the relay: what is wrong with a variable is a UsageError."""

from collections.abc import Mapping
from pathlib import Path

from acp_broker import home
from acp_broker.errors import UsageError

at_home = home.at_home


def find(path: Path | None, environ: Mapping[str, str]) -> Path:
    """As `home.config_file`. Raises UsageError when a variable leads to a relative path."""
    try:
        return home.config_file(path, environ)
    except ValueError as error:
        raise UsageError(str(error)) from error


def state_dir(environ: Mapping[str, str]) -> Path:
    """As `home.state_folder`. Raises UsageError when a variable leads to a relative path."""
    try:
        return home.state_folder(environ)
    except ValueError as error:
        raise UsageError(str(error)) from error
