"""Editors that read slowly, or never: the agent is drained all the same, nothing is lost, and memory stays bounded."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.broker import DEADLINE_S, agent, chain
from tests.support.heard import Turn
from tests.support.wire import Wire

# Far more than pipes and tails hold.
TEXT = " ".join(str(number) for number in range(600_000))
CHUNKS = 20_000
FLOOD_BYTES = 200 * 1000 * 1000
# Python's heap does not give back what a burst took; one burst is a read of the agent and what becomes of it.
GROWTH_BYTES = 24 * 1024 * 1024


def until(is_so: Callable[[], bool]) -> None:
    """Look until it is so. What is looked at is a file of another process, which nothing tells us of."""
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline, "it never was so"
        time.sleep(0.01)


def text_of(turn: Turn) -> str:
    return "".join(update["content"]["text"] for update in turn.updates)


def is_answered(wire: Wire, session: str) -> bool:
    """Whether the turn's answer is in the session's log."""
    log = wire.home / "sessions" / f"{session}.jsonl"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        return b'\n{"record":"answer"' in file.read()


def flooding(tmp_path: Path) -> Wire:
    """An agent whose turn is far more than pipes and tails hold."""
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"turns": [[{"do": "say", "text": TEXT, "chunks": CHUNKS}]]}))
    return Wire(tmp_path, chain(main=agent(str(script))))


def test_an_editor_that_pauses_gets_everything_once_and_in_order(tmp_path: Path) -> None:
    """The agent does not wait for it: the turn is over, in the log, before the editor reads on."""
    with flooding(tmp_path) as wire:
        session = wire.open()
        prompt = wire.start(session)
        until(lambda: is_answered(wire, session))
        turn = wire.until_reply(prompt)

    assert TEXT == text_of(turn)


def test_an_editor_that_closes_its_side_still_gets_what_it_has_not_read(tmp_path: Path) -> None:
    """`printf ... | acp-broker stdio | slow`: every request has its answer, whenever it is read."""
    with flooding(tmp_path) as wire:
        session = wire.open()
        prompt = wire.start(session)
        until(lambda: is_answered(wire, session))
        wire.process.stdin.close()
        turn = wire.until_reply(prompt)

    assert TEXT == text_of(turn)


@pytest.mark.parametrize("method", ["session/close", "session/delete"])
def test_what_an_editor_has_not_read_of_a_session_comes_before_its_end(tmp_path: Path, method: str) -> None:
    """It forgets the session at that answer."""
    with flooding(tmp_path) as wire:
        session = wire.open()
        prompt = wire.start(session)
        until(lambda: is_answered(wire, session))
        ending = wire.request(method, sessionId=session)
        turn = wire.until_reply(prompt)
        ended = wire.until_reply(ending).reply

    assert TEXT == text_of(turn)
    assert {} == ended["result"]


def test_an_editor_that_never_reads_does_not_fill_the_memory(tmp_path: Path) -> None:
    """What it does not read waits in the file; the broker keeps a tail."""
    flood = {"do": "flood", "count": FLOOD_BYTES // 1000, "text": "x" * 1000}
    script = {
        "turns": [[{"do": "ifText", "contains": "flood", "steps": [flood], "else": [{"do": "say", "text": "x"}]}]]
    }
    with Wire(tmp_path, chain(main=script)) as wire:
        wire.prompt(wire.open())
        session = wire.new()
        before = peak_bytes(wire.process.pid)
        wire.start(session, "flood")
        until(lambda: is_answered(wire, session))
        grown = peak_bytes(wire.process.pid) - before
        log = wire.home / "sessions" / f"{session}.jsonl"
        written = log.stat().st_size
        log.unlink()
        wire.kill()

    assert written > FLOOD_BYTES
    assert grown < GROWTH_BYTES


def test_a_long_session_is_loaded_in_pieces(tmp_path: Path) -> None:
    """Its replay neither fills the memory nor holds up another session's turn."""
    tick = {"do": "repeat", "steps": [{"do": "say", "text": "tick"}, {"do": "stall", "ms": 1}]}
    flood = {"do": "flood", "count": 30_000, "text": "x" * 1000}
    script = {"turns": [[{"do": "ifText", "contains": "tick", "steps": [tick], "else": [flood]}]]}
    with Wire(tmp_path, chain(main=script)) as wire:
        long, other = wire.open(), wire.new()
        wire.prompt(long)
        ticking = wire.start(other, "tick")
        wire.until_method("session/update")
        before = peak_bytes(wire.process.pid)
        loaded = wire.until_reply(wire.request("session/load", sessionId=long, cwd=str(wire.work), mcpServers=[]))
        grown = peak_bytes(wire.process.pid) - before
        wire.cancel(other)
        wire.until_reply(ticking)
    order = [message["params"]["sessionId"] == long for message in loaded.heard[:-1]]
    replayed = order[order.index(True) : len(order) - order[::-1].index(True)]

    assert 30_001 == sum(replayed)
    assert not all(replayed)
    assert grown < GROWTH_BYTES


def peak_bytes(pid: int) -> int:
    """The most memory that the process ever had (proc(5), VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024
