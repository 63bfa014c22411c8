"""A free look at Vertex AI: what is asked, what its own refusals are taken for, and what is advised."""

import asyncio
import json
import socket

import pytest

from acp_broker.contract import Looked, Looks
from acp_broker.errors import BackendFailure
from backends.http.counting import WORD
from tests.support import apis
from tests.support.apis import CLAUDE_ON_VERTEX as CLAUDE
from tests.support.apis import GEMINI_ON_VERTEX as GEMINI
from tests.support.apis import Api
from tests.support.client import FakeTools
from tests.support.provider import Provider, provider
from tests.support.provider_failures.vertex import GEMINI_ON_VERTEX as GOOGLES

pytestmark = pytest.mark.anyio

TOKEN = "canary-token"
BOTH = pytest.mark.parametrize("api", [CLAUDE, GEMINI], ids=["claude", "gemini"])
GEMINI_9 = {"model": "gemini-9", "vertex": {"project": "p", "location": "us-central1"}}


@pytest.fixture
def tools() -> FakeTools:
    return apis.given(credential=TOKEN, is_token=True, environment={"GOOGLE_CLOUD_PROJECT": "p"})


async def look(api: Api, server: Provider, tools: FakeTools, **members: object) -> Looked:
    async with api.open(tools, baseUrl=server.url, **members) as backend:
        assert isinstance(backend, Looks)
        return await backend.look()


async def told(api: Api, tools: FakeTools, status: int, body: str, **members: object) -> Looked:
    """What comes of this answer."""
    kind = "text/html" if body.startswith("<") else "application/json"
    answer = {"do": "answer", "status": status, "type": kind, "body": body}
    async with api.played([[answer]], tools, **members) as (backend, _):
        assert isinstance(backend, Looks)
        return await backend.look()


@pytest.mark.parametrize(
    ("api", "members", "path", "body"),
    [
        (
            GEMINI,
            {"vertex": {"location": "europe-west1"}},
            "/v1/projects/p/locations/europe-west1/publishers/google/models/gemini-x:countTokens",
            {"contents": [{"role": "user", "parts": [{"text": WORD}]}]},
        ),
        (
            CLAUDE,
            {"location": "europe-west1", "body": {"anthropic_version": "2026-10-21", "metadata": {}}},
            "/v1/projects/p/locations/europe-west1/publishers/anthropic/models/count-tokens:rawPredict",
            {
                "anthropic_version": "2026-10-21",
                "model": "claude-x@20250929",
                "messages": [{"role": "user", "content": WORD}],
            },
        ),
    ],
    ids=["gemini", "claude"],
)
async def test_a_word_is_counted_as_a_turn_is_asked(tools, api, members, path, body):
    """One request, with the token, the project and the place of a turn, and none that costs anything."""
    async with api.played([[apis.whole({"totalTokens": 1, "input_tokens": 1})]], tools, **members) as (backend, server):
        found = await backend.look()
    (asked,) = server.requests

    assert (path, body, f"Bearer {TOKEN}") == (asked.path, json.loads(asked.body), asked.headers["authorization"])
    assert ((f"POST {server.url.removesuffix('/v1')}{path}",), None) == (found.asked, found.failure)
    assert f"counts tokens of {api.config().model} at europe-west1, in project p" == found.says


async def test_an_api_key_is_of_a_project_that_is_not_named(tools):
    """Express mode."""
    given = apis.given(credential="key")
    async with GEMINI.played([[apis.whole({"totalTokens": 1})]], given) as (backend, server):
        found = await backend.look()

    assert "/v1/publishers/google/models/gemini-x:countTokens" == server.requests[0].path
    assert "counts tokens of gemini-x at global" == found.says


