"""Twenty broker processes work in ten sessions at once: nothing is lost, doubled, stale, or waits for long."""

import json
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest

from acp_broker.store.reading import read_records
from acp_broker.store.told import prompt_text, told
from tests.support import recorder
from tests.support.broker import BrokerProcess, chain
from tests.support.told_logs import check_stories

# Each works in some of the sessions, and comes back to them.
BROKERS, SESSIONS, EACH, PROMPTS = 20, 10, 3, 12
# Nobody may wait for longer, on however loaded a machine: a turn takes 20 ms at most.
LONG_S = 15.0
# What runtimes were given, of all processes.
GIVEN = "given.jsonl"
TOP = Path(__file__).parents[2]
WORD = re.compile(r"<(\d+\.\d+)>")
SAID = re.compile(r"\[(\d+\.\d+)\]")


class Worker:
    """One broker and its client, on a thread. `asked` is what became of each of its words."""

    def __init__(self, number: int, broker: BrokerProcess, sessions: list[str], given: Path, dice: Random) -> None:
        self.number = number
        self.broker = broker
        self.dice = dice
        self.sessions = sessions
        self.given = given
        self.asked: dict[str, object] = {}
        self.waited: list[float] = []
        self.fault: BaseException | None = None
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as fault:  # noqa: BLE001 - raised by the test
            self.fault = fault

    def _work(self) -> None:
        taken_up: set[str] = set()
        sessions = self.dice.sample(self.sessions, EACH)
        for count in range(PROMPTS):
            if count == PROMPTS // 2 and self.dice.random() < 0.5:
                self.broker.configure(config(self.given, "other", "agent"))
            session = self.dice.choice(sessions)
            if session not in taken_up:
                method = self.dice.choice(["session/load", "session/resume"])
                answer = self.broker.call(method, sessionId=session, cwd=str(self.broker.work), mcpServers=[])
                assert "result" in answer, answer
                taken_up.add(session)
            word = f"{self.number}.{count}"
            request = self.broker.start(session, f"<{word}>")
            if self.dice.random() < 0.1:
                self.broker.cancel(session)
            began = time.monotonic()
            reply = self.broker.until_reply(request).reply
            self.waited.append(time.monotonic() - began)
            self.asked[word] = reply["result"]["stopReason"] if "result" in reply else reply["error"]
        self._part(session)

    def _part(self, session: str) -> None:
        """Stay, or go while a prompt waits or runs: its client closes, or it is told to stop."""
        farewell = self.dice.choice(["stay", "close", "SIGTERM"])
        if farewell != "stay":
            self.broker.start(session, f"<{self.number}.{PROMPTS}>")
            threading.Event().wait(self.dice.uniform(0, 0.05))
        if farewell == "close":
            self.broker.leave()
        if farewell == "SIGTERM":
            self.broker.process.send_signal(signal.SIGTERM)
            self.broker.ended()


class Doomed(Worker):
    """Its broker is killed in the middle of a turn, or while a prompt waits for one."""

    def _work(self) -> None:
        session = self.dice.choice(self.sessions)
        self.broker.call("session/load", sessionId=session, cwd=str(self.broker.work), mcpServers=[])
        self.broker.start(session, f"<{self.number}.0>")
        threading.Event().wait(self.dice.uniform(0, 0.05))
        self.broker.kill()


def config(given: Path, *names: str) -> dict:
    """A config.json of recorders, the first of them the primary."""
    first, *rest = names
    backends = {name: {"kind": "recorder", "file": str(given)} for name in names}
    return {"acp": {"backend": first, "fallbacks": rest}, "backends": backends}


def brokers(tmp_path: Path, stack: ExitStack) -> Iterator[BrokerProcess]:
    site, work = recorder.install(tmp_path / "site"), tmp_path / "work"
    work.mkdir()
    path = os.pathsep.join([str(site), str(TOP), *filter(None, [os.environ.get("PYTHONPATH")])])
    for number in range(BROKERS + 1):
        folder = tmp_path / f"b{number}"
        folder.mkdir()
        broker = BrokerProcess(
            folder, config(tmp_path / GIVEN, "agent"), home=tmp_path / "state", env={"PYTHONPATH": path}
        )
        broker.work = work
        yield stack.enter_context(broker)


