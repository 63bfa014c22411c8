"""An agent that is a child process of ours: its start, the lines of its pipes, its very end."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from anyio import CancelScope, move_on_after

from acp_broker.contract import Backend, Child, Tools
from acp_broker.core import classify
from acp_broker.core.failures import Failure
from acp_broker.core.names import Phase
from backends.acp import AcpConfig
from backends.acp.living import living
from backends.acp.row import Leaves, Row

# After stdin closed, and after SIGTERM. acpx waits 1.5 s and 1 s; nobody waits for the words of an agent that leaves.
EOF_GRACE_S = 0.5
TERM_GRACE_S = 0.5
# What serves nobody is not waited for: some agents leave neither for the one nor for the other.
_GRACES: dict[Leaves, tuple[float, float]] = {
    "eof": (EOF_GRACE_S, TERM_GRACE_S),
    "term": (0.0, TERM_GRACE_S),
    "kill": (0.0, 0.0),
}
# How long the exit status may take to follow the end of stdout.
EXIT_GRACE_S = 0.2


@asynccontextmanager
async def started(
    settings: AcpConfig, row: Row | None, environment: Mapping[str, str], tools: Tools
) -> AsyncIterator[Backend]:
    """The agent, initialized and with its session open; ended, with all that belongs to it, on the way out."""
    assert settings.command is not None
    tools.reached("starting")
    cwd = tools.setup.cwd if tools.setup is not None else None
    process = await tools.spawn(settings.command, env=environment, cwd=cwd)
    async with living(Piped(process), tools, settings, row, tools.client_capabilities) as life:
        yield life


class Piped:
    """transport.Transport over a child's stdin and stdout."""

    def __init__(self, process: Child) -> None:
        self._process = process
        self.write = process.write
        self.kill = process.kill

    @property
    def has_ended(self) -> bool:
        return self._process.returncode is not None

    async def run(self, on_lines: Callable[[list[bytes]], None]) -> None:
        await self._process.run(on_lines)

    async def ended(self, seen_at: Phase) -> Failure:
        process = self._process
        with move_on_after(EXIT_GRACE_S):
            await process.wait()
        exited = process.returncode
        with CancelScope(shield=True):
            await process.stop(eof_grace_s=0, term_grace_s=0)
        return classify.from_exit(exited, process.stderr_tail(), seen_at=seen_at)

    async def leave(self, how: Leaves) -> None:
        eof_grace_s, term_grace_s = _GRACES[how]
        await self._process.stop(eof_grace_s=eof_grace_s, term_grace_s=term_grace_s)
