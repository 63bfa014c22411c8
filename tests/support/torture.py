"""A broker that is killed again and again, and what its frontends had been told: all of it must be in the replay.

A life is one state folder and KILLS kills, all of whose choices come from one seed. In each a broker, by turns `stdio`
and `serve`, takes up the sessions of the one before; its witnesses prompt, and keep every byte that they read; at some
instant it is killed with SIGKILL. `play` returns what happened, and raises AssertionError with the seed of the life.

    python -m tests.support.torture [--kills N] [--seed S]

With `--turns N` other lives are played instead, of mixed chains in which everything fails: see `tests.support.chaos`.
"""

import argparse
import json
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.support import chaos
from tests.support.broker import BrokerProcess, chain
from tests.support.daemon import WEBSOCKET, Daemon
from tests.support.talk import Talk
from tests.support.told_logs import check_stories
from tests.support.witness import Claim, Witness, session_of

KILLS = 10
# A broker lives until its witnesses have read so many messages, or for so long; some end while these begin.
MESSAGES, LIFE_S, BEGIN_S = 3000, 2.0, 0.7
# A record that a kill has cut off.
TORN = b'{"record":"step","turn":"t-0123'
# The sessions of one life.
SESSIONS = 4

_TOOL = {"do": "toolCall", "toolCallId": "c", "title": "Look", "status": "pending"}
_TOLD = {"do": "toolCallUpdate", "toolCallId": "c", "status": "completed"}
_WORDS = [
    {"do": "echo", "chunks": 8, "everyMs": 4},
    {"do": "say", "text": "and so on " * 20, "chunks": 40, "everyMs": 1},
]
_BRANCHES = [
    {"weight": 4, "steps": _WORDS},
    {"weight": 3, "steps": [{"do": "think", "text": "hm"}, _TOOL, {"do": "echo"}, _TOLD, *_WORDS]},
    {"weight": 2, "steps": [{"do": "flood", "count": 3000, "text": "word ", "perWrite": 50}, {"do": "echo"}]},
    {"weight": 1, "steps": [{"do": "flood", "count": 100, "text": "x" * 50_000, "perWrite": 100}, {"do": "echo"}]},
    {"weight": 1, "steps": [{"do": "echo"}, {"do": "die"}]},
]
_FAILS = [
    {"weight": 2, "steps": [{"do": "fail", "message": "overloaded"}]},
    {"weight": 1, "steps": [{"do": "die"}]},
]


class Happened(NamedTuple):
    """What a life consisted of: `torn` counts logs whose last record was cut off, `heard` updates, `asked` prompts."""

    kills: int
    torn: int
    heard: int
    asked: int


class _Life:
    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.seed = seed
        self.dice = Random(seed)
        self.home = folder / "state"
        self.claims: dict[str, list[Claim]] = {}
        self.answers: list[bytes] = []
        self.torn = self.heard = self.asked = 0

    def config(self) -> dict:
        """Another one each time: the scripts choose by a seed of their own."""
        seed = self.dice.randrange(1 << 30)
        primary = {"turns": [[{"do": "choose", "seed": seed, "branches": _BRANCHES + _FAILS}]]}
        spare = {"turns": [[{"do": "choose", "seed": seed + 1, "branches": _BRANCHES}]]}
        return chain(primary=primary, spare=spare, frontends=WEBSOCKET)

    def kill(self, number: int) -> None:
        """One broker, from its start to its death."""
        words = (f"<{self.seed}.{number}.{count}>" for count in range(1 << 30))
        names = self.dice.sample(sorted(self.claims), len(self.claims))
        makes = 2 if not names else int(len(names) < SESSIONS and self.dice.random() < 0.3)
        if (self.seed + number) % 2:
            with BrokerProcess(self.folder, self.config(), home=self.home) as broker:
                witnesses = [self._witness(broker, names[:2], makes, words)]
                self._end(broker, witnesses)
        else:
            with Daemon(self.folder, self.config(), home=self.home) as daemon:
                # The two attend one session, now and then.
                second = names[:1] if self.dice.random() < 0.3 else names[1:2]
                witnesses = [
                    self._witness(daemon.websocket(), names[:1], makes, words),
                    self._witness(daemon.websocket(), second, 0 if second else 1, words),
                ]
                self._end(daemon, witnesses)
        self._note(witnesses)
        self._tear()
        self._look()

    def last(self) -> None:
        """The broker that is not killed: it finds everything."""
        quiet = chain(primary={"kind": "scripted", "script": {}})
        with BrokerProcess(self.folder, quiet, home=self.home) as broker:
            broker.initialize()
            for session in self.claims:
                before = len(broker.raw)
                broker.call("session/load", sessionId=session, cwd=str(broker.work), mcpServers=[])
                replayed = [line for line in broker.raw[before:] if session_of(json.loads(line)) == session]
                self._hold(session, replayed)
            listed = broker.call("session/list")["result"]["sessions"]
        assert {one["sessionId"] for one in listed} >= set(self.claims)
        check_stories(self.home, self.answers, is_over=True)

    def _witness(self, talk: Talk, take_up: list[str], makes: int, words: Iterator[str]) -> Witness:
        return Witness(talk, Random(self.dice.randrange(1 << 30)), take_up, makes, words)

    def _end(self, broker: BrokerProcess | Daemon, witnesses: list[Witness]) -> None:
        _live(self.dice, witnesses)
        broker.kill()
        for witness in witnesses:
            witness.join()
        left = broker.left_over()
        assert [] == left, f"left behind: {left}"

    def _note(self, witnesses: list[Witness]) -> None:
        """Hold what was replayed against what was known, and keep what was told for the next time."""
        told = [claim for witness in witnesses for claim in witness.claims()]
        for session, claim, is_whole in told:
            self._hold(session, claim.replayed, is_whole=is_whole)
        for session in {session for session, _, is_whole in told if is_whole}:
            self.claims[session] = [claim for name, claim, is_whole in told if name == session and is_whole]
        for witness in witnesses:
            self.asked += len(witness.asked)
            self.heard += sum(b'"session/update"' in line for line in witness.talk.raw)
            self.answers += [line for line in witness.talk.raw if _answers(json.loads(line), witness.asked)]

    def _hold(self, session: str, replay: list[bytes], *, is_whole: bool = True) -> None:
        for claim in self.claims.get(session, ()):
            known = len(claim.replayed)
            shown, after = _told(claim.shown), _told(replay[known:])
            told, again = claim.replayed + shown, replay[:known] + after[: len(shown)]
            _alike(session, told if is_whole else told[: len(again)], again)

    def _tear(self) -> None:
        """Now and then the kill had come within a write: of a record that nobody was shown."""
        logs = sorted((self.home / "sessions").glob("*.jsonl"))
        self.torn += sum(not log.read_bytes().endswith(b"\n") for log in logs)
        if logs and self.dice.random() < 0.4:
            log = self.dice.choice(logs)
            if log.read_bytes().endswith(b"\n"):
                with log.open("ab") as file:
                    file.write(TORN)
                self.torn += 1

    def _look(self) -> None:
        check_stories(self.home, self.answers, is_over=False)


