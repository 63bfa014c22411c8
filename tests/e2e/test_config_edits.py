"""config.json edited a hundred times while everybody works: no turn is lost, and each runs by what held when it began.

A daemon, bridges on threads of their own, each prompting as fast as it is answered, and one hand that edits: in place,
by rename, half first, wrongly, or by deleting the file. Every valid edit names a primary that no other edit names, so
that a turn's candidates say by which edit it runs. The proof reads the session logs and the broker's log, nothing else.
"""

import json
import random
import select
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import NamedTuple

from acp_broker.store.reading import read_records
from tests.support.broker import agent
from tests.support.daemon import WEBSOCKET, Bridge, Daemon
from tests.support.heard import Turn
from tests.support.session_logs import turns_in
from tests.support.talk import DEADLINE_S

SEED = 20_260
EDITS = 100
BRIDGES = 5
# The broker's log has its times in whole milliseconds.
ROUNDED_S = 0.0006
SPARES = ("steady", "other", "third")


class Hand:
    """Edits the file of a daemon; each edit has been noticed when its method returns."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._random = random.Random(SEED)
        self._numbers = iter(range(1, EDITS + 1))
        self._file = daemon.config
        self._read = 0
        self._adopted = self._refused = 0
        self.done: list[str] = []

    def edit(self) -> None:
        """One of the ways, as the seed wants it."""
        ways = [self._in_place] * 3 + [self._by_rename] * 3 + [self._in_halves, self._wrong, self._wrong, self._deleted]
        way = self._random.choice(ways)
        way()
        self.done.append(way.__name__)

    def config(self) -> bytes:
        """A primary that is there this once, and some of the others in some order."""
        number = next(self._numbers)
        primary = f"p{number}"
        spares = self._random.sample(SPARES, self._random.randint(1, len(SPARES)))
        return json.dumps(configured(primary, spares, self._random.choice(PLAYS)(primary))).encode()

    def _in_place(self) -> None:
        self._file.write_bytes(self.config())
        self._taken()

    def _by_rename(self) -> None:
        beside = self._file.with_suffix(".beside")
        beside.write_bytes(self.config())
        beside.chmod(0o600)
        beside.replace(self._file)
        self._taken()

    def _in_halves(self) -> None:
        whole = self.config()
        with self._file.open("wb") as file:
            file.write(whole[: len(whole) // 2])
            file.flush()
            self._not_taken()
            file.write(whole[len(whole) // 2 :])
        self._taken()

    def _wrong(self) -> None:
        broken = self._random.choice([b"", b"{", b"[]", b'{"acp": {"backend": "p0"}, "backends": {}}'])
        self._file.write_bytes(broken)
        self._not_taken()

    def _deleted(self) -> None:
        self._file.unlink()
        self._not_taken()
        self._file.touch(0o600)

    def _taken(self) -> None:
        before = self._adopted
        self._until(lambda: self._adopted > before)

    def _not_taken(self) -> None:
        before = self._refused
        self._until(lambda: self._refused > before)

    def _until(self, is_so: Callable[[], bool]) -> None:
        """Tell the daemon to look, and read its log until it has said what it makes of the file."""
        self._daemon.signal(signal.SIGHUP)
        deadline = time.monotonic() + DEADLINE_S
        while not is_so():
            assert time.monotonic() < deadline, f"not noticed: {self.done[-3:]}"
            self._listen()
            select.select([], [], [], 0.002)

    def _listen(self) -> None:
        with self._daemon.log_file.open("rb") as log:
            log.seek(self._read)
            for line in log:
                self._read += len(line)
                self._adopted += b'"event":"config_adopted"' in line
                self._refused += b'"event":"config_refused"' in line


def says(name: str) -> list[object]:
    return [{"do": "say", "text": name}]


PLAYS = (
    lambda name: {"turns": [says(name)]},
    # Its turns last over the next edit or two.
    lambda name: {"turns": [[{"do": "stall", "ms": 60}, *says(name)]]},
    # They fail over then, along a chain that may not be in the file any more.
    lambda name: {"turns": [[{"do": "stall", "ms": 60}, {"do": "fail", "message": "overloaded"}], says(name)]},
    lambda _: {"turns": [[{"do": "die"}]]},
)


def configured(primary: str, spares: list[str], play: object) -> dict:
    mine = {primary: {"kind": "scripted", "script": play}}
    others = {name: {"kind": "scripted", "script": {"turns": [says(name)]}} for name in ("other", "third")}
    return {
        "acp": {"backend": primary, "fallbacks": spares},
        "backends": {**mine, **others, "steady": agent({"turns": [says("steady")]})},
        "frontends": WEBSOCKET,
    }


class Work:
    """What bridges do until they are told to stop."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.stop = Event()

    def prompting(self, bridge: Bridge, session: str) -> None:
        while not self.stop.is_set():
            self.turns.append(bridge.prompt(session))

    def until_more(self, count: int) -> None:
        """Wait until so many more turns are over: edits must not be faster than what they are to disturb."""
        wanted, deadline = len(self.turns) + count, time.monotonic() + DEADLINE_S
        while len(self.turns) < wanted:
            assert time.monotonic() < deadline, f"no turn ends any more, after {len(self.turns)}"
            select.select([], [], [], 0.001)