# Those of Google's front, as a server sends them.
REFUSALS = [case for case in GOOGLES.cases if not case.answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 499"))]
ADVICE = {
    "401, token expired": "",
    "403, the API is not enabled": "gcloud services enable aiplatform.googleapis.com --project p",
    "403, no such project, or not ours": "look whether p is the project's id",
    "403, the quota of that project is not ours to use": "gcloud auth application-default set-quota-project",
    "403, PERMISSION_DENIED to a model": "have roles/aiplatform.user granted in p",
    "403, billing is not enabled": "enable billing for p",
    "404, Publisher Model": "look in the Model Garden how `model` is written, whether us-central1 serves it",
    "400, FAILED_PRECONDITION, the region does not serve the model": "whether us-central1 serves it",
    "400, FAILED_PRECONDITION, the project may not use the model": "whether its terms are accepted in p",
}


@pytest.mark.parametrize("case", REFUSALS, ids=[case.what for case in REFUSALS])
async def test_what_google_refuses_is_what_a_turn_would_fail_by(tools, case):
    """But for what may be said of counting alone; and with what to do at Google's."""
    head, _, body = case.answer.partition(b"\r\n\r\n")
    found = await told(GEMINI, tools, int(head.split()[1]), body.decode(), **GEMINI_9)

    is_of_counting = case.expected in ("bad_request", "context_overflow")
    expected = None if is_of_counting else case.expected
    assert (expected, is_of_counting) == (
        found.failure.kind.value if found.failure is not None else None,
        found.says.startswith("does not count tokens of gemini-9; "),
    )
    assert ADVICE.get(case.what, "") in found.fix
    assert (case.what in ADVICE) <= (bool(found.fix) == bool(ADVICE.get(case.what)))


async def test_a_right_that_is_missing_is_named_where_google_names_no_model(tools):
    """It refuses a whole project so."""
    text = "Permission 'aiplatform.endpoints.predict' denied on resource (or it may not exist)."
    found = await told(CLAUDE, tools, 403, json.dumps({"error": {"status": "PERMISSION_DENIED", "message": text}}))

    assert ("auth_rejected", True) == (found.failure.kind.value, "roles/aiplatform.user" in found.fix)


@BOTH
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, "<html><title>Error 404 (Not Found)!!1</title></html>"),
        (
            404,
            '{"error": {"code": 404, "message": "Publisher Model `publishers/x/models/count-tokens` was not found"}}',
        ),
        (405, "{}"),
        (501, "{}"),
        (400, '{"error": {"code": 400, "message": "countTokens is infeasible", "status": "INVALID_ARGUMENT"}}'),
        (200, "{}"),
        (200, '"counted"'),
    ],
)
async def test_where_nothing_is_counted_a_turn_may_be_answered(tools, api, status, body):
    """A gateway need not count; nor does Google in each place, or each model."""
    found = await told(api, tools, status, body)

    assert (None, True, True) == (found.failure, "does not count" in found.says, "--turn" in found.says)


@pytest.mark.parametrize(("name", "is_missing"), [("claude-x", True), ("count-tokens", False)])
async def test_a_model_of_claude_that_is_not_there_is_told_from_an_address_that_is_not(tools, name, is_missing):
    """Both are not found at one address."""
    error = {"type": "error", "error": {"type": "not_found_error", "message": f"model: {name}"}}
    found = await told(CLAUDE, tools, 404, json.dumps(error))

    assert is_missing == (found.failure is not None)


@BOTH
@pytest.mark.parametrize(
    ("fault", "expected"),
    [("garbage", "garbled"), ("refused", "unreachable"), ("reset-headers", "unreachable"), ("500", "server_error")],
)
async def test_what_fails_a_turn_on_its_way_fails_the_look(tools, api, fault, expected):
    """By the same names."""
    async with provider(fault=fault) as server:
        server.lists_fail = True
        found = await look(api, server, tools)

    assert (expected, True) == (found.failure.kind.value, bool(found.fix))


async def test_a_right_that_claude_needs_is_missing_at_the_address_that_counts(tools):
    """Google names that, and a turn is refused for the same."""
    resource = "//aiplatform.googleapis.com/projects/p/locations/global/publishers/anthropic/models/count-tokens"
    text = f"Permission 'aiplatform.endpoints.predict' denied on resource '{resource}' (or it may not exist)."
    found = await told(CLAUDE, tools, 403, json.dumps([{"error": {"status": "PERMISSION_DENIED", "message": text}}]))

    assert ("model_not_found", True) == (found.failure.kind.value, "roles/aiplatform.user" in found.fix)


@BOTH
async def test_a_location_that_is_no_host_may_be_written_wrong(tools, api, monkeypatch):
    """Each has one of its own."""

    async def looked_up(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "as the system says it")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", looked_up)
    place = {"location": "europe-west0", "project": "p"}
    async with api.open(tools, **(place if api is CLAUDE else {"vertex": place})) as backend:
        found = await backend.look()

    assert "europe-west0-aiplatform.googleapis.com is the name of no host" in found.failure.text
    assert "look whether this machine is online, and `location` is written right" == found.fix


@BOTH
async def test_no_models_are_listed(tools, api):
    """What Google lists, a project may not have."""
    async with api.open(tools, baseUrl="http://127.0.0.1:9") as backend:
        with pytest.raises(BackendFailure, match="lists no models"):
            await backend.models()
