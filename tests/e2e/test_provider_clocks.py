"""The four clocks of an attempt at a provider, in a whole broker, by a clock that a test moves."""

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio
import pytest

from tests.e2e.test_provider_faults import APIS, PROVIDER, SAYS, SPARE, SWITCHED, Api
from tests.support.answered import Listening, listening
from tests.support.clock import settled
from tests.support.harness import House, Turn, house, runtime
from tests.support.provider import provider
from tests.support.provider.door import Door
from tests.support.provider.wire import Gone, Wire, chunk, head

pytestmark = pytest.mark.anyio


@pytest.fixture(params=APIS, ids=[api.name for api in APIS])
def api(request) -> Api:
    return request.param


@contextmanager
def swallowing() -> Iterator[str]:
    """An address that answers no SYN: a port whose queue is full, and of which nobody takes anything."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        try:
            yield f"http://127.0.0.1:{full.getsockname()[1]}"
        finally:
            for one in waiting:
                one.close()


class Dripping:
    """A provider that has begun, and says no more than it is told to."""

    def __init__(self, door: Door) -> None:
        self.url = f"http://127.0.0.1:{door.port}"
        self.asked = anyio.Event()
        self._wire: Wire | None = None

    async def say(self, data: bytes) -> None:
        assert self._wire is not None
        await self._wire.send(chunk(data))
        await settled()

    async def end(self) -> None:
        await self.say(b"")

    async def talk(self, sock: socket.socket) -> None:
        self._wire = Wire(sock)
        try:
            await self._wire.request()
            await self._wire.send(head(200, "text/event-stream", None, {}))
            self.asked.set()
            await self._wire.gone()
        except Gone:
            sock.close()


@asynccontextmanager
async def dripping() -> AsyncIterator[Dripping]:
    door = Door()
    server = Dripping(door)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(door.let_in, tasks, server.talk)
        yield server
        tasks.cancel_scope.cancel()
    door.close()


async def started(home: House) -> tuple[Listening, Turn]:
    editor = await listening(home)
    return editor, editor.start(await editor.new())


async def test_a_host_that_accepts_no_connection_is_given_up(tmp_path, api):
    """A firewall that drops what comes says nothing, for minutes."""
    with swallowing() as url:
        async with house(tmp_path, limits=PROVIDER, primary=api.primary(url), spare=SPARE) as home:
            editor, turn = await started(home)
            await home.clock.advance(4.9)
            is_early = turn.is_answered
            await home.clock.advance(0.2)
            await editor.until_answered(turn)

    assert (False, SWITCHED, ["primary unreachable", "spare"]) == (is_early, turn.words, turn.attempts)


async def test_an_address_that_takes_no_connection_is_tried_once_for_all_who_ask_it(tmp_path):
    """Two models at one provider: the second would cost the same five seconds. Both rest, and an address of its own
    does not."""
    with swallowing() as url:
        primary, again = (runtime(name, APIS[0].primary(url), host=url) for name in ("primary", "again"))
        async with house(tmp_path, limits=PROVIDER, primary=primary, again=again, spare=SPARE) as home:
            editor, turn = await started(home)
            await home.clock.advance(5.1)
            await editor.until_answered(turn)
            after = await editor.prompted(await editor.new())
    why = [one["backend"] for one in after.told["skipped"]]

    assert (["primary unreachable", "spare"], ["spare"], ["primary", "again"]) == (turn.attempts, after.attempts, why)


@pytest.mark.parametrize("host", ["there", None])
async def test_an_address_that_answers_with_a_failure_is_tried_for_the_others(tmp_path, host):
    """Another model of the same provider may be well."""
    async with provider(SAYS, "503") as server:
        primary, other = (runtime(name, APIS[0].primary(server.url), host=host) for name in ("primary", "again"))
        async with house(tmp_path, limits=PROVIDER, primary=primary, again=other, spare=SPARE) as home:
            editor = await listening(home)
            turn = await editor.prompted(await editor.new())

    assert ["primary overloaded", "again overloaded", "spare"] == turn.attempts


async def test_the_limit_for_a_connection_is_ones_own(tmp_path):
    """Half the world is further away than the other half."""
    with swallowing() as url:
        primary = APIS[0].primary(url, limits={"connectMs": 700})
        async with house(tmp_path, limits=PROVIDER, primary=primary, spare=SPARE) as home:
            editor, turn = await started(home)
            await home.clock.advance(0.8)
            await editor.until_answered(turn)

    assert "did not accept a connection within 0.7 s" in turn.told["attempts"][0]["text"]


async def test_keep_alives_for_ever_are_no_first_word(tmp_path, api):
    """Comments, pings and roles drip in every five seconds: the connection lives, and nobody has said a word."""
    async with (
        dripping() as server,
        house(tmp_path, limits=PROVIDER, primary=api.primary(server.url), spare=SPARE) as home,
    ):
        editor, turn = await started(home)
        await server.asked.wait()
        for _ in range(11):
            await server.say(api.keep_alive.encode() + api.speech.beginning)
            await home.clock.advance(5)
        is_early = turn.is_answered
        await home.clock.advance(6)
        await editor.until_answered(turn)

    assert (False, SWITCHED, ["primary silent", "spare"]) == (is_early, turn.words, turn.attempts)


async def test_keep_alives_behind_words_are_no_words(tmp_path, api):
    """What was shown stays; the rest is not waited for while a proxy says that it waits, too."""
    async with (
        dripping() as server,
        house(tmp_path, limits=PROVIDER, primary=api.primary(server.url), spare=SPARE) as home,
    ):
        editor, turn = await started(home)
        await server.asked.wait()
        await server.say(api.speech.beginning + api.speech.say("alpha"))
        await editor.until_shown(turn)
        for _ in range(29):
            await server.say(api.keep_alive.encode())
            await home.clock.advance(10)
        is_early = turn.is_answered
        await home.clock.advance(12)
        await editor.until_answered(turn)

    assert (False, ["say alpha"], -33002) == (is_early, turn.words, turn.outcome)
    assert ["primary silent"] == turn.attempts


async def test_words_that_keep_coming_outlast_every_clock(tmp_path, api):
    """An answer of an hour is no silence."""
    async with (
        dripping() as server,
        house(tmp_path, limits=PROVIDER, primary=api.primary(server.url), spare=SPARE) as home,
    ):
        editor, turn = await started(home)
        await server.asked.wait()
        await server.say(api.speech.beginning)
        for _ in range(15):
            await server.say(api.speech.say("a"))
            await home.clock.advance(240)
        await server.say(api.speech.end("end_turn"))
        await server.end()
        await editor.until_answered(turn)

    assert ("end_turn", ["primary"]) == (turn.outcome, turn.attempts)


@pytest.mark.parametrize("words", [3, 60])
async def test_a_healthy_turn_winds_no_clock_for_each_word(tmp_path, api, words, monkeypatch):
    """Four limits cost a handful of timers, however long the answer and however it is cut."""
    async with (
        dripping() as server,
        house(tmp_path, limits=PROVIDER, primary=api.primary(server.url), spare=SPARE) as home,
    ):
        editor = await listening(home)
        session = await editor.new()
        wound = []
        call_at = home.clock.call_at
        monkeypatch.setattr(home.clock, "call_at", lambda *when: wound.append(when[0] - 1000.0) or call_at(*when))
        turn = editor.start(session)
        await server.asked.wait()
        await server.say(api.speech.beginning)
        for number in range(words):
            await server.say(api.speech.say(f"{number} "))
        await server.say(api.speech.end("end_turn"))
        await server.end()
        await editor.until_answered(turn)

    assert ("end_turn", True) == (turn.outcome, len(wound) <= 6)
