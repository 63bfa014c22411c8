"""The generated part of docs/agents.md: the known agents, as rows.json has them.

`python -m tests.support.agents_page` writes it anew.
"""

from collections.abc import Callable
from pathlib import Path

from backends.acp import rows
from backends.acp.row import Row

PAGE = Path(__file__).parents[2] / "docs" / "agents.md"
BEGIN, END = "<!-- generated: begin -->\n", "<!-- generated: end -->\n"

_POSTURES = {
    None: "",
    "reads": "only reads",
    "asks": "asks before it changes anything",
    "edits": "edits files unasked",
    "acts": "acts unasked",
}
_LEAVES = {"eof": "when its input is closed", "term": "at SIGTERM", "kill": "only when it is killed"}
_CANCELS = {"obeys": "at once", "not_while_waiting": "not while its provider is silent"}

Column = tuple[str, Callable[[str, Row], str]]
_START: tuple[Column, ...] = (
    ("`agent`", lambda name, _: f"`{name}`"),
    ("is", lambda _, row: row.title),
    ("install", lambda _, row: f"`{row.install}`"),
    ("`command`", lambda _, row: "`[" + ", ".join(f'"{word}"' for word in row.command) + "]`"),
    ("login", lambda _, row: row.login.hint if row.login else ""),
    ("at first", lambda _, row: _POSTURES[row.posture]),
)
_BEHAVIOUR: tuple[Column, ...] = (
    ("`agent`", lambda name, _: f"`{name}`"),
    ("measured", lambda _, row: f"{row.measured}, {row.as_of}"),
    ("retries for", lambda _, row: "" if row.retries_ms is None else f"{row.retries_ms // 1000} s"),
    ("is given, while another backend follows", lambda _, row: _listed(f"`{k}={v}`" for k, v in row.env.items())),
    ("hears a cancel", lambda _, row: _CANCELS[row.cancels]),
    ("leaves", lambda _, row: _LEAVES[row.leaves]),
    ("limits of its own", lambda _, row: _limits(row)),
)


def written(page: str) -> str:
    """The page with its generated part as the rows say it now."""
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    parts = [
        "## Starting them",
        _table(_START),
        "## How they behave",
        _table(_BEHAVIOUR),
        "## Worth changing in your own files",
        _settings(),
        "## What their modes let them do",
        _modes(),
    ]
    middle = "\n\n".join(parts)
    return f"{before}{BEGIN}\n{middle}\n\n{END}{after}"


def _table(columns: tuple[Column, ...]) -> str:
    return _grid([title for title, _ in columns], [[of(*one) for _, of in columns] for one in rows.known().items()])


def _settings() -> str:
    lines = [
        [f"`{name}`", f"`{setting.file}`", f"`{setting.key}`", f"`{setting.value}`", setting.why]
        for name, row in rows.known().items()
        for setting in row.settings
    ]
    return _grid(["`agent`", "file", "key", "value", "because otherwise"], lines)


def _modes() -> str:
    postures = ("reads", "asks", "edits", "acts")
    lines = [
        [f"`{name}`", *(_listed(f"`{mode}`" for mode, means in row.modes.items() if means == one) for one in postures)]
        for name, row in rows.known().items()
        if row.modes
    ]
    return _grid(["`agent`", *(_POSTURES[one] for one in postures)], lines)


def _limits(row: Row) -> str:
    limits = row.limits
    if limits is None:
        return ""
    said = {field: getattr(limits, field) for field in limits.__struct_fields__}
    names = dict(zip(limits.__struct_fields__, limits.__struct_encode_fields__, strict=True))
    return _listed(f"`{names[field]}` {ms}" for field, ms in said.items() if ms is not None)


def _listed(items: object) -> str:
    return ", ".join(items)  # type: ignore[arg-type]


def _grid(head: list[str], lines: list[list[str]]) -> str:
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *escaped])


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