def play(folder: Path, seed: int, kills: int = KILLS) -> Happened:
    """One life."""
    life = _Life(folder, seed)
    number = -1
    try:
        for number in range(kills):
            life.kill(number)
        life.last()
    except AssertionError as error:
        again = f"scripts/torture --seed {seed} --kills {kills}"
        raise AssertionError(f"seed {seed}, kill {number}: {error}\nagain: {again}") from error
    return Happened(kills, life.torn, life.heard, life.asked)


def _live(dice: Random, witnesses: list[Witness]) -> None:
    """Wait for the instant of the kill."""
    never = threading.Event()
    if dice.random() < 0.2:
        never.wait(dice.uniform(0, BEGIN_S))
        return
    count, more_s = MESSAGES ** dice.random(), dice.uniform(0, 0.02)
    witnesses[0].is_up.wait()
    until = time.monotonic() + LIFE_S
    while sum(len(one.talk.raw) for one in witnesses) < count and time.monotonic() < until:
        never.wait(0.002)
    never.wait(more_s)


def _told(updates: list[bytes]) -> list[bytes]:
    """Without what frontends other than its own are shown of a prompt, and without our word on an interrupted turn."""
    marks = (b'"messageId":"prompt-', b'"messageId":"interrupted-')
    return [line for line in updates if not any(mark in line[:200] for mark in marks)]


def _answers(message: dict, asked: dict[int, str]) -> bool:
    """Whether it is the answer to a prompt that was begun: of others nothing is in the log."""
    if "method" in message or message["id"] not in asked:
        return False
    if "error" in message:
        return message["error"]["code"] != -33003
    return message["result"] != {"stopReason": "cancelled"}


def _alike(session: str, told: list[bytes], replayed: list[bytes]) -> None:
    if told == replayed:
        return
    at = next((at for at, (one, other) in enumerate(zip(told, replayed, strict=False)) if one != other), len(replayed))
    was, now = (lines[at][:300] if at < len(lines) else b"nothing" for lines in (told, replayed))
    raise AssertionError(f"session {session}, update {at} of {len(told)}: told {was!r}, replayed {now!r}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/torture", description="Kill brokers, and look for what is lost.")
    parser.add_argument("--kills", type=int, default=1000, metavar="N", help="how many; the default is 1000")
    parser.add_argument("--turns", type=int, metavar="N", help="instead, turns of chains in which all fails")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="of the first life; S+1 of the next")
    options = parser.parse_args()
    total = options.turns or options.kills
    one, size = (chaos.play, chaos.TURNS) if options.turns else (play, KILLS)
    all_of_it: Counter[str] = Counter()
    for life in range(-(-total // size)):
        seed, folder = options.seed + life, Path(tempfile.mkdtemp(prefix="acp-broker-torture-"))
        try:
            happened = one(folder, seed, min(size, total - life * size))
        except AssertionError as error:
            sys.exit(f"{error}\nits files: {folder}")
        shutil.rmtree(folder)
        all_of_it.update(happened if isinstance(happened, dict) else happened._asdict())
        print(f"seed {seed}: all well. {dict(all_of_it)}", flush=True)


if __name__ == "__main__":
    main()
