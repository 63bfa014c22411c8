"""One session at a provider's API: what every kind does alike, whatever language it speaks."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from anyio import sleep_forever
from msgspec import Raw, Struct
from msgspec.json import encode

from acp_broker import __version__
from acp_broker.contract import Client as Frontend
from acp_broker.contract import Finished, Looked, Tools, TurnRequest
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.history import Exchange
from acp_broker.errors import METHOD_NOT_FOUND, BackendFailure, RpcError
from backends.http.client import Client, connected
from backends.http.counting import Counter, Counting
from backends.http.introducing import about
from backends.http.looking import Listing, Looker
from backends.http.prompts import check, without
from backends.http.settings import HttpConfig, needs_key
from backends.http.turn import Decoder, Order, converse
from backends.http.usage import Usage

Body = dict[str, object]

_DONE = Raw(b"{}")


class Api(Struct, frozen=True):
    """How a kind asks, and reads what comes back. `body` raises BackendFailure for what the API has no place for; the
    members that config.json adds are none of its business."""

    name: str
    title: str
    url: str
    headers: Mapping[str, str]
    body: Callable[[Sequence[Exchange], Raw], Body]
    decoder: Callable[[], Decoder]
    # What it can be asked for nothing.
    free: Listing | Counting

    def __repr__(self) -> str:
        return f"Api({self.url})"


@asynccontextmanager
async def talking(settings: HttpConfig, tools: Tools, api: Api) -> AsyncIterator["Talk"]:
    """Raises BackendFailure."""
    async with connected(api.url, tools.environment) as client:
        if tools.setup is not None:
            tools.reached("opening")
        yield Talk(settings, tools, api, client)


class Talk:
    """contract.Backend. It has no process that could die, and no memory but the session's log."""

    def __init__(self, settings: HttpConfig, tools: Tools, api: Api, client: Client) -> None:
        self.about = about(settings, api.name, api.title, tools.setup)
        self._settings = settings
        self._rules = settings.rules
        self._lacking = settings.lacking
        self._limits = settings.connect_s, settings.first_byte_s
        self._clock = tools.clock
        self._api = api
        self._client = client
        self._cost = 0.0

    async def run(self, turn: TurnRequest, client: Frontend) -> Finished:
        if turn.cancel_asked.is_set():
            return Finished("cancelled")
        settings, api = self._settings, self._api
        check(turn.prompt, self._lacking)
        past = without(await turn.past(settings.history_bytes), self._lacking)
        body = merged(api.body(past, turn.prompt), settings.body)
        order = Order(api.url, api.headers, encode(body), *self._limits, settings.context_window, self._rules)
        return await converse(order, api.decoder(), turn, client, self._client, self._clock, self._spent)

    async def call(self, method: str, params: dict[str, Raw]) -> Raw:  # noqa: ARG002 - the contract's shape
        if method == "session/set_mode":
            # It does nothing but talk: it stays within the boundary of any mode.
            return _DONE
        raise RpcError(METHOD_NOT_FOUND, f"Method not found: {method}")

    async def look(self) -> Looked:
        return await self._looker().look()

    async def models(self) -> tuple[str, ...]:
        looker = self._looker()
        if isinstance(looker, Counter):
            raise BackendFailure(Failure(FailureKind.UNSUPPORTED, f"{self._client.host} lists no models"))
        return await looker.models()

    def _looker(self) -> Looker | Counter:
        api = self._api
        if isinstance(api.free, Counting):
            return Counter(self._settings, api.free, api.headers, self._client, self._clock)
        return Looker(self._settings, api.free, api.headers, self._client, self._clock)

    def tell(self, method: str, params: dict[str, Raw]) -> None:
        """There is nobody to tell."""

    async def gone(self) -> str:
        await sleep_forever()
        raise AssertionError("unreachable")

    def _spent(self, usage: Usage) -> float:
        self._cost += usage.cost or 0.0
        return self._cost


def merged(body: Body, more: Mapping[str, object]) -> Body:
    """RFC 7396, JSON merge patch: objects are merged member by member, and `null` takes one away."""
    whole = dict(body)
    for name, value in more.items():
        if value is None:
            whole.pop(name, None)
        elif isinstance(value, dict):
            before = whole.get(name)
            whole[name] = merged(before if isinstance(before, dict) else {}, value)
        else:
            whole[name] = value
    return whole


def headers(settings: HttpConfig) -> dict[str, str]:
    """Of every request, but for its key."""
    return {
        "content-type": "application/json",
        "accept": "text/event-stream, application/json",
        # Tokens would wait in a compressor's window.
        "accept-encoding": "identity",
        "user-agent": f"acp-broker/{__version__}",
        **{name.lower(): value for name, value in settings.headers.items()},
    }


def key(tools: Tools, needed_by: str | None) -> str | None:
    """The profile's secret, fit for a header. Raises BackendFailure where somebody needs one and there is none."""
    found = (tools.credential or "").strip()
    if found and not (found.isascii() and found.isprintable()):
        raise keyless("its key holds characters that no key has: a line break, or part of something else")
    if not found and needed_by is not None and tools.setup is not None:
        raise keyless(needs_key(needed_by))
    return found or None


def keyless(text: str) -> BackendFailure:
    """For a backend whose profile has nothing that it could be asked with."""
    return BackendFailure(Failure(FailureKind.AUTH_MISSING, text, seen_at="starting"))