class Accepted(NamedTuple):
    """A turn as its session's log has it: when it was accepted, on whom it may run, and who was asked to."""

    at: float
    turn: str
    candidates: frozenset[str]
    is_answered: bool


def accepted_in(path: Path) -> Iterator[Accepted]:
    answered = {record.turn for record in read_records(path) if record.record == "answer"}
    played = turns_in(path)
    for record in read_records(path):
        if record.record == "accepted":
            names = frozenset(one.backend for one in played[record.turn].rules.candidates)
            yield Accepted(record.at, record.turn, names, record.turn in answered)


def chains_at(adoptions: list[Mapping[str, object]], at: float) -> list[frozenset[str]]:
    """The chain that held then, by the broker's log; two, where its rounded times cannot tell."""
    held = [(0.0, adoptions[0]["chain_before"]), *((one["at"], one["chain"]) for one in adoptions)]
    ends = [*(since for since, _ in held[1:]), float("inf")]
    return [
        frozenset(chain)
        for (since, chain), until in zip(held, ends, strict=True)
        if since - ROUNDED_S <= at <= until + ROUNDED_S
    ]


def test_a_hundred_edits_lose_no_turn_and_reach_into_none(tmp_path):
    """Whoever edits config.json at noon must not have to think of who is working."""
    with Daemon(tmp_path, configured("p0", ["steady"], {"turns": [says("p0")]})) as daemon:
        bridges = [daemon.websocket() for _ in range(BRIDGES)]
        sessions = [bridge.open() for bridge in bridges]
        hand, work = Hand(daemon), Work()
        with ThreadPoolExecutor(BRIDGES) as pool:
            try:
                working = [pool.submit(work.prompting, *one) for one in zip(bridges, sessions, strict=True)]
                while len(hand.done) < EDITS:
                    hand.edit()
                    work.until_more(2)
            finally:
                work.stop.set()
            for one in working:
                one.result()
        turns = work.turns
        adoptions = daemon.log("config_adopted")
    accepted = [one for name in sessions for one in accepted_in(daemon.home / "sessions" / f"{name}.jsonl")]
    strange = [one for one in accepted if one.candidates not in chains_at(adoptions, one.at)]

    assert {"end_turn"} == {turn.reply["result"]["stopReason"] for turn in turns}
    assert [] == [one.turn for one in accepted if not one.is_answered]
    assert len(turns) == len(accepted)
    assert [] == strange
    # Not a test of nothing: edits of every kind, chains that turns ran by, failovers.
    assert {"_in_place", "_by_rename", "_in_halves", "_wrong", "_deleted"} == set(hand.done)
    assert len({one.candidates for one in accepted}) > EDITS / 3
    assert any(len(turn.attempts) > 1 for turn in turns)
    print(
        len(turns),
        len({one.candidates for one in accepted}),
        sum(len(turn.attempts) > 1 for turn in turns),
        len(adoptions),
    )
