"""Processes that all want the token of one profile at the same moment, and one that is killed at a step of its renewal.

Run as `python -m tests.support.renewing ORDER`, it forks them, lets them go at once, and says a line of JSON of each.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from acp_broker.auth.exchange import Limits
from acp_broker.auth.lease import Held, Logins
from acp_broker.auth.oauth import Client, Endpoint, OAuthSource
from acp_broker.auth.refresh import Refresher
from acp_broker.auth.tokens import Stored, TokenSet
from acp_broker.clock import SystemClock
from acp_broker.core.names import ProfileId
from acp_broker.errors import BrokerError

WORK = ProfileId("work")


class Order(Struct, frozen=True):
    """`kill_at` names a step of STEPS; whoever reaches it first is killed there."""

    home: str
    url: str
    count: int = 20
    kill_at: str = ""
    wait_s: float = 10.0
    take_after_s: float = 60.0
    client: str = "me"


class Outcome(Struct, frozen=True):
    """What one process got; `died` for who was killed. `took_s` is how long it waited."""

    access: str = ""
    error: str = ""
    text: str = ""
    took_s: float = 0.0
    log: tuple[str, ...] = ()
    died: bool = False


class Killer:
    """Kills the first process that comes to the step."""

    def __init__(self, order: Order) -> None:
        self._step = order.kill_at
        self._mark = Path(order.home) / f"killed-{order.kill_at}"

    def is_due(self, step: str) -> bool:
        if step != self._step:
            return False
        try:
            self._mark.touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def at(self, step: str) -> None:
        if self.is_due(step):
            die()


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


class MortalLogins(Logins):
    def __init__(self, order: Order, killer: Killer) -> None:
        super().__init__(Path(order.home), SystemClock(), order.take_after_s)
        self._killer = killer

    def claim(self, profile, is_enough, doing):
        self._killer.at("before the claim")
        found = super().claim(profile, is_enough, doing)
        if isinstance(found, Held):
            self._killer.at("after the claim")
        return found

    def settle(self, held: Held, tokens: TokenSet) -> Stored | None:
        self._killer.at("before settling")
        return super().settle(held, tokens)

    def _write(self, login: Stored) -> Stored:
        path, whole = self.path(login.profile).with_suffix(".json.new"), msgspec.json.encode(login)
        for step, data in (("in the middle of the write", whole[: len(whole) // 2]), ("before the rename", whole)):
            if self._killer.is_due(step):
                path.touch(mode=0o600)
                path.write_bytes(data)
                die()
        return super()._write(login)

    def _let_go(self, held: Held) -> None:
        self._killer.at("before the claim is removed")
        super()._let_go(held)


class MortalSource(Struct, frozen=True):
    source: OAuthSource
    killer: Killer

    @property
    def needs_login(self) -> bool:
        return True

    async def refresh(self, tokens: TokenSet | None) -> TokenSet:
        if self.killer.is_due("during the call"):
            _ask_and_die(self.source.endpoint.url, tokens.refresh)
        newer = await self.source.refresh(tokens)
        self.killer.at("after the answer")
        return newer


def _ask_and_die(url: str, refresh: str) -> NoReturn:
    """Dead once the server has rotated the token, with its answer unread."""
    place = urlsplit(url)
    with socket.create_connection((place.hostname, place.port)) as connection:
        form = f"grant_type=refresh_token&refresh_token={refresh}".encode()
        head = f"POST {place.path} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: {len(form)}\r\n\r\n"
        connection.sendall(head.encode() + form)
        connection.recv(1, socket.MSG_PEEK)
        die()


# Before the provider has used the refresh token up, or after the answer is where nobody loses it.
HARMLESS = ("before the claim", "after the claim", "before the rename", "before the claim is removed")
# The provider has used it up, and its answer dies with the process.
DEAR = ("during the call", "after the answer", "before settling", "in the middle of the write")
STEPS = (*HARMLESS, *DEAR)


def stored(home: Path, refresh: str, *, left_s: float = -60.0) -> Stored:
    """A login of WORK whose access token ends in so many seconds."""
    now = time.time()
    tokens = TokenSet(access="canary-old", refresh=refresh, obtained_at=now - 3600 + left_s, expires_at=now + left_s)
    return Logins(home, SystemClock()).put(WORK, tokens)


def outcomes(order: Order) -> list[Outcome]:
    """Runs them, and waits for all."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.renewing", msgspec.json.encode(order).decode()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return [msgspec.json.decode(line, type=Outcome) for line in done.stdout.splitlines()]


async def _one(order: Order) -> Outcome:
    killer, clock, said = Killer(order), SystemClock(), []
    source = OAuthSource(Endpoint(order.url, Client(order.client), clock, Limits()))
    refresher = Refresher(
        MortalLogins(order, killer), clock, lambda event, **fields: said.append(json.dumps([event, fields]))
    )
    began = time.monotonic()
    access, error, text = "", "", ""
    try:
        access = (await refresher.tokens(WORK, MortalSource(source, killer), order.wait_s)).tokens.access
    except BrokerError as fault:
        error, text = type(fault).__name__, str(fault)
    took_s = time.monotonic() - began
    await refresher.close()
    return Outcome(access, error, text, took_s, tuple(said))


def _run(order: Order) -> None:
    go_read, go_write = os.pipe()
    children = []
    for _ in range(order.count):
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            os.close(go_write)
            os.read(go_read, 1)
            os.write(write, msgspec.json.encode(asyncio.run(_one(order))))
            os._exit(0)
        os.close(write)
        children.append((pid, read))
    os.close(go_write)
    for pid, read in children:
        with os.fdopen(read, "rb") as pipe:
            said = pipe.read()
        os.waitpid(pid, 0)
        print((said or msgspec.json.encode(Outcome(died=True))).decode())


if __name__ == "__main__":
    _run(msgspec.json.decode(sys.argv[1], type=Order))
