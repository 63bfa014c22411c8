"""Where config.json and the state folder are. Never below the current folder: editors start us in untrusted ones."""

import os
from collections.abc import Mapping
from pathlib import Path

from acp_broker.errors import UsageError


def find(path: Path | None, environ: Mapping[str, str]) -> Path:
    """The config.json to use: `path` (--config), else $ACP_BROKER_CONFIG, else the one in the user's config folder.

    It need not exist. Raises UsageError when the variable holds a relative path.
    """
    if path is not None:
        return path.absolute()
    if named := environ.get("ACP_BROKER_CONFIG"):
        return _absolute(named, "ACP_BROKER_CONFIG", environ)
    # Here, because a relay that is told both places starts faster without it.
    from platformdirs import user_config_path  # noqa: PLC0415

    return _absolute(str(user_config_path("acp-broker")), "HOME", environ) / "config.json"


def state_dir(environ: Mapping[str, str]) -> Path:
    """The folder for logs, index and sockets: $ACP_BROKER_HOME, else in the user's state folder.

    It need not exist; whoever makes it makes it 0700. Raises UsageError when the variable holds a relative path.
    """
    if named := environ.get("ACP_BROKER_HOME"):
        return _absolute(named, "ACP_BROKER_HOME", environ)
    from platformdirs import user_state_path  # noqa: PLC0415

    return _absolute(str(user_state_path("acp-broker")), "HOME", environ)


def at_home(text: str, environ: Mapping[str, str]) -> str:
    """The text with a leading `~` or `~/` made the home folder; `~name` stays as it is."""
    if text != "~" and not text.startswith("~/"):
        return text
    return (environ.get("HOME") or os.path.expanduser("~")) + text[1:]  # noqa: PTH111 - does not raise without a home


def _absolute(text: str, variable: str, environ: Mapping[str, str]) -> Path:
    path = Path(at_home(text, environ))
    if not path.is_absolute():
        raise UsageError(f"{variable} leads to the relative path {path}; set it to an absolute one")
    return path
