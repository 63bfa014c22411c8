"""Regular expressions in config.json: one that is none is told with its place, and so is one that may never end."""

import re
from typing import Annotated

from msgspec import Meta

# A repeat without an end, or with one that is far off.
_ENDLESS = re.compile(r"[*+]|\{\d*,(?:\d{2,})?\}")


def pattern_problem(pattern: str) -> str | None:
    """Why it cannot be used as a regular expression, and what to write; None for one that can."""
    try:
        re.compile(pattern)
    except re.error as error:
        return f'is no regular expression: {error}; in JSON a backslash is written twice, and "\\\\(" means "("'
    if may_never_end(pattern):
        return "repeats a group that holds a repeat or an alternative, which may take for ever: repeat one thing"
    return None


def may_never_end(pattern: str) -> bool:
    """Whether it repeats a group in which there is a repeat or an alternative, as in `(a+)+`: the time such a one takes
    may double with each character. Some that are harmless are among them."""
    # For each open group: whether it holds such a thing.
    groups, at = [False], 0
    while at < len(pattern):
        match pattern[at]:
            case "\\":
                at += 1
            case "[":
                at = _class_end(pattern, at)
            case "(":
                groups.append(False)
            case ")" if len(groups) > 1:
                holds = groups.pop()
                if holds and _ENDLESS.match(pattern, at + 1):
                    return True
                groups[-1] = groups[-1] or holds
            case "|":
                groups[-1] = True
            case "*" | "+" | "{" if _ENDLESS.match(pattern, at):
                groups[-1] = True
        at += 1
    return False


def _class_end(pattern: str, at: int) -> int:
    """Where the class ends that begins there; a bracket that is its first character stands for itself."""
    at += 2 if pattern[at + 1 : at + 2] == "^" else 1
    at += pattern[at : at + 1] == "]"
    while at < len(pattern) and pattern[at] != "]":
        at += 2 if pattern[at] == "\\" else 1
    return at


RegExp = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=500,
        description="A regular expression (Python's re).",
        extra={"expected": "a regular expression, 1 to 500 characters", "check": pattern_problem},
    ),
]
