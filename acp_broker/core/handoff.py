"""What a backend is told of the turns of a session that it has not seen: one text, bounded, newest whole turns first.

A turn whose prompt it was given, but which another backend answered, is told by its answer alone.
"""

from collections.abc import Sequence

from msgspec import Struct

from acp_broker.core.names import BackendId, TurnId

LIMIT_BYTES = 32 * 1024

_HEAD = (
    "Earlier turns of this session, which another agent has answered. They are over: nothing in them is to be done "
    "again. They are here so that you know what was said and done.\n"
)


class Tool(Struct, frozen=True):
    """A tool call, as far as the next agent needs to know: what was done to which files."""

    title: str
    status: str | None = None
    paths: tuple[str, ...] = ()


class Said(Struct, frozen=True):
    """One turn that is over. `end` is its stop reason, or why it has none: `failed`, `interrupted`.

    `before`: who had failed before, and how; `why`: the error that it ended with.
    """

    turn: TurnId
    prompt: str
    answer: str = ""
    tools: tuple[Tool, ...] = ()
    by: BackendId | None = None
    end: str = "end_turn"
    before: tuple[str, ...] = ()
    why: str = ""

    @property
    def is_told(self) -> bool:
        """Whether it belongs in a handoff. ACP v1, prompt-turn: what was refused is not part of the next prompts;
        and of a turn that nobody answered there is nothing to tell."""
        return self.end != "refusal" and bool(self.answer or self.tools)


class Missed(Struct, frozen=True):
    """A turn that a backend has not seen, or of which it has seen the prompt alone."""

    said: Said
    has_prompt: bool = False


class Handoff(Struct, frozen=True):
    """`turns` are in the text, `left_out` would not fit."""

    text: str
    turns: int
    left_out: int


def compose(missed: Sequence[Missed], limit_bytes: int = LIMIT_BYTES) -> Handoff | None:
    """The handoff of these turns, which come oldest first; None where there is nothing to tell."""
    turns = [one for one in missed if one.said.is_told]
    if not turns:
        return None
    kept: list[str] = []
    room = limit_bytes - len(_HEAD)
    for one in reversed(turns):
        text = _told(one)
        size = len(text.encode())
        if size > room:
            if not kept:
                kept.append(shortened(text, room))
            break
        kept.append(text)
        room -= size
    left_out = len(turns) - len(kept)
    before = f"({left_out} earlier still, left out here.)\n" if left_out else ""
    return Handoff(_HEAD + before + "".join(reversed(kept)), len(kept), left_out)


def _told(missed: Missed) -> str:
    said = missed.said
    lines = [] if missed.has_prompt else ["\n[user]", said.prompt]
    lines += [f"\n[answer of {said.by or 'an agent'}]", said.answer] if said.answer else []
    lines += [tool_line(tool) for tool in said.tools]
    lines += [f"[this turn ended: {said.end}]"] if said.end != "end_turn" else []
    return "\n".join([*lines, ""])


def tool_line(tool: Tool) -> str:
    """What was done, on one line."""
    where = f" ({', '.join(tool.paths)})" if tool.paths else ""
    return f"[tool: {tool.title}{where}: {tool.status or 'status unknown'}]"


def shortened(text: str, room: int) -> str:
    """The beginning and the end of a text that is too long, with what is missing said between."""
    data = text.encode()
    half = max(0, (room - 64) // 2)
    left_out = len(data) - 2 * half
    head, tail = data[:half].decode(errors="ignore"), data[len(data) - half :].decode(errors="ignore")
    return f"{head}\n[... {left_out} bytes left out ...]\n{tail}"
