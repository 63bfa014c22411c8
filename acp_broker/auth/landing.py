"""The page on this machine where a browser lands after a login: one request brings the answer, all others get nothing.

Whoever is on this machine can knock at a port of ours: a request is small and short, and counts only with the login's
own state.
"""

import html
import secrets
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import parse_qsl

import anyio
from anyio import Event
from anyio.abc import SocketStream

_MOST_BYTES = 16_384
_REQUEST_S = 10.0
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>ACP Broker</title>
<style>body {{ font: 1.1rem system-ui, sans-serif; max-width: 34rem; margin: 20vh auto; padding: 0 1rem; }}</style>
<h1>{title}</h1><p>{text}</p>
"""
# Nothing of it is kept, passed on or run: the code is in the browser's address bar.
_HEADERS = (
    "Content-Type: text/html; charset=utf-8\r\nCache-Control: no-store\r\nReferrer-Policy: no-referrer\r\n"
    "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\nConnection: close\r\n"
)


class Landing:
    """One login's. `path` is where the browser is sent; `state` is what it must bring (RFC 6749, section 10.12)."""

    def __init__(self, path: str, state: str) -> None:
        self._path = path
        self._state = state
        self._came: Mapping[str, str] | None = None
        self._arrival = Event()
        self._trouble = ""
        self._end = Event()
        self._goodbye = Event()

    async def arrived(self) -> Mapping[str, str]:
        """What the browser brings, once it is there."""
        await self._arrival.wait()
        return self._came or {}

    async def farewell(self, trouble: str) -> None:
        """Show the browser that came how the login went: `trouble`, or "" for none. It may not take it."""
        self._trouble = trouble
        self._end.set()
        await self._goodbye.wait()

    async def receive(self, stream: SocketStream) -> None:
        """Answer one connection."""
        async with stream:
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream):
                target = None
                with anyio.move_on_after(_REQUEST_S):
                    target = await _target(stream)
                if target is not None:
                    await self._answer(stream, target)

    async def _answer(self, stream: SocketStream, target: str) -> None:
        path, _, query = target.partition("?")
        came = dict(parse_qsl(query))
        if path != self._path:
            page = _page(404, "Nothing is here", "The page of this login is another one.")
        elif not secrets.compare_digest(came.get("state", "").encode(), self._state.encode()):
            text = "It was begun somewhere else, or earlier. Open the latest address that your terminal shows."
            page = _page(400, "Nobody waits for this login", text)
        elif self._came is not None:
            page = _page(400, "This login has been used already", "Your terminal says how it went.")
        else:
            await self._take(stream, came)
            return
        await stream.send(page)

    async def _take(self, stream: SocketStream, came: Mapping[str, str]) -> None:
        self._came = came
        self._arrival.set()
        try:
            await self._end.wait()
            if self._trouble:
                await stream.send(_page(400, "The login failed", f"{self._trouble}."))
            else:
                await stream.send(_page(200, "You are logged in", "Close this page and go back to your terminal."))
        finally:
            self._goodbye.set()


async def _target(stream: SocketStream) -> str | None:
    """What a GET asks for; None for anything else, and for more than a browser sends."""
    head = b""
    while b"\r\n\r\n" not in head:
        if len(head) > _MOST_BYTES:
            return None
        head += await stream.receive()
    match head.partition(b"\r\n")[0].split(b" "):
        case [b"GET", target, version] if version.startswith(b"HTTP/1."):
            return target.decode("ascii", "replace")
        case _:
            return None


def _page(status: int, title: str, text: str) -> bytes:
    body = _PAGE.format(title=html.escape(title), text=html.escape(text)).encode()
    return f"HTTP/1.1 {status} \r\nContent-Length: {len(body)}\r\n{_HEADERS}\r\n".encode() + body
