"""`acp-broker check`: really start every backend of the chain, and say how each of them is.

Exit status: 0 all of them can answer; 1 one of them cannot; 2 config.json cannot be used; 128 + N ended by signal N.
"""

import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import anyio
import msgspec
from anyio import CancelScope
from rich.console import Console, Group
from rich.text import Text

from acp_broker.app import kinds
from acp_broker.app.checkup.chain import checked
from acp_broker.app.checkup.modes import Modes
from acp_broker.app.checkup.report import Capabilities, Checked, Report
from acp_broker.app.checkup.turn import PROMPT
from acp_broker.app.user_files import shown
from acp_broker.cli.facts import Fact, facts, mark
from acp_broker.cli.terminal import plain, table_console
from acp_broker.config import Config, load
from acp_broker.core.names import BackendId
from acp_broker.edge.signals import caught
from acp_broker.errors import BrokerError

CANNOT, UNUSABLE = 1, 2
_ERR = Console(stderr=True, emoji=False, highlight=False, markup=False)
_LONGEST_ANSWER = 200


def run(path: Path | None, environ: Mapping[str, str], *, takes_turn: bool, as_json: bool) -> int:
    """A block for each backend, or all of it as JSON, on stdout."""
    try:
        config = load(kinds(), path=path, environ=environ)
        found = anyio.run(_look, config, environ, takes_turn)
    except BrokerError as error:
        print(f"acp-broker: {error}", file=sys.stderr)
        return UNUSABLE
    if isinstance(found, signal.Signals):
        return 128 + found
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        console = table_console()
        console.print(told(found, environ, console), soft_wrap=True)
    return 0 if found.ok else CANNOT


async def _look(config: Config, environ: Mapping[str, str], takes_turn: bool) -> Checked | signal.Signals:  # noqa: FBT001
    """What was found, or the signal that ended it: then everything that was started has ended, too."""
    told: list[signal.Signals] = []
    waiting = _Waiting(config, takes_turn=takes_turn)
    with CancelScope() as scope:

        def leave(number: signal.Signals) -> None:
            told.append(number)
            scope.cancel()

        # To the very end: a second signal must not keep us from ending the agents.
        with caught(leave, signal.SIGTERM, signal.SIGINT, signal.SIGHUP), waiting:
            return await checked(config, environ, takes_turn=takes_turn, done=waiting.done)
    return told[0]


class _Waiting(ExitStack):
    """On a terminal, one line that says who is still waited for."""

    def __init__(self, config: Config, *, takes_turn: bool) -> None:
        super().__init__()
        self._names = [config.acp.backend, *config.acp.fallbacks]
        self._does = "asking" if takes_turn else "starting"
        self._line = _ERR.status(self._text()) if _ERR.is_terminal else None
        if self._line is not None:
            self.enter_context(self._line)

    def done(self, name: BackendId) -> None:
        self._names.remove(name)
        if self._line is not None and self._names:
            self._line.update(self._text())

    def _text(self) -> Text:
        return Text(f"{self._does} {', '.join(self._names)} ...", "dim")


def told(found: Checked, environ: Mapping[str, str], console: Console) -> Group:
    """All of it, for a person at this console."""
    parts: list[Text | Group] = []
    for report in found.backends:
        advice = (("advice", Text(plain(one), "yellow")) for one in report.advice)
        parts += [_head(report, console), facts([*_rows(report, environ), *advice], console), Text()]
    parts += [Text(plain(f"warning: {warning.path}: {warning.finding}"), "yellow") for warning in found.warnings]
    return Group(*parts, *([Text()] if found.warnings else []), _sum(found))


def _head(report: Report, console: Console) -> Text:
    text = mark(console, is_good=report.can_answer).append(report.id, "bold").append(f"  {report.role}", "dim")
    # A provider has no version: what stands there is our own.
    said = " ".join(filter(None, (report.name, report.version if report.is_agent else None)))
    return text.append(plain(f"  {said}"), "cyan") if said else text


