"""The server: one port, every API, one fault at a time."""

import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
from msgspec.json import encode

from tests.support.provider import tools
from tests.support.provider.anthropic import Anthropic
from tests.support.provider.chat import Chat
from tests.support.provider.control import control
from tests.support.provider.door import Door
from tests.support.provider.faults import Cut, Fault, named
from tests.support.provider.gemini import Gemini
from tests.support.provider.lists import beside
from tests.support.provider.playing import Pace, denied, play
from tests.support.provider.responses import Responses
from tests.support.provider.seen import Seen
from tests.support.provider.shape import Answer, Ask, Shape
from tests.support.provider.vertex import AnthropicVertex, GeminiVertex
from tests.support.provider.wire import Gone, Request, Wire, head

SHAPES: tuple[Shape, ...] = (Anthropic(), Chat(), Responses(), AnthropicVertex(), GeminiVertex(), Gemini())

_GOOD = named("good")
_KEYLESS = named("401")


def shape_of(request: Request) -> Shape:
    """Whose errors a list of models fails with, or a count of tokens."""
    names = {"/publishers/anthropic/": "anthropic-vertex", "/publishers/google/": "gemini-vertex", "/v1beta/": "gemini"}
    other = "anthropic" if "anthropic-version" in request.headers else "chat"
    name = next((name for part, name in names.items() if part in request.path), other)
    return next(shape for shape in SHAPES if shape.name == name)


