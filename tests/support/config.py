"""Kinds of backends for tests of config.json, and a folder to write one in."""

import json
from pathlib import Path
from typing import Literal

import msgspec

from acp_broker.backend_config import BackendConfig
from acp_broker.config import Config, load


class Agent(BackendConfig, frozen=True, kw_only=True, tag="acp"):
    """An ACP agent that is started as a child process."""

    command: tuple[str, ...]
    env: dict[str, str] = msgspec.field(default_factory=dict)
    environment: Literal["inherit", "strict"] = "inherit"


class Silent(BackendConfig, frozen=True, tag="silent"):
    """A backend with nothing of its own to configure."""


KINDS: dict[str, type[BackendConfig]] = {"acp": Agent, "silent": Silent}
MINIMAL = {"acp": {"backend": "one"}, "backends": {"one": {"kind": "silent"}}}


def write(folder: Path, content: object) -> Path:
    """Write config.json: bytes as they are, anything else as JSON."""
    path = folder / "config.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    path.chmod(0o600)
    return path


def loaded(folder: Path, content: object) -> Config:
    """What `load` makes of such a config.json, for somebody whose home is /home/u."""
    return load(KINDS, path=write(folder, content), environ={"HOME": "/home/u"})
