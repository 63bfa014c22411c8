"""`acp-broker ask PROMPT`: one turn through the chain, streamed to the terminal."""

import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import anyio
from rich.console import Console

from acp_broker.app import kinds, running
from acp_broker.cli.client import Client, Content, Shown
from acp_broker.config import Config, load
from acp_broker.errors import BrokerError

_OUT = Console(highlight=False, markup=False, soft_wrap=True)
_ERR = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def run(path: Path | None, environ: Mapping[str, str], prompt: str) -> int:
    """The answer goes to stdout, the story of the turn to stderr. 1 when nobody could answer."""
    try:
        config = load(kinds(), path=path, environ=environ)
        return anyio.run(_ask, config, environ, prompt)
    except BrokerError as error:
        _ERR.print(f"acp-broker: {error}", style="red")
        return 1
    except KeyboardInterrupt:
        return 130


async def _ask(config: Config, environ: Mapping[str, str], prompt: str) -> int:
    screen = _Screen()
    async with running(config, environ) as broker, Client(broker, environ, screen.show) as client:
        try:
            result = await client.prompt(prompt)
        finally:
            screen.end()
    _ERR.print(_story(result), style="dim")
    return 0


class _Screen:
    """Words on stdout; thoughts and tools on stderr, on lines of their own where both are one terminal."""

    def __init__(self) -> None:
        self._last = ""
        self._is_used = False

    def show(self, update: Shown) -> None:
        if update.kind == "agent_message_chunk" and isinstance(update.content, Content):
            self._begin("words")
            _OUT.print(update.content.text, end="")
            sys.stdout.flush()
        elif update.kind == "agent_thought_chunk" and isinstance(update.content, Content):
            self._begin("thoughts")
            _ERR.print(update.content.text, end="", style="dim italic")
        elif update.kind == "tool_call" and isinstance(update.title, str):
            self._begin("")
            _ERR.print(f"[{update.title}]", style="cyan")

    def end(self) -> None:
        """Whatever comes next begins a line of its own."""
        if self._last == "thoughts":
            _ERR.print()
        if self._is_used:
            with suppress(OSError):  # it was said already why nothing more can be shown
                _OUT.print()

    def _begin(self, what: str) -> None:
        if self._last not in ("", what):
            _ERR.print()
        self._last, self._is_used = what, True


def _story(result: dict[str, object]) -> str:
    """One line: who answered, and who failed before or was passed over."""
    meta = result.get("_meta")
    told = meta.get("acp-broker") if isinstance(meta, dict) else None
    if not isinstance(told, dict):
        return str(result.get("stopReason"))
    passed = [f"{one['backend']} passed over ({one['why']})" for one in told.get("skipped", ())]
    failed = [f"{one['backend']} failed ({one['failure']})" for one in told.get("attempts", ()) if "failure" in one]
    return ", ".join([*passed, *failed, f"{told.get('backend')} answered", str(result.get("stopReason"))])
