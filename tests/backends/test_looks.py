"""A free look at each provider: what it asks, what it makes of the answer, and what it advises."""

from functools import partial

import anyio
import pytest

from acp_broker.contract import Looked, Looks
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.errors import BackendFailure
from backends.http import listing, looking
from tests.support import apis
from tests.support.apis import BY_KIND
from tests.support.client import DEADLINE_S, FakeTools
from tests.support.clock import FakeClock
from tests.support.provider import Provider, provider

pytestmark = pytest.mark.anyio

# Where each asks first, below the server's address.
ASKS = {"openai": "/v1/models", "anthropic": "/v1/models/drill-model", "gemini": "/v1beta/models/drill-model"}
PRESETS = {"lmstudio": {"preset": "lmstudio"}, "llamacpp": {"preset": "llamacpp"}, "none": {}}
KEY = "canary-5e0b"


@pytest.fixture
def tools():
    return apis.given(credential=KEY)


def opened(kind: str, url: str, tools: FakeTools, **members: object):
    base = f"{url}/v1" if kind == "openai" else url
    return BY_KIND[kind].open(tools, **{"baseUrl": base, "model": "drill-model", **members})


async def look(server: Provider, tools: FakeTools, kind: str = "openai", **members: object) -> Looked:
    async with opened(kind, server.url, tools, **members) as backend:
        assert isinstance(backend, Looks)
        return await backend.look()


@pytest.mark.parametrize("kind", BY_KIND)
async def test_a_healthy_one_knows_its_model(tools, kind):
    """One request, with the key, and none to the model."""
    async with provider() as server:
        found = await look(server, tools, kind)
        (seen,) = server.seen

    assert (None, (f"GET {server.url}{ASKS[kind]}",), True) == (found.failure, found.asked, "drill-model" in found.says)
    assert ("GET", ASKS[kind], True) == (seen.method, seen.path, any(KEY in value for value in seen.headers.values()))


@pytest.mark.parametrize("kind", BY_KIND)
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("401", "auth_rejected"),
        ("429", "rate_limited"),
        ("500", "server_error"),
        ("529", "overloaded"),
        ("garbage", "garbled"),
        ("refused", "unreachable"),
        ("reset-headers", "unreachable"),
    ],
)
async def test_what_fails_a_turn_fails_the_look(tools, kind, fault, expected):
    """By the same names, and with what to do about it, unless that is another key."""
    async with provider(fault=fault) as server:
        server.lists_fail = True
        found = await look(server, tools, kind)

    assert found.failure is not None
    assert (expected, expected != "auth_rejected") == (found.failure.kind.value, bool(found.fix))


async def test_one_that_hangs_is_not_waited_for(tools):
    """A person sits in front of it."""
    clock = FakeClock()
    tools.clock = clock
    async with provider(fault="stall-headers") as server:
        server.lists_fail = True
        async with opened("openai", server.url, tools) as backend:
            found = await _when(clock, server, backend)

    assert "silent" == found.failure.kind.value


async def _when(clock: FakeClock, server: Provider, backend) -> Looked:
    found: list[Looked] = []

    async def looks() -> None:
        found.append(await backend.look())

    with anyio.fail_after(DEADLINE_S):
        async with anyio.create_task_group() as group:
            group.start_soon(looks)
            await server.silent()
            await clock.advance(10)
    return found[0]


@pytest.mark.parametrize("kind", BY_KIND)
async def test_an_address_that_is_none_fails_the_look(tools, kind):
    """Four numbers with dots between are an IPv4 address, and none of these is that large."""
    async with opened(kind, "http://999.1.1.1:9", tools) as backend:
        found = await backend.look()

    assert FailureKind.UNREACHABLE == found.failure.kind


@pytest.mark.parametrize("kind", BY_KIND)
async def test_a_model_that_is_not_there_is_said_with_those_that_are(tools, kind):
    """Most often it is a slip of the pen."""
    members = {"preset": "lmstudio"} if kind == "openai" else {}
    async with provider() as server:
        server.models = ("drill-modal", "other")
        found = await look(server, tools, kind, **members)

    host = server.url.removeprefix("http://")
    text = f"{host} has no model drill-model; it lists drill-modal, other"
    assert ("model_not_found", text) == (found.failure.kind.value, found.failure.text)
    assert 'write `"model": "drill-modal"`, if that is meant' == found.fix


@pytest.mark.parametrize(("preset", "fails"), [("lmstudio", True), ("llamacpp", False), ("none", False)])
async def test_a_list_that_may_lack_some_fails_nobody(tools, preset, fails):
    """llama.cpp answers to any name; a gateway lists what it likes."""
    async with provider() as server:
        server.models = ("other",)
        found = await look(server, tools, **PRESETS[preset])

    assert (fails, True) == (found.failure is not None, "other" in found.fix or fails)


