"""What a person could do better, one sentence each: from what was found, in the order of what it costs them."""

from collections.abc import Iterator, Sequence
from pathlib import PurePath

from acp_broker.app.checkup.modes import POSTURES
from acp_broker.app.checkup.report import About, Report
from acp_broker.app.references import shown, wanted_by
from acp_broker.config import Config, KeyringSecret
from acp_broker.wire.jsonrpc import encode
from backends.acp import AcpConfig

# A turn that waits so long for an agent which tries again by itself is late, and not lost.
_BEARABLE_MS = 10_000
# Longer than most agents take to their first word.
_BOUND_MS = 30_000
_FETCHERS = ("npx", "bunx", "pnpx", "uvx")
_UNASKED = {
    "reads": "only reads",
    "asks": "asks first",
    "edits": "edits files unasked",
    "acts": "does anything unasked",
}


def advice(config: Config, report: Report, primary: Report, about: About) -> Iterator[str]:
    """All that there is to say of one backend."""
    for one in report.login.failed:
        yield f"{one.credential} fails ({one.failure}: {one.why}), and the next one is used"
    has_key = config.backends[report.id].takes_credential
    yield from _key(config, report, about) if has_key or not about.is_agent else _login(report)
    yield from _retries(report, about)
    if report.role == "fallback":
        yield from _modes(report, primary, about)
        yield from _posture(report, primary)
    yield from _shares(config, report)
    yield from _folder(config, report)
    yield from _command(config, report, about)


def _login(report: Report) -> Iterator[str]:
    ways = [" or ".join(report.login.commands), report.login.hint]
    how = ", or ".join(way for way in ways if way) or "with the agent's own command"
    if report.login.state == "required":
        yield f"log in: {how}"
    elif report.login.state == "unseen" and report.turn is not None:
        yield f"no login of it was seen: {how}"
    elif report.login.state == "unseen":
        yield f"`acp-broker check --turn` finds out whether it is logged in; if not: {how}"


def _key(config: Config, report: Report, about: About) -> Iterator[str]:
    """Of one that asks its provider itself."""
    wanted, profile = wanted_by(config, report.id), config.backends[report.id].auth
    is_kept = any(isinstance(one, KeyringSecret) for one in wanted)
    # A keyring that is locked, say, has what is missing.
    is_out_of_reach = is_kept and report.failure == "auth_missing" and "no entry" not in (report.why or "")
    if report.login.state != "required" or profile is None or (about.fix and not wanted):
        pass
    elif is_out_of_reach or not wanted:
        yield f"acp-broker auth status says what is wrong with {profile}"
    elif is_kept:
        yield f"acp-broker auth set {profile}"
    else:
        place = _and([shown(config, one) for one in wanted])
        # An agent that takes a key of ours is one on another machine.
        there = f"put the token that it takes into {place}; another ACP Broker tells it by `acp-broker token show`"
        yield there if about.is_agent else f"put a key that its provider takes into {place}"
    if about.fix:
        yield about.fix


def _retries(report: Report, about: About) -> Iterator[str]:
    wanted = about.row.env if about.row is not None else {}
    for name, value in report.retries.environment.items():
        if value != wanted.get(name):
            yield f"{name} is {value} in its environment: unset it, and acp-broker sets {wanted.get(name)}"
    if about.is_late:
        known = f'"agent": "{about.agent}"'
        yield f"only its own word told who it is, too late for its variables; say {known} in backends.{report.id}"
    for edit in report.retries.edits:
        now = f" (now {edit.now})" if edit.now is not None else ""
        yield f"in {edit.file} set {edit.key} to {edit.value}{now}: {edit.why}"
    lasts_ms = report.retries.lasts_ms or 0
    if about.is_followed and not wanted and not report.retries.edits and lasts_ms > _BEARABLE_MS:
        bound = f'"limits": {{"firstOutputMs": {_BOUND_MS}}} in backends.{report.id} bounds it'
        yield f"it asks a failing provider for {lasts_ms // 1000} s, and nothing is known that turns that off; {bound}"


def _modes(report: Report, primary: Report, about: About) -> Iterator[str]:
    for mode in report.modes.unknown:
        yield f"`modes` maps to {mode}, which it does not offer; it offers {_listed(report.modes.available)}"
    if not report.modes.unmapped or not report.can_answer:
        return
    # What only talks stays within the boundary of any mode.
    like = {mode: _like(report, primary, mode) if about.is_agent else mode for mode in report.modes.unmapped}
    known = {mode: own for mode, own in like.items() if own is not None}
    passed_over = f"it is passed over while {primary.id} is in {_listed(report.modes.unmapped)}"
    if known:
        yield f'{passed_over}; in backends.{report.id} write "modes": {bytes(encode(known)).decode()}'
    elif all(mode in report.modes.postures for mode in report.modes.available):
        yield f"{passed_over}; none of its own modes draws the same line"
    else:
        yield f"{passed_over}; map what draws the same line under `modes` of backends.{report.id}"


def _like(report: Report, primary: Report, mode: str) -> str | None:
    """Its own mode that lets it do as much unasked, if that is known of both."""
    wanted = primary.modes.postures.get(mode)
    if mode in report.modes.available and report.modes.postures.get(mode) == wanted:
        return mode
    return next((own for own, posture in report.modes.postures.items() if posture == wanted), None)


def _posture(report: Report, primary: Report) -> Iterator[str]:
    mine, theirs = report.modes.posture, primary.modes.posture
    if report.session_ms is None or primary.session_ms is None:  # nobody knows which mode it would be in
        return
    if mine is not None and theirs is not None and POSTURES.index(mine) > POSTURES.index(theirs):
        yield f"it {_UNASKED[mine]}, where {primary.id} {_UNASKED[theirs]}: a failover lets it do more than you allowed"


def _shares(config: Config, report: Report) -> Iterator[str]:
    """Said once, at the later one of the two."""
    order = (config.acp.backend, *config.acp.fallbacks)
    before = order[: order.index(report.id)]
    alike: dict[str, list[str]] = {}
    for share in report.shares:
        if share.backend in before:
            alike.setdefault(_and(share.what), []).append(share.backend)
    for what, others in alike.items():
        if what == "everything":
            yield f"it is {_and(others)} under another name: no turn that has asked the one asks the other"
            continue
        yield f"it has the {what} of {_and(others)}: what stops one stops the other"


def _folder(config: Config, report: Report) -> Iterator[str]:
    settings = config.backends[report.id]
    if report.session_ms is not None and isinstance(settings, AcpConfig) and settings.url and settings.cwd is None:
        yield (
            "it was opened in /; a session of yours opens in its own folder by the path that it has here, "
            f"so where that is not there too, write `cwd` in backends.{report.id}"
        )


def _command(config: Config, report: Report, about: About) -> Iterator[str]:
    is_here = getattr(config.backends[report.id], "url", None) is None
    if report.kind == "acp" and is_here and report.agent is None and report.start_ms is not None:
        yield "nobody has described this agent: the general rules hold for what it says and how it fails"
    command: tuple[str, ...] = getattr(config.backends[report.id], "command", None) or ()
    if command and PurePath(command[0]).name in _FETCHERS:
        install = about.row.install if about.row is not None else ""
        other = f"; {install}" if install else ""
        yield f"{command[0]} looks for it anew at each start, on the network where it must{other}"


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "none"


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
