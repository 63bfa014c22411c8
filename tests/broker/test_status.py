"""The snapshot of a running broker: who answers, who rests, what runs, and for whom."""

from pathlib import Path

import msgspec
import pytest

from acp_broker.broker import status
from tests.support.disk import Disk
from tests.support.harness import house

pytestmark = pytest.mark.anyio

STALLS = {"turns": [[{"do": "say", "text": "so far"}, {"do": "stall"}]]}


def plain(home) -> dict:
    return msgspec.to_builtins(status.snapshot(home.broker))


async def test_an_idle_broker_knows_its_chain(tmp_path: Path):
    """In the order in which they are asked."""
    async with house(tmp_path, primary={}, spare={}) as home:
        seen = plain(home)

    one = {"kind": "scripted", "health": "ready", "why": None, "until": None, "profile": None, "model": None}
    backends = [{"id": name, **one, "sessions": 0} for name in ("primary", "spare")]
    assert {"backends": backends, "sessions": [], "turns": [], "clients": [], "processes": []} == {
        name: list(value) for name, value in seen.items()
    }


async def test_a_session_is_shown_with_whom_it_works_for(tmp_path: Path):
    """And with what it has open."""
    async with house(tmp_path, primary={}, spare={}) as home:
        editor = await home.editor()
        session = await editor.new()
        (seen,) = plain(home)["sessions"]

    assert {
        "id": session,
        "cwd": str(tmp_path),
        "selected": "primary",
        "client": "editor",
        "queued": 0,
        "open": ("primary",),
        "isClosed": False,
        "attendedBy": 1,
        "fault": None,
    } == seen


async def test_a_log_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whoever frees the disk wants to know whose words are at stake."""
    disk = Disk(monkeypatch)
    async with house(tmp_path, is_whole=False, primary=STALLS) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session)
        disk.room = 0
        editor.cancel(session)
        await home.clock.advance(0)
        (seen,) = plain(home)["sessions"]
        disk.room = None

    assert seen["fault"].endswith("No space left on device")


async def test_a_running_turn_is_shown_with_who_is_asked(tmp_path: Path):
    """And how long it runs."""
    async with house(tmp_path, primary=STALLS) as home:
        editor = await home.editor()
        session = await editor.new()
        turn = await editor.prompt(session)
        await home.clock.advance(5)
        (seen,) = plain(home)["turns"]
        number = seen.pop("id")
        editor.cancel(session)

    expected = {"session": session, "client": "editor", "backend": "primary", "attempt": 1}
    assert {**expected, "state": "committed", "seconds": 5.0} == seen
    assert number.startswith("t-")
    assert turn is not None


async def test_prompts_that_wait_are_counted(tmp_path: Path):
    """The running one is not one of them."""
    async with house(tmp_path, primary=STALLS) as home:
        editor = await home.editor()
        session = await editor.new()
        for _ in range(3):
            await editor.prompt(session)
        (seen,) = plain(home)["sessions"]
        editor.cancel(session)

    assert 2 == seen["queued"]


async def test_a_backend_that_rests_says_why_and_until_when(tmp_path: Path):
    """What a person asks first when it is slow, or costs more than it should."""
    fails = {"turns": [[{"do": "fail", "code": 529, "message": "Overloaded"}]]}
    async with house(tmp_path, primary=fails, spare={}) as home:
        editor = await home.editor()
        await editor.prompt(await editor.new())
        seen = plain(home)["backends"][0]
        until = home.clock.wall() + 30

    assert ("resting", "overloaded", until) == (seen["health"], seen["why"], seen["until"])


async def test_a_client_is_shown_with_its_program(tmp_path: Path):
    """ACP v1, initialization: `clientInfo`."""
    async with house(tmp_path, primary={}) as home:
        editor = await home.editor(clientInfo={"name": "zed", "version": "1.2"})
        await editor.new()
        seen = plain(home)["clients"]

    assert [{"name": "editor", "program": "zed", "version": "1.2", "sessions": 1, "unreadBytes": 0}] == list(seen)


async def test_a_client_that_says_nonsense_of_itself_is_shown_all_the_same(tmp_path: Path):
    """Nobody checks what it sent there."""
    async with house(tmp_path, primary={}) as home:
        await home.editor(clientInfo={"name": 7})
        (seen,) = plain(home)["clients"]

    assert (None, None) == (seen["program"], seen["version"])


async def test_a_lost_client_is_named_no_more(tmp_path: Path):
    """Its sessions stay."""
    async with house(tmp_path, primary={}) as home:
        editor = await home.editor()
        await editor.new()
        await editor.leave()
        seen = plain(home)

    assert ((), [None]) == (seen["clients"], [one["client"] for one in seen["sessions"]])
