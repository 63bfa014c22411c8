"""A session as a file for people (Markdown) or programs (JSON), made from its log and nothing else."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import UNSET, Raw

from acp_broker.core.handoff import Said
from acp_broker.store.reading import read_records
from acp_broker.store.records import Record
from acp_broker.store.told import told


def markdown(path: Path) -> str:
    """Prompts, answers, tool calls, and how each turn ended. Thoughts and attachments are left out."""
    first = next(read_records(path))
    lines = [f"# Session {first.session}", "", f"Folder: `{first.cwd}`. Opened {_iso(first)}.", ""]
    for turn in told(read_records(path)):
        lines += _turn(turn)
    return "\n".join(lines).rstrip()


def as_json(path: Path) -> str:
    """Everything that was said, turn by turn: the prompt's content blocks and the updates as ACP has them."""
    records = read_records(path)
    first = next(records)
    shown = {"session": first.session, "cwd": first.cwd, "openedAt": _iso(first), "turns": list(_turns(records, path))}
    return json.dumps(shown, indent=2, ensure_ascii=False)


def _turn(turn: Said) -> list[str]:
    lines = ["## You", "", turn.prompt, "", f"## {turn.by or 'Nobody'}", ""]
    lines += [f"- {tool.title}{_files(tool.paths)}: {tool.status or 'status unknown'}" for tool in turn.tools]
    lines += [""] if turn.tools else []
    lines += [turn.answer, ""] if turn.answer else []
    lines += [f"*{', '.join(turn.before)} failed before.*", ""] if turn.before else []
    lines += [f"*This turn ended: {turn.end}.*", ""] if turn.end != "end_turn" else []
    lines += [turn.why, ""] if turn.why else []
    return lines


def _files(paths: tuple[str, ...]) -> str:
    return " (" + ", ".join(f"`{path}`" for path in paths) + ")" if paths else ""


def _turns(records: Iterator[Record], path: Path) -> Iterator[dict[str, object]]:
    ends: dict[str, Said] = {one.turn: one for one in told(read_records(path))}
    turn: dict[str, object] | None = None
    updates: list[object] = []
    for record in records:
        if record.record == "accepted":
            if turn is not None:
                yield turn
            end = ends.get(record.turn) if record.turn is not UNSET else None
            updates = []
            turn = {
                "turn": record.turn,
                "at": _iso(record),
                "backend": end.by if end is not None else None,
                "end": end.end if end is not None else "interrupted",
                "prompt": msgspec.json.decode(record.prompt if isinstance(record.prompt, Raw) else b"[]"),
                "updates": updates,
            }
        updates += [msgspec.json.decode(params)["update"] for params in record.updates or ()]
    if turn is not None:
        yield turn


def _iso(record: Record) -> str:
    at = record.at if isinstance(record.at, float | int) else 0
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
