"""The broker's own log: one JSON object per line, and never a reason for a turn to end."""

import fcntl
import json
import os
import select
import threading
from pathlib import Path

import pytest

from acp_broker.observe import log as module
from acp_broker.observe.log import _LEVELS, Level, LineLog, to_file
from tests.support.clock import FakeClock


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_event_is_one_line_with_its_time(tmp_path: Path) -> None:
    """Tools read it line by line."""
    log = to_file(FakeClock(), tmp_path / "broker.jsonl")
    log("attempt_failed", backend="primary", why="two\nlines")

    expected = {"backend": "primary", "why": "two\nlines"}
    assert [{"at": 1700001000.0, "level": "warning", "event": "attempt_failed", **expected}] == lines(
        tmp_path / "broker.jsonl"
    )


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", ["agent_notification", "turn_over", "attempt_failed", "broker_fault"]),
        ("info", ["turn_over", "attempt_failed", "broker_fault"]),
        ("warning", ["attempt_failed", "broker_fault"]),
        ("error", ["broker_fault"]),
    ],
)
def test_what_is_below_the_level_is_left_out(tmp_path: Path, level: Level, expected: list[str]) -> None:
    """`log.level` of config.json."""
    log = to_file(FakeClock(), tmp_path / "broker.jsonl", level)
    for event in ("agent_notification", "turn_over", "attempt_failed", "broker_fault"):
        log(event)

    assert expected == [line["event"] for line in lines(tmp_path / "broker.jsonl")]


def test_every_event_that_has_a_level_is_said_somewhere() -> None:
    """An event that was renamed would fall back to info in silence."""
    top = Path(__file__).parents[2]
    source = "".join(path.read_text() for room in ("acp_broker", "backends") for path in (top / room).rglob("*.py"))

    assert [] == [event for event in _LEVELS if source.count(f'"{event}"') < 2]


def test_what_is_none_is_left_out(tmp_path: Path) -> None:
    """Most fields are not there most of the time."""
    to_file(FakeClock(), tmp_path / "broker.jsonl")("turn_over", code=None)

    assert "code" not in lines(tmp_path / "broker.jsonl")[0]


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    """It names folders and what failed."""
    before = os.umask(0)
    try:
        to_file(FakeClock(), tmp_path / "log" / "broker.jsonl")
    finally:
        os.umask(before)

    assert 0o600 == (tmp_path / "log" / "broker.jsonl").stat().st_mode & 0o777


def test_a_later_broker_writes_behind_an_earlier_one(tmp_path: Path) -> None:
    """Yesterday's failover is looked for today."""
    for event in ("one", "two"):
        to_file(FakeClock(), tmp_path / "broker.jsonl")(event)

    assert ["one", "two"] == [line["event"] for line in lines(tmp_path / "broker.jsonl")]


def test_a_large_file_is_set_aside(tmp_path: Path, monkeypatch) -> None:
    """A log must not fill the disk that it reports on."""
    monkeypatch.setattr(module, "ROTATE_BYTES", 10)
    for event in ("old", "new"):
        to_file(FakeClock(), tmp_path / "broker.jsonl")(event)

    files = {path.name: [line["event"] for line in lines(path)] for path in tmp_path.iterdir()}
    assert {"broker.jsonl": ["new"], "broker.jsonl.1": ["old"]} == files


def test_a_file_that_cannot_be_opened_is_said_once_on_stderr(tmp_path: Path, capfd) -> None:
    """An editor shows stderr of the agents that it starts."""
    (tmp_path / "file").write_bytes(b"")
    to_file(FakeClock(), tmp_path / "file" / "broker.jsonl")("hello")
    first, second = capfd.readouterr().err.splitlines()

    expected = f"acp-broker: cannot write the log {tmp_path}/file/broker.jsonl: File exists; logging to stderr"
    assert (expected, "hello") == (first, json.loads(second)["event"])


def test_what_is_no_utf8_is_escaped(tmp_path: Path) -> None:
    """A folder's name may be any bytes, and its turn must not end for it."""
    name = os.fsdecode(b"\xff")
    to_file(FakeClock(), tmp_path / "broker.jsonl")("hello", folder=name, folders=[name, "x"], count=1)

    [line] = lines(tmp_path / "broker.jsonl")
    assert (r"\udcff", [r"\udcff", "x"], 1) == (line["folder"], line["folders"], line["count"])


def test_a_log_that_cannot_be_written_raises_nothing() -> None:
    """A full disk ends no turn twice."""
    read, write = os.pipe()
    os.close(read)
    LineLog(FakeClock(), write)("hello")
    os.close(write)


def test_a_stderr_that_nobody_reads_holds_nobody_up() -> None:
    """Everybody who is served would wait for it; what was lost is counted once it is read again."""
    read_end, write_end = os.pipe()
    log = LineLog(FakeClock(), write_end, may_block=True)

    def flood() -> None:
        for _ in range(2_000):
            log("turn_over", why="x" * 100)

    thread = threading.Thread(target=flood, daemon=True)
    thread.start()
    thread.join(20)
    is_stuck = thread.is_alive()
    first = os.read(read_end, 1 << 20).splitlines()
    log("turn_over")
    os.close(write_end)
    rest = os.read(read_end, 1 << 20).splitlines()
    os.close(read_end)
    lost, last = (json.loads(line) for line in rest)

    assert not is_stuck
    assert (2_000, "turn_over") == (len(first) + lost["count"], last["event"])


def test_a_line_that_was_cut_does_not_spoil_the_next() -> None:
    """A traceback is longer than what a full pipe takes at once."""
    read_end, write_end = os.pipe()
    os.write(write_end, b"." * (_room(write_end) - 2 * select.PIPE_BUF))
    log = LineLog(FakeClock(), write_end, may_block=True)
    log("broker_fault", traceback="x" * 5 * select.PIPE_BUF)
    os.read(read_end, 1 << 20)
    log("turn_over")
    os.close(write_end)
    rest = os.read(read_end, 1 << 20)
    os.close(read_end)

    assert ["log_lines_lost", "turn_over"] == [json.loads(line)["event"] for line in rest.strip().splitlines()]


def _room(fd: int) -> int:
    """How much a pipe holds."""
    os.set_blocking(fd, False)
    return fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
