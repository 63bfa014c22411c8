"""A session's past turns, for a backend that remembers nothing by itself: bounded, newest whole turns first."""

from collections.abc import Iterable

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import force_setattr, replace

from acp_broker.core.handoff import Said, shortened, tool_line

# Some 60,000 tokens of text: room for a long conversation in the models of today.
LIMIT_BYTES = 256 * 1024
# What an answer is not cut below: less of it would tell nothing.
_LEAST_ANSWER = 1024


class Exchange(Struct, frozen=True):
    """One turn that is over: its prompt's content blocks as they were sent, and what was made of it."""

    prompt: Raw
    said: Said

    # All that the model is told it said: the words, and what was done by tools, a line each. Follows from `said`.
    answer: str = ""
    # Of the prompt and the answer, in bytes. Follows from them: every turn to come asks for it.
    size: int = 0

    def __post_init__(self) -> None:
        answer = "\n".join(filter(None, [self.said.answer, *map(tool_line, self.said.tools)]))
        force_setattr(self, "answer", answer)
        force_setattr(self, "size", len(self.prompt) + len(answer.encode()))


def newest(past: Iterable[Exchange], limit_bytes: int = LIMIT_BYTES) -> tuple[Exchange, ...]:
    """The newest whole turns that fit, oldest first.

    A prompt whose attachments are too large is told by its text. Where not even the newest turn fits so, its texts
    are cut in the middle. Turns that say nothing, or were refused, are left out.
    """
    kept: list[Exchange] = []
    room = limit_bytes
    for one in reversed([one for one in past if one.said.is_told]):
        fitting = one if one.size <= room else in_words(one)
        if fitting.size > room:
            if not kept and limit_bytes:
                kept.append(_cut(one, room))
            break
        kept.append(fitting)
        room -= fitting.size
    return tuple(reversed(kept))


def in_words(one: Exchange) -> Exchange:
    """With the attachments of its prompt told by their names."""
    return Exchange(_text_block(one.said.prompt), one.said)


def _cut(one: Exchange, room: int) -> Exchange:
    half = max(room // 2, _LEAST_ANSWER)
    prompt, answer = (
        text if len(text.encode()) <= half else shortened(text, half) for text in (one.said.prompt, one.answer)
    )
    return Exchange(_text_block(prompt), replace(one.said, prompt=prompt, answer=answer, tools=()))


def _text_block(text: str) -> Raw:
    return Raw(msgspec.json.encode([{"type": "text", "text": text}]))
