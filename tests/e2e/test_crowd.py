"""Two hundred sessions at once over WebSocket, backends that fail by dice, and frontends that do their worst.

One daemon lives through three rounds. In each the crowd talks twice: by itself, and with the hostile ones around it.
The dice are thrown with a seed; CROWD_SEED in the environment names another one.
"""

import asyncio
import os
from statistics import median

import pytest
from msgspec import Struct

from tests.support.crowd import Guest, Told, backends, plans
from tests.support.daemon import Daemon
from tests.support.hostile import Door, harassed
from tests.support.processes import memory_kb

SESSIONS, ROUNDS, TURNS = 200, 3, 2
SEED = os.environ.get("CROWD_SEED", "crowd")
MOST_BYTES = 1024 * 1024
# With a heap per thread, what the C library keeps for itself depends on which thread of a pool did what.
ONE_HEAP = {"MALLOC_ARENA_MAX": "1"}
ORIGIN = "unknown Origin; add it to frontends.websocket.origins if you trust that site"
CONFIG = {
    "acp": {"backend": "one", "fallbacks": ["two", "three"]},
    "backends": backends(TURNS),
    "frontends": {"websocket": {"port": 0}},
    "limits": {"firstOutputMs": 200, "stalledMs": 300, "maxMessageBytes": MOST_BYTES},
}


class Talk(Struct):
    """What a crowd was told, and what of it was none of its business."""

    told: list[Told]
    strays: list[dict]

    @property
    def usual_s(self) -> float:
        return median(one.took_s for one in self.told)


class Rounds(Struct):
    """In each round a talk in quiet, one among hostile frontends, and what the daemon holds once all are gone."""

    quiet: list[Talk]
    harassed: list[Talk]
    memory_kb: list[int]
    log: list[dict]


@pytest.fixture(scope="module")
def rounds(tmp_path_factory: pytest.TempPathFactory) -> Rounds:
    with Daemon(tmp_path_factory.mktemp("crowd"), CONFIG, env=ONE_HEAP) as daemon:
        door = Door(daemon.url, {"Authorization": f"Bearer {daemon.token}"}, str(daemon.work), MOST_BYTES)
        seen = asyncio.run(_rounds(door, daemon))
    return Rounds(*seen, daemon.log())


async def _rounds(door: Door, daemon: Daemon) -> tuple[list[Talk], list[Talk], list[int]]:
    quiet, bad, memory = [], [], []
    for number in range(ROUNDS):
        # Twice before the first: what the C library keeps for itself grows until all that may happen at once has.
        for warming in range(2 if number == 0 else 0):
            await _harassed(door, f"{SEED}.warming.{warming}")
        quiet.append(await _talk(door, f"{SEED}.{number}.quiet"))
        bad.append(await _harassed(door, f"{SEED}.{number}.harassed"))
        memory.append(memory_kb(daemon.process.pid))
    return quiet, bad, memory


async def _harassed(door: Door, seed: str) -> Talk:
    async with harassed(door):
        talk = await _talk(door, seed)
    await _emptied(door)
    return talk


async def _talk(door: Door, seed: str) -> Talk:
    guests = [Guest(door.cwd) for _ in range(SESSIONS)]

    async def talk(guest: Guest, own: str) -> list[Told]:
        await guest.open()
        return [await guest.prompt(plan) for plan in plans(own, TURNS)]

    await asyncio.gather(*(guest.arrive(door.url, door.headers) for guest in guests))
    told = await asyncio.gather(*(talk(guest, f"{seed}.{number}") for number, guest in enumerate(guests)))
    await asyncio.gather(*(guest.leave() for guest in guests))
    return Talk([one for each in told for one in each], [stray for guest in guests for stray in guest.strays])


async def _emptied(door: Door) -> None:
    """Delete what those who vanished have left."""
    guest = Guest(door.cwd)
    await guest.arrive(door.url, door.headers)
    left = await guest.call("session/list")
    for one in left["result"]["sessions"]:
        await guest.call("session/delete", sessionId=one["sessionId"])
    await guest.line.close()


def test_every_turn_of_the_crowd_ends_once_with_the_words_of_one_backend(rounds: Rounds) -> None:
    """Whichever backends failed, and whoever else was there: a retry storm or a lost frame would show here."""
    talks = [*rounds.quiet, *rounds.harassed]
    wrong = [why for talk in talks for one in talk.told if (why := one.wrong()) is not None]

    assert 2 * ROUNDS * SESSIONS * TURNS == sum(len(talk.told) for talk in talks)
    assert [] == wrong


def test_nobody_in_the_crowd_hears_of_another_session(rounds: Rounds) -> None:
    """Two hundred bridges are two hundred people's conversations."""
    assert [] == [stray for talk in [*rounds.quiet, *rounds.harassed] for stray in talk.strays]


def test_hostile_frontends_at_most_double_the_time_that_others_wait(rounds: Rounds) -> None:
    """In the best of the rounds: each compares two talks that follow each other, for the machine is not ours alone."""
    slower = [bad.usual_s / quiet.usual_s for quiet, bad in zip(rounds.quiet, rounds.harassed, strict=True)]

    assert min(slower) < 2, slower


def test_a_round_leaves_nothing_in_memory(rounds: Rounds) -> None:
    """A daemon runs for months: what one round left behind would come again with the next."""
    *_, second, third = rounds.memory_kb

    assert third < second * 1.05, rounds.memory_kb


@pytest.mark.parametrize(
    "line",
    [
        {"event": "frontend_left"},
        {"event": "frontend_stalled"},
        {"event": "frontend_throttled"},
        {"event": "websocket_binary_ignored"},
        {"event": "websocket_broken", "code": 1009},
        {"event": "websocket_broken", "code": 1002},
        {"event": "websocket_refused", "why": "wrong token"},
        {
            "event": "websocket_refused",
            "why": "unknown Origin; add it to frontends.websocket.origins if you trust that site",
        },
        {"event": "bad_message"},
    ],
    ids=lambda line: " ".join(map(str, line.values()))[:50],
)
def test_what_a_hostile_frontend_does_is_in_the_log(rounds: Rounds, line: dict) -> None:
    """Whoever looks why the daemon is busy finds out who makes it so."""
    assert any(line.items() <= logged.items() for logged in rounds.log), line
