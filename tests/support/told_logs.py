"""What must hold of every session log, whatever happened to who wrote it: and the list of sessions agrees with it."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from acp_broker.store.index import Index
from acp_broker.store.reading import read_records
from acp_broker.store.records import Record
from tests.support.session_logs import check_logs


def check_stories(home: Path, answers: Iterable[bytes], *, is_over: bool) -> None:
    """Hold each log of a state folder to what every log promises; `answers` are messages that must be in one, once.

    `is_over`: every session was taken up again since its last broker's death.
    """
    found: Counter[bytes] = Counter()
    asked: Counter[str] = Counter()
    turns: dict[str, int] = {}
    for path in sorted((home / "sessions").glob("*.jsonl")):
        records = list(read_records(path))
        _check(path.name, records, is_over=is_over)
        found.update(bytes(record.frame) for record in records if record.record == "answer")
        prompts = [bytes(record.prompt).decode() for record in records if record.record == "accepted"]
        asked.update(prompts)
        if records:
            turns[path.stem] = len(prompts)
    assert [] == [answer for answer in answers if found[answer] != 1], "answered, and not once in the log"
    assert [] == [prompt for prompt, count in asked.items() if count > 1], "accepted twice"
    listed = {one.session: one.turns for one in Index(home).listed()}
    assert turns == listed, "the list of sessions and the logs do not agree"
    check_logs(home)


def _check(name: str, records: list[Record], *, is_over: bool) -> None:
    accepted = [record.turn for record in records if record.record == "accepted"]
    answered = Counter(record.turn for record in records if record.record == "answer")
    interrupted = Counter(record.turn for record in records if record.record == "interrupted")
    ended: set[object] = set()
    for record in records:
        if record.record in ("answer", "interrupted"):
            ended.add(record.turn)
        elif record.record == "step" and b"Start" in bytes(record.commands):
            assert record.turn not in ended, f"{name}: {record.turn} went on behind its end"
    ends = answered + interrupted
    assert [] == [turn for turn, count in ends.items() if count > 1], f"{name}: ended twice"
    open_turns = [turn for turn in accepted if turn not in ends]
    assert not is_over or not open_turns, f"{name}: neither answered nor interrupted: {open_turns}"
    # A turn is accepted once the one before it is over, or its process known to be dead.
    running = None
    for record in records:
        if record.record == "accepted":
            assert running is None, f"{name}: {record.turn} came before the end of {running}"
            running = record.turn
        elif record.record in ("answer", "interrupted") and record.turn == running:
            running = None
