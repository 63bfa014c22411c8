"""`acp-broker ask PROMPT`: one turn through the chain, streamed to the terminal."""

import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import anyio
from rich.console import Console

from acp_broker.app import kinds, running
from acp_broker.broker.broker import Broker
from acp_broker.broker.status import snapshot
from acp_broker.cli.client import Client, Content, Shown
from acp_broker.cli.terminal import plain
from acp_broker.config import Config, load
from acp_broker.errors import BrokerError

_OUT = Console(emoji=False, highlight=False, markup=False, soft_wrap=True)
_ERR = Console(stderr=True, emoji=False, highlight=False, markup=False, soft_wrap=True)
# Most agents have answered by then, and for them no line is needed.
_PATIENCE_S = 2.0


def run(path: Path | None, environ: Mapping[str, str], prompt: str) -> int:
    """The answer goes to stdout, the story of the turn to stderr. 1 when nobody could answer."""
    try:
        config = load(kinds(), path=path, environ=environ)
        return anyio.run(_ask, config, environ, prompt)
    except BrokerError as error:
        _ERR.print(f"acp-broker: {plain(str(error))}", style="red")
        return 1
    except KeyboardInterrupt:
        return 130


async def _ask(config: Config, environ: Mapping[str, str], prompt: str) -> int:
    screen = _Screen()
    async with running(config, environ) as broker, Client(broker, environ, screen.show) as client:
        if _ERR.is_terminal:
            broker.tasks.start_soon(_name_who_is_waited_for, broker, screen)
        try:
            result = await client.prompt(prompt)
        finally:
            screen.end()
    _ERR.print(_story(result), style="dim")
    return 0


async def _name_who_is_waited_for(broker: Broker, screen: "_Screen") -> None:
    """An agent may take a minute to start, and another to fail: nobody should wonder whether anything happens."""
    named: str | None = None
    while not screen.is_used:
        await broker.clock.sleep(_PATIENCE_S)
        for turn in snapshot(broker).turns:
            if turn.backend not in (None, named) and not screen.is_used:
                named = turn.backend
                _ERR.print(f"waiting for {named} ...", style="dim")


class _Screen:
    """Words on stdout; thoughts and tools on stderr, on lines of their own where both are one terminal."""

    def __init__(self) -> None:
        self._last = ""
        self.is_used = False

    def show(self, update: Shown) -> None:
        if update.kind == "agent_message_chunk" and isinstance(update.content, Content):
            self._begin("words")
            text = update.content.text
            _OUT.print(plain(text) if _OUT.is_terminal else text, end="")
            sys.stdout.flush()
        elif update.kind == "agent_thought_chunk" and isinstance(update.content, Content):
            self._begin("thoughts")
            _ERR.print(plain(update.content.text), end="", style="dim italic")
        elif update.kind == "tool_call" and isinstance(update.title, str):
            self._begin("")
            _ERR.print(f"[{plain(update.title)}]", style="cyan")

    def end(self) -> None:
        """Whatever comes next begins a line of its own."""
        if self._last == "thoughts":
            _ERR.print()
        if self.is_used:
            with suppress(OSError):  # it was said already why nothing more can be shown
                _OUT.print()

    def _begin(self, what: str) -> None:
        if self._last not in ("", what):
            _ERR.print()
        self._last, self.is_used = what, True


def _story(result: dict[str, object]) -> str:
    """One line: who answered, and who failed before or was passed over."""
    meta = result.get("_meta")
    told = meta.get("acp-broker") if isinstance(meta, dict) else None
    if not isinstance(told, dict):
        return str(result.get("stopReason"))
    passed = [f"{one['backend']} passed over ({one['why']})" for one in told.get("skipped", ())]
    failed = [f"{one['backend']} failed ({one['failure']})" for one in told.get("attempts", ()) if "failure" in one]
    return ", ".join([*passed, *failed, f"{told.get('backend')} answered", str(result.get("stopReason"))])