class Provider:
    """A provider on loopback, made by `provider()`. Everything here may be changed while it runs.

    says: what the model answers; a token is a word with the space behind it; `$N` is the request's number in `seen`
    thinks: what it reasons before, in the same way
    fault: a name from `faults`; it holds for every request that comes from now on
    key: a request to the model that does not show it is refused with 401; "": nobody is asked for one
    only: `all` requests to the model fail, or the `main` ones alone (see Seen)
    lists_fail: the faults that come before any word hold for lists of models and counts of tokens, too
    lists_at: the one path that has a list of models; "": any that ends like one
    models: what those list; None: one model, and any name is one of it
    command, path: what `tool-shell` runs, and the file that `tool-write` writes; its content is `says`
    """

    def __init__(self, says: str, fault: str, only: str, pace: Pace, port: int) -> None:
        self.says = says
        self.thinks = ""
        self.key = ""
        self.lists_fail = False
        self.lists_at = ""
        self.models: tuple[str, ...] | None = None
        self.command = "echo drill"
        self.path = "drill.txt"
        self.pace = pace
        self.seen: list[Seen] = []
        self.watch: Callable[[Seen], None] = lambda _: None
        self._door = Door(port)
        self._side_door = Door()
        self._open: set[anyio.CancelScope] = set()
        self._fault = _GOOD
        self._silence = anyio.Event()
        self._left = anyio.Event()
        # Clients that went away before their answer was whole; `connections`: all that were ever accepted.
        self.left = 0
        self.connections = 0
        self.only = only
        self.fault = fault

    @property
    def port(self) -> int:
        return self._door.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def control_url(self) -> str:
        """Where `control` answers even when nobody listens at `url`."""
        return f"http://127.0.0.1:{self._side_door.port}"

    @property
    def fault(self) -> str:
        return self._fault.name

    @fault.setter
    def fault(self, name: str) -> None:
        """With `refused` the connections that exist are closed too, as those of a process that died."""
        self._fault = named(name)
        self._silence = anyio.Event()
        if not self._fault.is_refused:
            self._door.open()
            return
        self._door.shut()
        for scope in tuple(self._open):
            scope.cancel()

    @property
    def only(self) -> str:
        return self._only

    @only.setter
    def only(self, which: str) -> None:
        if which not in ("all", "main"):
            raise ValueError(f"all or main, not {which}")
        self._only = which

    def asked(self, api: str | None = None, *, main: bool | None = None) -> list[Seen]:
        """The requests so far: of this API (default: of any to the model), and of the turn itself or not."""
        apis = [shape.name for shape in SHAPES] if api is None else [api]
        return [one for one in self.seen if one.api in apis and main in (None, one.is_main)]

    async def silent(self) -> None:
        """Wait until a client is left without a word, by a `stall-*` that was set before."""
        await self._silence.wait()

    async def until_left(self, times: int = 1) -> None:
        """Wait until so many clients have gone away before their answer was whole."""
        while self.left < times:
            self._left = anyio.Event()
            await self._left.wait()

    async def serve(self) -> None:
        """Until cancelled."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._side_door.let_in, tasks, self._talk_aside)
                await self._door.let_in(tasks, self._talk)
        finally:
            self._door.close()
            self._side_door.close()

    async def _talk(self, sock: socket.socket) -> None:
        self.connections += 1
        with anyio.CancelScope() as scope:
            self._open.add(scope)
            try:
                await self._listen(Wire(sock, lambda: self._silence.set()))
            finally:
                self._open.discard(scope)
                sock.close()

    async def _talk_aside(self, sock: socket.socket) -> None:
        try:
            wire = Wire(sock)
            request = await wire.request()
            status, body = control(self, request) or (404, b"{}")
            await wire.send(head(status, "application/json", len(body), {"connection": "close"}) + body)
        except Gone:
            pass
        finally:
            sock.close()

    async def _listen(self, wire: Wire) -> None:
        try:
            while True:
                request = await wire.request()
                await self._answer(wire, request)
                if request.headers.get("connection", "").lower() == "close":
                    return
        except Gone:
            return

    async def _answer(self, wire: Wire, request: Request) -> None:
        for shape in SHAPES:
            if ask := shape.ask(request):
                fault = self._fault if self.only == "all" or ask.tools else _GOOD
                fault = fault if self._shows_key(request) else _KEYLESS
                self._note(request, shape.name, fault.name, is_main=bool(ask.tools))
                try:
                    await play(wire, shape, ask, self._answer_to(ask, fault), fault, self.pace)
                except Gone:
                    self._note_left(fault)
                    raise
                return
        if self.lists_fail and beside(request) is not None:
            self._note(request, "models", self._fault.name, is_main=False)
            if await denied(wire, shape_of(request), self._fault):
                return
        status, body = self._answer_beside(request)
        content = b"" if request.method == "HEAD" else body
        await wire.send(head(status, "application/json", len(body), {}) + content)

    def _answer_beside(self, request: Request) -> tuple[int, bytes]:
        if told := control(self, request):
            return told
        if found := beside(request, self.models):
            if request.path != (self.lists_at or request.path):
                return 404, b"404 page not found"
            if not self.lists_fail:
                self._note(request, found[0], "", is_main=False)
            return (404, b'{"error":{"type":"not_found_error"}}') if found[1] is None else (200, encode(found[1]))
        self._note(request, "other", "", is_main=False)
        return (200 if request.method in ("GET", "HEAD") else 404), b"{}"

    def _answer_to(self, ask: Ask, fault: Fault) -> Answer:
        if fault.name == "empty":
            return Answer()
        if not ask.is_answered:
            call = None
            if fault.name == "tool-shell":
                call = tools.shell(ask.tools, self.command)
            elif fault.name == "tool-write":
                call = tools.write(ask.tools, self.path, self.says)
            if call:
                return Answer(call=call)
        number = str(len(self.seen))
        return Answer(*(_tokens(text.replace("$N", number)) for text in (self.says, self.thinks)))

    def _shows_key(self, request: Request) -> bool:
        return any(self.key in value for value in request.headers.values())

    def _note_left(self, fault: Fault) -> None:
        """Whoever did not break it off itself was left."""
        if fault.cut is None or fault.cut[0] is Cut.STALL:
            self.left += 1
            self._left.set()

    def _note(self, request: Request, api: str, fault: str, *, is_main: bool) -> None:
        seen = Seen(request.method, request.path, api, fault, is_main, request.headers, request.body)
        self.seen.append(seen)
        self.watch(seen)


@asynccontextmanager
async def provider(
    says: str = "A healthy provider says these words.",
    fault: str = "good",
    *,
    only: str = "all",
    pace: Pace = Pace(),  # noqa: B008
    port: int = 0,
) -> AsyncIterator[Provider]:
    """A server that runs in this process, and ends with the block."""
    async with anyio.create_task_group() as tasks:
        server = Provider(says, fault, only, pace, port)
        tasks.start_soon(server.serve)
        try:
            yield server
        finally:
            tasks.cancel_scope.cancel()


def _tokens(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\S+\s*", text))
