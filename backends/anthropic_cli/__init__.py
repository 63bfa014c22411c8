"""Kind `anthropic-cli`: the Claude Code CLI in print mode, one process per session, with the login that it has itself.

{"kind": "anthropic-cli", "model": "sonnet", "permissionMode": "acceptEdits"}
"""

import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Literal

from msgspec import Meta, field

from acp_broker.backend_config import BackendConfig
from acp_broker.contract import Backend, Tools
from backends.offering import Offer

# The CLI's own names. `bypassPermissions` asks nobody about anything: it is never on unless it is written.
PermissionMode = Literal["default", "acceptEdits", "plan", "dontAsk", "auto", "bypassPermissions"]

INSTALL = "npm install -g @anthropic-ai/claude-code"


class CliConfig(BackendConfig, frozen=True, tag="anthropic-cli", rename="camel", kw_only=True):
    """Claude Code, started with `command` (an argument list: no shell reads it) and what the broker adds to it.

    `system` is put behind its own system prompt.
    """

    command: Annotated[tuple[str, ...], Meta(min_length=1)] = ("claude",)
    env: dict[str, str] = field(default_factory=dict)
    permission_mode: PermissionMode = "default"
    system: str | None = None

    @property
    def provider(self) -> str | None:
        return self.env.get("ANTHROPIC_BASE_URL", "anthropic")

    @property
    def heeds_its_place(self) -> bool:
        return True


config = CliConfig


def check(settings: CliConfig, inherited: Mapping[str, str]) -> str | None:
    """Whether the command is there; nothing is started."""
    program = settings.command[0]
    path = {**inherited, **settings.env}.get("PATH", os.defpath)
    if shutil.which(program, path=path) is None:
        return f"{program!r} is not an executable on PATH; install it with `{INSTALL}`, or write its path in `command`"
    return None


def offers(environment: Mapping[str, str]) -> Iterable[Offer]:  # noqa: ARG001 - the kind's shape
    """Itself, where it is installed and logged in."""
    yield Offer("claude-cli", "Claude Code CLI", {"kind": "anthropic-cli"}, like="claude", command=("claude",))


def open(settings: CliConfig, tools: Tools) -> AbstractAsyncContextManager[Backend]:  # noqa: A001 - the contract's name
    """Start the CLI and the session in it. Raises BackendFailure; nothing of it is left then."""
    from backends.anthropic_cli.introducing import introduced  # noqa: PLC0415 - for those alone who use it
    from backends.anthropic_cli.life import living  # noqa: PLC0415

    if tools.setup is None:
        return introduced(tools)
    return living(settings, tools.setup, tools)
