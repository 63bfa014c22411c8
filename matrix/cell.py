"""One cell of the matrix: an agent and a fault of its provider, alone or behind the broker."""

import sys
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
from msgspec import Struct

from matrix.faults import BROKEN_WORDS, WHOLE_WORDS
from matrix.install import Installed
from matrix.left import left_over
from matrix.place import Place, Seat
from matrix.turn import Turn, take_turn
from tests.support.provider import provider

# What the fallback, the stop before it and a busy machine may add to the broker's own limits.
MARGIN_S = 10.0


class Limits(Struct, frozen=True):
    """Seconds: until an agent alone is cut off; until the broker gives up on silence, before a word and after one."""

    direct_s: float
    first_output_s: float
    idle_s: float

    @property
    def brokered_s(self) -> float:
        """In which a turn through the broker must have its answer."""
        return self.first_output_s + self.idle_s + MARGIN_S


class Ran(Struct, frozen=True):
    """`tries`: requests of the turn itself that the primary's provider saw. `left`: processes that did not go."""

    turn: Turn
    tries: int
    folder: Path
    fallback_tries: int = 0
    left: tuple[str, ...] = ()
    log: str = ""


async def direct(installed: Installed, fault: str, limit_s: float, more: Mapping[str, str] = {}) -> Ran:
    """The agent alone; `more` is added to its environment."""
    async with AsyncExitStack() as stack:
        place = _place(stack)
        server = await stack.enter_async_context(provider(BROKEN_WORDS, fault))
        seat = place.seat(installed, server.url)
        environ = {**place.environ, **more, **seat.env}
        turn = await take_turn(seat.command, environ, place.work, place.stderr, limit_s=limit_s)
        left = await left_over(place.mark)
        return Ran(turn, len(server.asked(main=True)), place.folder, left=left, log=_tail(place.stderr))


async def brokered(primary: Installed, fallback: Installed, fault: str, limits: Limits) -> Ran:
    """The agent as the first of the broker's chain, a healthy one behind it."""
    async with AsyncExitStack() as stack:
        place = _place(stack)
        broken = await stack.enter_async_context(provider(BROKEN_WORDS, fault))
        healthy = await stack.enter_async_context(provider(WHOLE_WORDS))
        seats = [place.seat(primary, broken.url), place.seat(fallback, healthy.url)]
        home = place.folder / "broker"
        home.mkdir()
        environ = {**place.environ, "HOME": str(home), "ACP_BROKER_HOME": str(home / "state")}
        command = [str(Path(sys.executable).with_name("acp-broker")), "--config", str(_config(place, seats, limits))]
        turn = await take_turn(
            [*command, "stdio"], environ, place.work, place.stderr, limit_s=limits.brokered_s + MARGIN_S
        )
        left = await left_over(place.mark)
        log = _tail(home / "state" / "log" / "broker.jsonl") + _tail(place.stderr)
        return Ran(turn, len(broken.asked(main=True)), place.folder, len(healthy.asked(main=True)), left, log)


def _place(stack: AsyncExitStack) -> Place:
    # An agent that was killed may have left a file behind while the folder goes.
    folder = tempfile.TemporaryDirectory(prefix="acp-matrix-", ignore_cleanup_errors=True)
    return Place(Path(stack.enter_context(folder)) / "cell")


def _config(place: Place, seats: list[Seat], limits: Limits) -> Path:
    names = [seat.agent.name for seat in seats]
    config = {
        "acp": {"backend": names[0], "fallbacks": names[1:]},
        "backends": {
            seat.agent.name: {"kind": "acp", "command": seat.command, "env": dict(seat.env)} for seat in seats
        },
        "limits": {"firstOutputMs": round(limits.first_output_s * 1000), "idleMs": round(limits.idle_s * 1000)},
        "log": {"level": "debug"},
    }
    path = place.folder / "config.json"
    path.write_bytes(msgspec.json.encode(config))
    path.chmod(0o600)
    return path


def _tail(path: Path) -> str:
    return path.read_text(errors="replace")[-20_000:] if path.exists() else ""
