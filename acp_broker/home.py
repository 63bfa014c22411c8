"""Where config.json and the state folder are. Each relay loads this as it starts: nothing but the standard library.

Linux keeps to the XDG base directories, macOS to `~/Library/Application Support` unless an XDG variable says otherwise.
Never below the current folder: editors start us in untrusted ones.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

NAME = "acp-broker"


def config_file(named: Path | None, environ: Mapping[str, str]) -> Path:
    """The config.json to use: `named` (--config), else $ACP_BROKER_CONFIG, else the one in the user's config folder.

    It need not exist. Raises ValueError when a variable leads to a relative path.
    """
    if named is not None:
        return named.absolute()
    if variable := environ.get("ACP_BROKER_CONFIG"):
        return _absolute(Path(at_home(variable, environ)), "ACP_BROKER_CONFIG")
    return _users("XDG_CONFIG_HOME", ".config", environ) / NAME / "config.json"


def state_folder(environ: Mapping[str, str]) -> Path:
    """The folder for logs, index and what leads to the daemon: $ACP_BROKER_HOME, else in the user's state folder.

    It need not exist; whoever makes it makes it 0700. Raises ValueError when a variable leads to a relative path.
    """
    if variable := environ.get("ACP_BROKER_HOME"):
        return _absolute(Path(at_home(variable, environ)), "ACP_BROKER_HOME")
    return _users("XDG_STATE_HOME", ".local/state", environ) / NAME


def at_home(text: str, environ: Mapping[str, str]) -> str:
    """The text with a leading `~` or `~/` made the home folder; `~name` stays as it is."""
    if text != "~" and not text.startswith("~/"):
        return text
    return (environ.get("HOME") or os.path.expanduser("~")) + text[1:]  # noqa: PTH111 - does not raise without a home


def _users(variable: str, usual: str, environ: Mapping[str, str]) -> Path:
    # XDG base directory specification: a relative path is invalid and must be ignored.
    base = Path(environ.get(variable, ""))
    if base.is_absolute():
        return base
    folder = "Library/Application Support" if sys.platform == "darwin" else usual
    return _absolute(Path(_home(environ)) / folder, "HOME")


def _home(environ: Mapping[str, str]) -> str:
    """A HOME that leads nowhere is as good as none: then the password file knows."""
    home = environ.get("HOME", "")
    if Path(home).is_absolute():
        return home
    import pwd  # noqa: PLC0415 - hardly ever

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return home


def _absolute(path: Path, variable: str) -> Path:
    if not path.is_absolute():
        raise ValueError(f"{variable} leads to the relative path {path}; set it to an absolute one")
    return path