def _rows(report: Report, environ: Mapping[str, str]) -> Iterator[Fact]:
    if report.why is not None:
        yield "fails", Text(plain(f"{report.failure}: {report.why}"), "red")
    if report.program is not None:
        yield "found", shown(Path(report.program), environ)
    if report.agent is not None:
        yield "known as", report.agent
    if report.start_ms is not None and report.is_agent:
        session = f", a session in {_seconds(report.session_ms)}" if report.session_ms is not None else ""
        yield "starts in", f"{_seconds(report.start_ms)}{session}"
    yield from _login(report) if report.is_agent else _key(report)
    if report.provider is not None and report.provider.requests:
        yield "asked", f"{', '.join(report.provider.requests)}; no tokens"
    if report.provider is not None and report.provider.says:
        yield "it says", report.provider.says
    if report.capabilities is not None:
        yield "can", _capabilities(report.capabilities) if report.is_agent else _talk(report.capabilities)
    if report.modes.available or (report.modes.posture and report.session_ms is not None):
        yield "modes", _modes(report.modes)
    yield from _retries(report)
    if report.start_ms is not None or report.shares:
        common = (f"{' and '.join(share.what)} with {share.backend}" for share in report.shares)
        yield "shares", ", ".join(common) or "nothing, as far as is known"
    if report.turn is not None and report.turn.ok:
        words = " ".join(report.turn.words.split())[:_LONGEST_ANSWER]
        first = f"first word in {_seconds(report.turn.first_ms)}, " if report.turn.first_ms is not None else ""
        yield "answers", f'"{words}" to "{PROMPT}"; {first}all in {_seconds(report.turn.ms)}'


def _login(report: Report) -> Iterator[Fact]:
    seen = ", ".join(report.login.seen)
    if report.login.state == "required":
        yield "logged in", Text("no" + (f", though there is {plain(seen)}" if seen else ""), "red")
    elif report.login.state == "ok":
        otherwise = "it answers" if report.turn is not None and report.turn.ok else "it opens a session"
        yield "logged in", f"yes ({seen})" if seen else otherwise
    elif report.login.state == "unseen":
        yield "logged in", Text("it opens a session, but no login of it was seen", "yellow")


def _key(report: Report) -> Iterator[Fact]:
    if report.login.state == "required":
        yield "key", Text("missing, or refused", "red")
    elif report.login.state == "ok":
        yield "key", ", ".join(report.login.seen)


def _retries(report: Report) -> Iterator[Fact]:
    retries = report.retries
    if retries.state == "unknown":
        return
    by = ", ".join(f"{name}={value}" for name, value in retries.environment.items())
    lasting = f", for {retries.lasts_ms / 1000:g} s" if retries.state == "on" and retries.lasts_ms else ""
    text = f"its own are {retries.state}{lasting}" + (f" ({by})" if by else "")
    yield "retries", Text(plain(text), "" if report.retries.state == "off" else "yellow")


def _capabilities(can: Capabilities) -> str:
    keeps = [("load", can.load_session), ("resume", can.resume_session)]
    reaches = [("http", can.mcp_http), ("sse", can.mcp_sse)]
    parts = [_takes(can)]
    parts.append(f"sessions: {_having(keeps) or 'new ones alone'}")
    return "; ".join([*parts, f"MCP: stdio{', ' if _having(reaches) else ''}{_having(reaches)}"])


def _talk(can: Capabilities) -> str:
    return f"talk and think; {_takes(can)}; no tools, no files, no MCP"


def _takes(can: Capabilities) -> str:
    takes = [("images", can.image), ("audio", can.audio), ("embedded files", can.embedded_context)]
    return "takes text, " + _having(takes) if _having(takes) else "takes text alone"


def _having(those: list[tuple[str, bool]]) -> str:
    return ", ".join(name for name, has in those if has)


def _modes(modes: Modes) -> str:
    """Each with what it lets the agent do unasked, as far as that is known; the one that it opens in comes first."""
    order = sorted(modes.available, key=lambda mode: mode != modes.current)
    told = [f"{mode} ({modes.postures[mode]})" if mode in modes.postures else mode for mode in order]
    if told and modes.current is not None:
        told[0] = f"opens in {told[0]}"
    return ", ".join(told) or f"none to choose from ({modes.posture})"


def _sum(found: Checked) -> Text:
    broken = [one.id for one in found.backends if not one.can_answer]
    if not broken:
        return Text(f"{found.config}: all {len(found.backends)} can answer", "bold green")
    if len(broken) == len(found.backends):
        return Text(f"{found.config}: nobody can answer", "bold red")
    able = next(one.id for one in found.backends if one.can_answer)
    style = "bold red" if found.backends[0].id in broken else "bold yellow"
    return Text(f"{found.config}: {', '.join(broken)} cannot answer; turns begin with {able}", style)


def _seconds(ms: int | None) -> str:
    return f"{(ms or 0) / 1000:.2f} s"
