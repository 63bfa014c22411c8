"""Work that may hang for ever: what it holds up, and what it does not."""

import os
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import anyio
import pytest

from acp_broker.app.renewed import RenewedLogins
from acp_broker.auth import aside
from acp_broker.core.names import ProfileId
from acp_broker.errors import Unresolved
from tests.support.clock import FakeClock

pytestmark = pytest.mark.anyio

# Asks a server, whose name is never found, and ends.
_ASKS = """
import asyncio, socket, sys, time
import httpx2
from acp_broker.auth.exchange import Limits, post
from acp_broker.edge import lookups
from acp_broker.errors import AuthUnavailable
looks_up = socket.getaddrinfo
def hangs(host, *rest, **named):
    if host in ("hangs.test", b"hangs.test"):
        print("looked up", flush=True)
        time.sleep(600)
    return looks_up(host, *rest, **named)
socket.getaddrinfo = hangs
async def ask():
    lookups.apart()
    try:
        await post(sys.argv[1], {}, limits=Limits(total_s=1.0))
    except AuthUnavailable as error:
        print(error, flush=True)
asyncio.run(ask())
"""


async def test_what_hangs_at_one_place_keeps_nobody_from_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """A keyring that is dead for hours must not cost the backends whose logins are in files."""
    monkeypatch.setattr(aside, "MOST", 1)
    answered = threading.Event()
    with anyio.move_on_after(0.05):
        await aside.aside(answered.wait, "keyring")
    elsewhere = await aside.aside(lambda: "found", "file")
    with pytest.raises(Unresolved, match=r"^1 earlier look-ups have not come back; what they ask hangs$"):
        await aside.aside(lambda: "asked", "keyring")
    [hung] = aside._running
    answered.set()
    await anyio.to_thread.run_sync(hung.join)

    assert ("found", "asked") == (elsewhere, await aside.aside(lambda: "asked", "keyring"))


def test_authorities_that_cannot_be_read_do_not_hold_up_the_end(tmp_path: Path) -> None:
    """Neither do those on a disk that does not answer."""
    pipe = tmp_path / "authorities"
    os.mkfifo(pipe)

    assert (0, "127.0.0.1 gave no answer within 1 s\n", "") == _asked(
        "https://127.0.0.1:1/token", SSL_CERT_FILE=str(pipe)
    )


def test_a_name_that_is_never_found_does_not_hold_up_the_end() -> None:
    """Where the network is gone a resolver takes half a minute to say so."""
    assert (0, "looked up\nhangs.test gave no answer within 1 s\n", "") == _asked(
        "http://hangs.test/token", no_proxy="*"
    )


def _asked(url: str, **environ: str) -> tuple[int, str, str]:
    """How a process ends that asks there, and what it says."""
    command = [sys.executable, "-c", _ASKS, url]
    done = subprocess.run(
        command, env={**os.environ, **environ}, capture_output=True, text=True, timeout=30, check=False
    )
    return done.returncode, done.stdout, done.stderr


async def test_a_look_for_a_login_does_not_hold_up_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked for as long as there is none; its disk may stop to answer meanwhile."""
    asked, answered = threading.Event(), threading.Event()
    logins = RenewedLogins(tmp_path, {}, FakeClock(), _nobody, _unheard, _unheard)

    def hangs(_: ProfileId) -> None:
        asked.set()
        answered.wait()

    monkeypatch.setattr(logins._logins, "read", hangs)
    logins._watch(ProfileId("work"))
    await anyio.to_thread.run_sync(partial(asked.wait, 30))
    held_up_by = [one.name for one in threading.enumerate() if not one.daemon and one.name == "secret"]
    looking = [one.name for one in aside._running]
    await logins.close()
    [hung] = aside._running
    answered.set()
    await anyio.to_thread.run_sync(hung.join)

    assert ([], ["secret"]) == (held_up_by, looking)


async def _nobody(*_: object) -> str:
    raise AssertionError("nobody asks")


def _unheard(*_: object, **__: object) -> None:
    """Nobody listens."""