@pytest.mark.parametrize("kind", BY_KIND)
async def test_a_server_without_a_list_may_answer_all_the_same(tools, kind):
    """It is not taken for one that is down."""
    async with provider(fault="404") as server:
        server.lists_fail = True
        found = await look(server, tools, kind)

    assert (None, "") == (found.failure, found.fix)
    assert found.says.startswith("tells nothing of its models")


async def test_a_key_that_may_not_list_is_no_bad_key(tools, monkeypatch):
    """OpenAI's restricted keys: what they may do, only a turn tells."""

    async def refused(*_: object) -> None:
        text = "401: You have insufficient permissions for this operation. Missing scopes: api.model.read."
        raise BackendFailure(Failure(FailureKind.AUTH_REJECTED, text))

    monkeypatch.setattr(looking.failing, "check", refused)
    async with provider() as server:
        found = await look(server, tools)

    assert (None, True) == (found.failure, found.says.startswith("does not let this key list models"))


async def test_openrouter_is_asked_for_the_list_that_needs_a_key(tools):
    """The other one it gives to anybody, so that a bad key would look well."""
    async with provider() as server:
        await look(server, tools, preset="openrouter")

    assert ["/v1/models/user"] == [one.path for one in server.seen]


async def test_an_address_that_lacks_its_end_is_told_with_it(tools):
    """Of all slips the most common: the server is there, and every turn would be a 404."""
    async with provider() as server:
        server.lists_at = "/v1/models"
        found = await look(server, tools, baseUrl=server.url)

    assert (f"GET {server.url}/models", f"GET {server.url}/v1/models") == found.asked
    assert ("unreachable", f'write `"baseUrl": "{server.url}/v1"`') == (found.failure.kind.value, found.fix)


@pytest.mark.parametrize("kind", BY_KIND)
async def test_all_models_can_be_asked_for(tools, kind):
    """For whoever has yet to choose one."""
    async with provider() as server:
        server.models = ("a", "b")
        async with opened(kind, server.url, tools) as backend:
            assert ("a", "b") == await backend.models()


async def test_where_nothing_is_listed_asking_for_all_fails(tools):
    """There is nothing to choose from."""
    async with provider(fault="404") as server:
        server.lists_fail = True
        async with opened("openai", server.url, tools) as backend:
            with pytest.raises(BackendFailure, match="lists no models"):
                await backend.models()


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"kind": "openai", "preset": "openai"}, "openai"),
        ({"kind": "openai", "baseUrl": "https://api.openai.com/v1"}, "openai"),
        ({"kind": "openai", "preset": "ollama"}, "http://127.0.0.1:11434"),
        ({"kind": "openai", "preset": "ollama", "baseUrl": "http://localhost:1/v1"}, "http://127.0.0.1:1"),
        ({"kind": "openai", "baseUrl": "https://gateway.example/v1"}, "https://gateway.example"),
        ({"kind": "anthropic"}, "anthropic"),
        ({"kind": "anthropic", "baseUrl": "https://gateway.example"}, "https://gateway.example"),
        ({"kind": "gemini"}, "google"),
    ],
)
async def test_who_answers_in_the_end_is_told_by_the_address(entry, expected):
    """As agents' providers are called, so that two of one are seen."""
    assert expected == BY_KIND[entry["kind"]].config(**entry).provider


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"object": "list", "data": [{"id": "m"}, {"no": 1}]}', ("m",)),
        (b'{"models": [{"name": "m", "size": 1}]}', ("m",)),
        (b'{"models": [{"name": "models/m"}]}', ("m",)),
        (b'[{"id": "m"}]', ("m",)),
        (b'{"data": 1}', None),
        (b"{}", None),
        (b"<html>", None),
        (b"[" * 100_000, None),
    ],
)
async def test_lists_come_in_some_shapes(body, expected):
    """OpenAI's, Ollama's, Gemini's, Together's; anything else is none."""
    assert expected == listing.names(body)


@pytest.mark.parametrize(
    ("model", "expected"),
    [("qwen3:latest", True), ("qwen3", True), ("QWEN3", True), ("a/b:free", True), ("@preset/x", True), ("q", False)],
)
async def test_a_name_may_be_written_otherwise(model, expected):
    """Ollama's default tag, OpenRouter's variants."""
    assert expected is listing.has(("qwen3:latest", "a/b"), model)


async def test_a_long_list_is_told_by_those_that_look_like_the_name():
    """OpenRouter has hundreds."""
    many = [f"m{number}" for number in range(100)]

    shown = partial(listing.shown, [*many, "qwen3-coder"])

    assert ("qwen3-coder", True) == (shown("qwen3-code").split(",")[0], shown().endswith(" and 93 more"))
    assert "no model at all" == listing.shown([])
