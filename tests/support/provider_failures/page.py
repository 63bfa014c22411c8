"""The generated part of docs/provider-failures.md: what the code takes each case for, and what follows from that.

`python -m tests.support.provider_failures.page` writes it anew.
"""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from acp_broker.core import health
from acp_broker.core.failures import NO_CONNECTION, Failure, FailureKind, Spends, spends
from acp_broker.core.health import Health, Key, Profile
from acp_broker.core.names import BackendId, ProfileId
from acp_broker.core.until import left
from tests.support.provider_failures import PROVIDERS, Provider
from tests.support.provider_failures.nobody import NOBODY, found, no_connection
from tests.support.provider_failures.running import Seen, seen

PAGE = Path(__file__).parents[3] / "docs" / "provider-failures.md"
BEGIN, END = "<!-- generated: begin -->\n", "<!-- generated: end -->\n"
_HEAD = ("what happens", "kind", "spends", "rests", "the user sees")
# The second credential of a profile: a scope tells whether it is of that one or of all.
_KEY = Key(BackendId("b"), ProfileId("p"), "m", 1)


class _Row(NamedTuple):
    kind: str
    spends: str
    rests: str
    sees: str


def written(page: str) -> str:
    """The page with its generated part as the code has it now."""
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    middle = "\n".join([*map(_section, PROVIDERS), _nobody()])
    return f"{before}{BEGIN}\n{middle}\n{END}{after}"


def _section(provider: Provider) -> str:
    rows = [(case.what, _row(seen()[provider.name, case.what])) for case in provider.cases]
    lines: list[Sequence[str]] = [_HEAD, ["---"] * len(_HEAD)]
    for row, cases in groupby(rows, key=lambda one: one[1]):
        lines.append(("; ".join(what for what, _ in cases), *row))
    return "\n\n".join(filter(None, [f"## {provider.name}", provider.note, _table(lines)])) + "\n"


def _nobody() -> str:
    """With the sentence: the provider has none of its own."""
    failures = [(what, found(error, is_proxied=is_proxied)) for what, error, is_proxied in NOBODY]
    failures.append(("no answer to a connection (`connectMs`)", no_connection()))
    lines: list[Sequence[str]] = [(*_HEAD, "and is told, where nobody follows"), ["---"] * (len(_HEAD) + 1)]
    lines += [(what, *_row(Seen(failure, "")), failure.text) for what, failure in failures]
    return f"## Nobody there\n\n{_table(lines)}\n"


def _table(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _row(one: Seen) -> _Row:
    if isinstance(one.of, str):
        return _Row("no failure", "", "", f"the answer, stop reason `{one.of}`")
    used = "all at that address" if one.of.code == NO_CONNECTION else spends(one.of.kind).value
    return _Row(f"`{one.of.kind.value}`", used, _rests(one.of), _sees(one.of, one.words))


def _sees(failure: Failure, words: str) -> str:
    if words:
        return "the words so far, then error -33002"
    if failure.kind is FailureKind.CONTEXT_OVERFLOW:
        return "the answer of a backend with a larger window, else an error"
    return "an error" if spends(failure.kind) is Spends.TURN else "the next backend's answer"


def _rests(failure: Failure) -> str:
    first = health.after_failure(Health(), _KEY, failure, 0.0, 0.0)
    if not first.records:
        return "nobody"
    record = first.records[0]
    if record.rest is None:
        return "the model, at the second in a row"
    if failure.code == NO_CONNECTION:
        return f"all at that address: {_length(left(record.rest, 0.0, 0.0))}"
    match record.scope:
        case Key(credential=0):
            who = "the model"
        case Key():
            who = "the model, with this key"
        case Profile():
            who = "the account"
        case other:
            raise AssertionError(other)
    asked = ", as asked" if failure.retry_after_s is not None else ""
    return f"{who}: {_length(left(record.rest, 0.0, 0.0))}{asked}"


def _length(seconds: float) -> str:
    return f"{seconds / 3600:g} h" if seconds >= 7200 else f"{seconds:g} s"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
