"""Who no longer wants an answer does not pay for it: its connection to the provider is closed, wherever it stood."""

import socket

import anyio
import pytest
from anyio import to_thread

from tests.e2e.test_provider_faults import APIS, FAST, PROVIDER, SAYS, SPARE, Api
from tests.support.answered import listening
from tests.support.broker import BrokerProcess, chain
from tests.support.client import DEADLINE_S
from tests.support.harness import house
from tests.support.provider import provider

pytestmark = pytest.mark.anyio

# How far an answer has come, and what was shown by then.
PHASES = {"stall-headers": "", "stall-open": "", "stall-first": "", "stall-mid": "alpha beta gamma "}
FORMATS = [api for api in APIS if not api.name.endswith("-vertex")]
CHAT = next(api for api in APIS if api.name == "chat")
EVERY = pytest.mark.parametrize("api", FORMATS, ids=lambda api: api.name)
PHASE = pytest.mark.parametrize("phase", PHASES)


def said(words: list[str]) -> str:
    return "".join(word.removeprefix("say ") for word in words)


async def until_left(server, times: int = 1) -> None:
    with anyio.fail_after(DEADLINE_S):
        await server.until_left(times)


@EVERY
@PHASE
async def test_a_cancel_closes_the_connection_however_far_the_answer_is(tmp_path, api: Api, phase: str):
    """ACP v1, "Cancellation". The clock stands still: no limit does it, and nobody else is asked."""
    async with (
        provider(SAYS, phase, pace=FAST) as server,
        house(tmp_path, limits=PROVIDER, primary=api.primary(server.url), spare=SPARE) as home,
    ):
        editor = await listening(home)
        session = await editor.new()
        turn = editor.start(session)
        await server.silent()
        editor.cancel(session)
        await editor.until_answered(turn)
        await until_left(server)

    assert ("cancelled", ["primary"], PHASES[phase]) == (turn.outcome, turn.attempts, said(turn.words))


class SilentTls:
    """A server that accepts a connection and never answers its TLS; `hung_up` once the client has closed it."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"

    async def asked(self) -> None:
        await anyio.wait_readable(self._listener)
        self._connection, _ = self._listener.accept()
        self._listener.close()
        self._connection.setblocking(False)
        await anyio.wait_readable(self._connection)
        assert self._connection.recv(1 << 16)

    async def hung_up(self) -> bool:
        with self._connection:
            await anyio.wait_readable(self._connection)
            return self._connection.recv(1 << 16) == b""


async def test_a_cancel_while_connecting_closes_the_connection(tmp_path):
    """Nothing was sent yet, and nothing is."""
    server = SilentTls()
    async with house(tmp_path, limits=PROVIDER, primary=CHAT.primary(server.url), spare=SPARE) as home:
        editor = await listening(home)
        session = await editor.new()
        turn = editor.start(session)
        await server.asked()
        editor.cancel(session)
        await editor.until_answered(turn)
        has_hung_up = await server.hung_up()

    assert ("cancelled", ["primary"], [], True) == (turn.outcome, turn.attempts, turn.words, has_hung_up)


async def test_a_connection_that_takes_too_long_is_closed(tmp_path):
    """A server that hangs is asked again each half minute: what stays open would add up."""
    server = SilentTls()
    primary = CHAT.primary(server.url, limits={"connectMs": 3000})
    async with house(tmp_path, limits=PROVIDER, primary=primary, spare=SPARE) as home:
        editor = await listening(home)
        turn = editor.start(await editor.new())
        await server.asked()
        await home.clock.advance(3)
        await editor.until_answered(turn)
        has_hung_up = await server.hung_up()

    assert (["primary unreachable", "spare"], True) == (turn.attempts, has_hung_up)


@EVERY
async def test_the_session_goes_on_behind_a_cancel(tmp_path, api: Api):
    """The primary is well, for all that is known: it answers the next prompt, on a new connection."""
    async with (
        provider(SAYS, "stall-mid", pace=FAST) as server,
        house(tmp_path, limits=PROVIDER, primary=api.primary(server.url), spare=SPARE) as home,
    ):
        editor = await listening(home)
        session = await editor.new()
        cancelled = editor.start(session)
        await server.silent()
        editor.cancel(session)
        await editor.until_answered(cancelled)
        server.fault = "good"
        turn = await editor.prompted(session)

    assert (["primary"], SAYS, 2) == (turn.attempts, said(turn.words), len(server.asked()))


@PHASE
async def test_a_frontend_that_closes_its_side_takes_the_request_with_it(tmp_path, phase: str):
    """An editor that is quit in the middle of an answer: a real broker, its stdin closed, and no connection left."""

    def quit_in_the_middle(url: str, silent: "anyio.Event") -> int:
        entry = {"kind": "openai", "baseUrl": f"{url}/v1", "model": "drill-model"}
        with BrokerProcess(tmp_path, chain(primary=entry, spare=SPARE)) as broker:
            broker.start(broker.open())
            anyio.from_thread.run(silent)
            return broker.leave()

    async with provider(SAYS, phase, pace=FAST) as server:
        with anyio.fail_after(DEADLINE_S):
            status = await to_thread.run_sync(quit_in_the_middle, server.url, server.silent)
        await until_left(server)

    assert (0, 1, 1) == (status, server.left, len(server.asked()))


async def test_a_backend_that_is_given_up_for_the_next_one_is_left_first(tmp_path):
    """Two never work at one prompt: the fallback is asked when the primary's connection is closed."""
    order: list[str] = []
    async with (
        provider(SAYS, "stall-first", pace=FAST) as near,
        provider(SAYS, pace=FAST) as far,
        house(tmp_path, limits=PROVIDER, primary=CHAT.primary(near.url), spare=CHAT.primary(far.url)) as home,
    ):
        far.watch = lambda _: order.append(f"asked with {near.left} left")
        editor = await listening(home)
        turn = editor.start(await editor.new())
        await near.silent()
        await home.clock.advance(PROVIDER.first_output)
        await editor.until_answered(turn)

    assert (["primary silent", "spare"], ["asked with 1 left"]) == (turn.attempts, order)