@pytest.mark.parametrize("seed", [1])
def test_twenty_brokers_share_ten_sessions(tmp_path: Path, seed: int) -> None:
    """Three are killed in a turn; others are told to stop, or left, or get another primary; prompts are cancelled."""
    dice = Random(seed)
    with ExitStack() as stack:
        first, *others = brokers(tmp_path, stack)
        first.initialize()
        sessions = [first.new() for _ in range(SESSIONS)]
        for broker in others:
            broker.write(broker.asking("initialize", protocolVersion=1, clientCapabilities={}))
        workers = [
            (Doomed if number % 7 == 3 else Worker)(
                number, broker, sessions, tmp_path / GIVEN, Random(dice.randrange(1 << 30))
            )
            for number, broker in enumerate(others)
        ]
        for worker in workers:
            worker.thread.start()
        for worker in workers:
            worker.thread.join()
        faults = [worker.fault for worker in workers if worker.fault is not None]
        assert [] == faults
        for session in sessions:
            first.call("session/load", sessionId=session, cwd=str(first.work), mcpServers=[])

    asked = {word: end for worker in workers for word, end in worker.asked.items()}
    waited = max(max(worker.waited, default=0) for worker in workers)
    assert {"end_turn", "cancelled"} >= set(map(str, asked.values())), asked
    assert waited < LONG_S
    home = tmp_path / "state"
    check_stories(home, [], is_over=True)
    check_once(home, {word for word, end in asked.items() if end == "end_turn"})
    check_given(home, tmp_path / GIVEN)


def check_once(home: Path, finished: set[str]) -> None:
    """Each prompt that was answered with an end was accepted once, and has that answer."""
    turns = [turn for path in (home / "sessions").glob("*.jsonl") for turn in told(read_records(path))]
    accepted = Counter(WORD.findall(turn.prompt)[0] for turn in turns)
    ends = {WORD.findall(turn.prompt)[0]: turn.end for turn in turns}

    assert {1} == set(accepted.values())
    assert dict.fromkeys(finished, "end_turn") == {word: ends[word] for word in finished}


def check_given(home: Path, given: Path) -> None:
    """With each prompt every runtime was given all that was said before and that it did not know; nothing twice."""
    said = {path.stem: list(told(read_records(path))) for path in (home / "sessions").glob("*.jsonl")}
    knows: dict[tuple[str, str], set[str]] = {}
    for one in map(json.loads, given.read_text().splitlines()):
        *handed, prompt = one["blocks"]
        word = WORD.findall(prompt)[0]
        turns = said[one["session"]]
        before = turns[: [WORD.findall(turn.prompt)[0] for turn in turns].index(word)]
        earlier = [WORD.findall(turn.prompt)[0] for turn in before if turn.is_told]
        mine = knows.setdefault((one["by"], one["session"]), set())
        missed = [word for word in earlier if word not in mine]

        assert (missed, missed) == (WORD.findall("".join(handed)), SAID.findall("".join(handed))), one
        mine |= {*missed, word}


def test_a_process_with_a_queue_lets_another_have_its_turn(tmp_path: Path) -> None:
    """The kernel tells it that another one waits."""
    held = {"turns": [[{"do": "stall", "ms": 150}, {"do": "say", "text": "x"}]]}
    (tmp_path / "other").mkdir()
    with (
        BrokerProcess(tmp_path, chain(main=held)) as broker,
        BrokerProcess(tmp_path / "other", chain(main=held), home=broker.home) as other,
    ):
        session = broker.open()
        other.initialize()
        other.call("session/resume", sessionId=session, cwd=str(broker.work), mcpServers=[])
        queued = [broker.start(session, str(number)) for number in range(8)]
        turn = other.prompt(session, "other")
        for request in queued:
            broker.until_reply(request)
        records = read_records(broker.home / "sessions" / f"{session}.jsonl")
        order = [prompt_text(record.prompt) for record in records if record.record == "accepted"]

    assert "end_turn" == turn.reply["result"]["stopReason"]
    assert order.index("other") < 8
