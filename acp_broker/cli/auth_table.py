"""`acp-broker auth status` for a person: a table of the profiles, and below it what is wrong with each, and the fix."""

from collections.abc import Iterator

from rich.console import Group
from rich.table import Table
from rich.text import Text

from acp_broker.app.auth_status import AuthStatus, Credential, ProfileStatus
from acp_broker.cli.profile_login import when
from acp_broker.cli.terminal import plain

_COLOURS = {"ok": "green", "unknown": "", "missing": "red", "expired": "red", "refused": "red"}


def told(found: AuthStatus, now: float) -> Group:
    """The profiles in the order of config.json."""
    if not found.profiles:
        return Group(Text(f"{found.config} has no profiles: each agent has its own login"))
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for column in ("profile", "type", "used by", "state", "from", "expires", "renewed"):
        table.add_column(column, header_style="dim", overflow="fold", no_wrap=column in ("profile", "type", "state"))
    for profile in found.profiles:
        for row in _rows(profile, now):
            table.add_row(*row)
    return Group(table, *_notes(found))


def _rows(profile: ProfileStatus, now: float) -> Iterator[tuple[Text, ...]]:
    for index, one in enumerate(profile.credentials):
        first = (profile.id, profile.type, ", ".join(profile.backends) or "nobody") if index == 0 else ("", "", "")
        source = one.source if profile.account is None else f"{profile.account}, {one.source}"
        yield (
            *(Text(plain(cell)) for cell in first),
            Text(one.state, _COLOURS[one.state]),
            Text(plain(source)),
            Text("" if profile.expires_at is None else when(profile.expires_at, now)),
            Text("" if profile.refreshed_at is None else when(profile.refreshed_at, now)),
        )


def _notes(found: AuthStatus) -> Iterator[Text]:
    notes = [note for profile in found.profiles for note in _of(profile)]
    notes += [Text(plain(f"warning: {one.path}: {one.finding}"), "yellow") for one in found.warnings]
    if notes:
        yield Text()
    yield from notes


def _of(profile: ProfileStatus) -> Iterator[Text]:
    for one in profile.credentials:
        if one.why is not None and one.state != "unknown":
            yield Text(plain(f"{profile.id}: {one.why}{_fix(one)}"), "red")
        if one.rest is not None:
            rests = f"{profile.id}: rests for {one.rest.left_s:.0f} s more, {one.source}: {one.rest.why}"
            yield Text(plain(rests), "yellow")
    if profile.owner is not None:
        yield Text(plain(f"{profile.id}: is being renewed by {profile.owner.text}"), "yellow")
    if profile.is_renewed is False:
        yield Text(plain(f"{profile.id}: cannot be renewed, its server gave no refresh token"), "yellow")


def _fix(one: Credential) -> str:
    return f": {one.fix}" if one.fix is not None and one.fix not in (one.why or "") else ""
