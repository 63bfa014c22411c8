"""One look at a provider that costs nothing: whether it takes our key, and whether it has the configured model."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx2
from msgspec import Struct

from acp_broker.clock import Clock
from acp_broker.contract import Looked
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.errors import BackendFailure
from backends.http import failing, listing
from backends.http.client import Client
from backends.http.clocks import Watch
from backends.http.settings import HttpConfig

# For each request; one that only lists answers in less than a second.
LIMIT_S = 10.0
# A list of some thousand models.
_MOST_BYTES = 4 * 1024 * 1024
# There is no list at that address, which says nothing of the rest.
UNLISTED = frozenset({404, 405, 501})
_UNKNOWN = "tells nothing of its models; `acp-broker check --turn` finds out whether it answers"


class Listing(Struct, frozen=True):
    """Where an API tells its models: `every` of them, and the configured `one`, where it can be asked for.

    `is_whole`: what is not in the list is not there. `start` is how its server is started, if it is one of one's own.
    """

    every: str
    one: str | None = None
    is_whole: bool = False
    start: str = ""
    # A `baseUrl` that people mean when they have written this one, and where it would list its models.
    meant: tuple[str, str] | None = None


class Looker:
    """Asks one provider, with the headers of its turns."""

    def __init__(
        self, settings: HttpConfig, listed: Listing, headers: Mapping[str, str], client: Client, clock: Clock
    ) -> None:
        self._settings = settings
        self._listing = listed
        self._headers = {**headers, "accept": "application/json"}
        self._client = client
        self._clock = clock
        self._asked: list[str] = []

    async def models(self) -> tuple[str, ...]:
        """All that it lists. Raises BackendFailure; also where it has no such list."""
        body = await self._get(self._listing.every)
        found = None if body is None else listing.names(body)
        if found is None:
            raise BackendFailure(Failure(FailureKind.UNSUPPORTED, f"{self._client.host} lists no models"))
        return found

    async def look(self) -> Looked:
        try:
            found = await self._look()
        except BackendFailure as error:
            if "missing scope" in error.failure.text.casefold():  # OpenAI: such a key may answer, and not list
                found = Looked(says="does not let this key list models; `acp-broker check --turn` finds out the rest")
            else:
                found = Looked(failure=error.failure, fix=fix(error.failure, self._settings, self._listing.start))
        return Looked(tuple(self._asked), found.says, found.failure, found.fix)

    async def _look(self) -> Looked:
        model, one = self._settings.model or "", self._listing.one
        if one is not None and await self._get(one) is not None:
            return Looked(says=f"knows {model}")
        body = await self._get(self._listing.every)
        found = None if body is None else listing.names(body)
        if found is None:
            return await self._elsewhere() or Looked(says=_UNKNOWN)
        listed = f"{len(found)} model{'' if len(found) == 1 else 's'}"
        if not model:
            return Looked(says=f"lists {listed}: {listing.shown(found)}")
        if one is None and listing.has(found, model):
            return Looked(says=f"lists {listed}, {model} among them")
        return self._lacks(model, found)

    async def _elsewhere(self) -> Looked | None:
        """Whether the list is where the end of `baseUrl` was forgotten: then all else is there, too."""
        if self._listing.meant is None:
            return None
        base, every = self._listing.meant
        body = await self._get(every)
        if body is None or listing.names(body) is None:
            return None
        text = f"nothing is at {self._listing.every}, and the models are listed at {every}"
        return Looked(failure=Failure(FailureKind.UNREACHABLE, text), fix=f'write `"baseUrl": "{base}"`')

    def _lacks(self, model: str, found: tuple[str, ...]) -> Looked:
        text = f"{self._client.host} has no model {model}; it lists {listing.shown(found, model)}"
        like = listing.nearest(found, model)
        fix = f'write `"model": "{like}"`, if that is meant' if like is not None else "name one of these as `model`"
        if self._listing.is_whole or self._listing.one is not None:
            return Looked(failure=Failure(FailureKind.MODEL_NOT_FOUND, text), fix=fix)
        return Looked(says=f"does not list {model}, and may know it all the same", fix=f"{text}; {fix}")

    async def _get(self, url: str) -> bytes | None:
        """The answer's body; None where nothing is at that address. Raises BackendFailure."""
        self._asked.append(f"GET {url}")
        async with answered(self._client.get(url, self._headers), self._client, self._clock) as response:
            if response.status_code in UNLISTED:
                return None
            await failing.check(response, self._client.host, self._clock)
            return await failing.beginning(response, _MOST_BYTES)


@asynccontextmanager
async def answered(
    asking: AbstractAsyncContextManager[httpx2.Response], client: Client, clock: Clock
) -> AsyncIterator[httpx2.Response]:
    """What a request is answered, in its time. Raises BackendFailure."""
    watch, is_answered = Watch(clock), False
    watch.arm(LIMIT_S, Failure(FailureKind.SILENT, f"{client.host} did not answer within {LIMIT_S:g} s"))
    try:
        with watch.block():
            async with asking as response:
                is_answered = True
                yield response
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise BackendFailure(failing.of_transport(error, client, is_answered=is_answered)) from error


def fix(failure: Failure, settings: HttpConfig, started_by: str = "") -> str:
    """What a person can do, beside giving it another key."""
    match failure.kind:
        case FailureKind.UNREACHABLE if "`baseUrl`" in failure.text:  # it says so itself
            return ""
        case FailureKind.UNREACHABLE if "certificate" in failure.text.casefold():
            return "name the authorities to trust in SSL_CERT_FILE"
        case FailureKind.UNREACHABLE if settings.is_own:
            start = f"start it ({started_by})" if started_by else "start it"
            return f"{start}, or write in `baseUrl` where it listens"
        case FailureKind.UNREACHABLE if "proxy" in failure.text.casefold():
            return "look at HTTPS_PROXY, or name its host in NO_PROXY"
        case FailureKind.UNREACHABLE:
            return "look whether this machine is online, needs a proxy (HTTPS_PROXY), and whether `baseUrl` is right"
        case FailureKind.GARBLED:
            return "open the address in a browser: the network may want a login first"
        case FailureKind.BILLING:
            return "look at what its account has left"
        case FailureKind.RATE_LIMITED | FailureKind.OVERLOADED | FailureKind.SERVER_ERROR | FailureKind.SILENT:
            return "it may pass by itself; meanwhile the next backend answers"
        case _:
            return ""
