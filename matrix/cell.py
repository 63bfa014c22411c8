"""One cell of the matrix: an agent and a fault of its provider, alone or behind the broker."""

import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec
from msgspec import Struct

from matrix.faults import BROKEN_WORDS, WHOLE_WORDS, first_fault, healthy_before
from matrix.install import Installed
from matrix.left import end_all, left_over
from matrix.place import Place, Seat
from matrix.turn import OPEN_S, Plan, Turn, take_turn
from tests.support.provider import Provider, provider


class Limits(Struct, frozen=True):
    """Seconds: until an agent alone is cut off; until the broker gives up on silence, before a word and after one.

    `margin_s` is what the start of both agents, the stop between them and a busy machine may add.
    """

    direct_s: float
    first_output_s: float
    idle_s: float
    margin_s: float = 10.0

    @property
    def brokered_s(self) -> float:
        """In which a turn through the broker must have its answer."""
        return self.first_output_s + self.idle_s + self.margin_s


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
        place = await stack.enter_async_context(_placed())
        server = await stack.enter_async_context(provider(BROKEN_WORDS, first_fault(fault)))
        seat = place.seat(installed, server.url)
        environ = {**place.environ, **more, **seat.env}
        plan = Plan(limit_s, healthy_before(fault), partial(setattr, server, "fault", fault))
        turn = await take_turn(seat.command, environ, place.work, place.stderr, plan)
        left = await left_over(place.mark)
        return Ran(turn, _tries(server, fault), place.folder, left=left, log=_tail(place.stderr))


async def brokered(primary: Installed, fallback: Installed, fault: str, limits: Limits) -> Ran:
    """The agent as the first of the broker's chain, a healthy one behind it."""
    async with AsyncExitStack() as stack:
        place = await stack.enter_async_context(_placed())
        broken = await stack.enter_async_context(provider(BROKEN_WORDS, first_fault(fault)))
        healthy = await stack.enter_async_context(provider(WHOLE_WORDS))
        seats = [place.seat(primary, broken.url), place.seat(fallback, healthy.url)]
        home = place.folder / "broker"
        home.mkdir()
        environ = {**place.environ, "HOME": str(home), "ACP_BROKER_HOME": str(home / "state")}
        command = [str(Path(sys.executable).with_name("acp-broker")), "--config", str(_config(place, seats, limits))]
        plan = Plan(
            limits.brokered_s + limits.margin_s, healthy_before(fault), partial(setattr, broken, "fault", fault)
        )
        turn = await take_turn([*command, "stdio"], environ, place.work, place.stderr, plan)
        left = await left_over(place.mark)
        log = _tail(home / "state" / "log" / "broker.jsonl") + _tail(place.stderr)
        return Ran(turn, _tries(broken, fault), place.folder, len(healthy.asked(main=True)), left, log)


def _tries(server: Provider, fault: str) -> int:
    return sum(one.fault == fault for one in server.asked(main=True))


@asynccontextmanager
async def _placed() -> AsyncIterator[Place]:
    """A folder for one cell; on the way out, however that comes, it goes with all processes of the cell."""
    # A process may write one more file while its folder goes.
    with tempfile.TemporaryDirectory(prefix="acp-matrix-", ignore_cleanup_errors=True) as folder:
        place = Place(Path(folder) / "cell")
        try:
            yield place
        finally:
            end_all(place.mark)


def _config(place: Place, seats: list[Seat], limits: Limits) -> Path:
    names = [seat.agent.name for seat in seats]
    # Of each backend, so that they count for agents whose own are known to be others.
    own = {"firstOutputMs": round(limits.first_output_s * 1000), "idleMs": round(limits.idle_s * 1000)}
    config = {
        "acp": {"backend": names[0], "fallbacks": names[1:]},
        "backends": {
            seat.agent.name: {"kind": "acp", "command": seat.command, "env": dict(seat.env), "limits": own}
            for seat in seats
        },
        # The prompt comes once the primary is there, as to an agent alone: what is timed is the turn.
        "limits": {"sessionNewMs": round(OPEN_S * 1000)},
        "log": {"level": "debug"},
    }
    path = place.folder / "config.json"
    path.write_bytes(msgspec.json.encode(config))
    path.chmod(0o600)
    return path


def _tail(path: Path) -> str:
    return path.read_text(errors="replace")[-20_000:] if path.exists() else ""
