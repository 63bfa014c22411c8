"""What agents were told of a session: by the files in which all that they were sent is kept, one for each process."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support.chaos.story import Prompt, bare

_PART = re.compile(r"\n\[(user|answer of [\w-]+)\]\n")
_END = re.compile(r"\n\[this turn ended: \w+\]\n")


class Told(NamedTuple):
    """A prompt that a process was given, and what it was handed with it: `user` and `answer` texts, without blanks."""

    prompt: str
    handed: list[tuple[str, str]]


def wrong(folder: Path, name: str, prompt: Prompt, past: Sequence[Prompt]) -> Iterator[object]:
    """Every process of this agent that was told of the past of `prompt` more, less or other than it had missed."""
    for file in folder.glob(f"heard-{name}.*"):
        told = list(_told(file))
        if told and told[-1].prompt == prompt.text:
            expected = _missed(name, told[:-1], past)
            if expected != told[-1].handed:
                yield file.name, told[-1].handed, expected


def _missed(name: str, told: Sequence[Told], past: Sequence[Prompt]) -> list[tuple[str, str]]:
    """All that this process has neither said nor been handed in a turn of its own; of what it was asked, the answer.

    Of a turn that failed nobody knows what it has kept; one that it has ended as cancelled is its own.
    """
    asked = {one.prompt for one in told}
    own = {one.text for one in past if one.told.get("backend") == name and isinstance(one.end, str)}
    handed = {text for one in told if one.prompt in own for _, text in one.handed}
    parts = []
    for one in past:
        text, words = bare(one.text), bare(one.words)
        if not words or words in handed or one.text in own & asked:
            continue
        parts += [] if one.text in asked else [("user", text)]
        parts.append(("answer", words))
    return parts


def _told(file: Path) -> Iterator[Told]:
    for line in file.read_bytes().splitlines(keepends=True):
        message = json.loads(line) if line.endswith(b"\n") else {}
        if message.get("method") == "session/prompt":
            blocks = message["params"]["prompt"]
        elif message.get("type") == "user":
            blocks = message["message"]["content"]
        else:
            continue
        *before, prompt = (block.get("resource", block)["text"] for block in blocks)
        yield Told(prompt, _parts(_END.sub("\n", "".join(before))))


def _parts(text: str) -> list[tuple[str, str]]:
    _, *parts = _PART.split(text)
    texts = (bare(one.removesuffix("</resource>").rstrip()) for one in parts[1::2])
    return [(kind.partition(" ")[0], text) for kind, text in zip(parts[::2], texts, strict=True)]
