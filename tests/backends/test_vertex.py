"""Claude and Gemini on Vertex AI: where they are asked, in whose project, and as whom."""

import msgspec
import pytest

from acp_broker.core.failures import FailureKind
from acp_broker.core.names import ProjectId, Projects
from backends.http.vertex import quota
from tests.backends.contract import ApiContract
from tests.support import apis
from tests.support.apis import WORDS, Api
from tests.support.client import FakeClient, FakeTools
from tests.support.provider.wire import Request

pytestmark = pytest.mark.anyio

TOKEN = "ya29.0123456789"
CLAUDE, GEMINI = apis.CLAUDE_ON_VERTEX, apis.GEMINI_ON_VERTEX


def tools(**members) -> FakeTools:
    return apis.given(**{"credential": TOKEN, "is_token": True, **members})


async def asked(api: Api, given: FakeTools | None = None, **members: object) -> Request:
    """The request of one turn."""
    _, request = await api.run(given or tools(), FakeClient(), WORDS, **members)
    return request


class TestClaude(ApiContract):
    api = CLAUDE._replace(entry={**CLAUDE.entry, "project": "p"})


class TestGemini(ApiContract):
    api = GEMINI._replace(entry={**GEMINI.entry, "vertex": {"project": "p"}})


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ({}, "https://aiplatform.googleapis.com"),
        ({"location": "global"}, "https://aiplatform.googleapis.com"),
        ({"location": "us"}, "https://aiplatform.us.rep.googleapis.com"),
        ({"location": "eu"}, "https://aiplatform.eu.rep.googleapis.com"),
        ({"location": "europe-west1"}, "https://europe-west1-aiplatform.googleapis.com"),
    ],
)
def test_a_location_is_a_host(location, expected):
    """As Anthropic's and Google's own clients have it."""
    assert (expected, expected) == (CLAUDE.config(**location).url, GEMINI.config(vertex=location).url)


@pytest.mark.parametrize("location", ["", "eu.evil.example/", "Europe", "a@b"])
def test_a_location_is_part_of_a_name(location):
    """The token goes to the host that it makes."""
    with pytest.raises(msgspec.ValidationError):
        CLAUDE.config(location=location)
    with pytest.raises(msgspec.ValidationError):
        GEMINI.config(vertex={"location": location})


async def test_config_may_ask_for_another_version_of_claudes_api():
    """Anthropic's own client sends a newer one since 2.0, and which one Vertex will want is not ours to know."""
    request = await asked(CLAUDE, project="p", body={"anthropic_version": "2026-10-21"})

    assert "2026-10-21" == msgspec.json.decode(request.body)["anthropic_version"]


async def test_claude_is_asked_with_the_model_in_the_address():
    """As Anthropic's client up to 1.17 does: the body has no model, and a version of its own."""
    request = await asked(CLAUDE, project="p", location="us-east5", system="Be brief.", maxTokens=5)

    assert "/v1/projects/p/locations/us-east5/publishers/anthropic/models/claude-x@20250929:streamRawPredict" == (
        request.path
    )
    assert {
        "anthropic_version": "vertex-2023-10-16",
        "max_tokens": 5,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
        "stream": True,
        "system": "Be brief.",
    } == msgspec.json.decode(request.body)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gemini-x", "publishers/google/models/gemini-x"),
        ("publishers/meta/models/llama", "publishers/meta/models/llama"),
        ("endpoints/123", "endpoints/123"),
    ],
)
async def test_gemini_is_asked_as_googles_client_asks(model, expected):
    """Told to use v1: with a project and a place before the model; a tuned one is an endpoint."""
    request = await asked(GEMINI, model=model, vertex={"project": "p", "location": "eu"})

    assert (f"/v1/projects/p/locations/eu/{expected}:streamGenerateContent", "alt=sse") == (request.path, request.query)


@pytest.mark.parametrize("api", [CLAUDE, GEMINI], ids=["claude", "gemini"])
class TestCredentials:
    """Whichever model it is."""

    async def test_a_token_and_the_project_that_pays_are_headers(self, api):
        """Without the second Google asks the project that the login's client belongs to."""
        projects = Projects(ProjectId("mine"), ProjectId("payer"))
        request = await asked(api, tools(projects=projects))

        assert (f"Bearer {TOKEN}", "payer") == (
            request.headers["authorization"],
            request.headers["x-goog-user-project"],
        )

    async def test_nobody_pays_who_was_not_named(self, api):
        """Google refuses an empty one."""
        request = await asked(api, tools(projects=Projects(ProjectId("mine"))))

        assert "x-goog-user-project" not in request.headers

    @pytest.mark.parametrize(
        ("projects", "environment", "expected"),
        [
            (Projects(ProjectId("of-file")), {"GOOGLE_CLOUD_PROJECT": "of-shell"}, "of-file"),
            (Projects(), {"GOOGLE_CLOUD_PROJECT": "of-shell"}, "of-shell"),
            (Projects(ProjectId("example.com:old")), {}, "example.com:old"),
            (Projects(ProjectId("a/../b")), {}, "a%2F..%2Fb"),
        ],
    )
    async def test_the_project_is_that_of_the_credentials(self, api, projects, environment, expected):
        """Else of the environment: a token of another kind of profile knows of none."""
        request = await asked(api, tools(projects=projects, environment=environment))

        assert request.path.startswith(f"/v1/projects/{expected}/locations/global/")

    async def test_without_a_project_the_next_backend_answers(self, api):
        """And the log says three ways to name one."""
        found = await api.refusal(tools())

        assert FailureKind.UNSUPPORTED == found.kind
        assert all(fix in found.text for fix in ("`project`", "GOOGLE_CLOUD_PROJECT", "set-quota-project"))

    async def test_nobody_is_asked_without_credentials(self, api):
        """Nobody waits for a refusal that is certain."""
        found = await api.refusal(tools(credential=None, is_token=False))

        assert FailureKind.AUTH_MISSING == found.kind

    def test_a_profile_is_named_or_a_gateway(self, api):
        """Told before anybody is called, with what to do."""
        others = [api.config(**members) for members in ({"auth": "g"}, {"baseUrl": "http://gateway"})]

        assert "profile of type `google`" in api.kind.check(api.config(), {})
        assert [None, None] == [api.kind.check(one, {}) for one in others]


async def test_claude_takes_no_api_key():
    """Vertex would answer 401 at each turn, and say less."""
    found = await CLAUDE.refusal(tools(is_token=False), project="p")

    assert (FailureKind.AUTH_MISSING, True) == (found.kind, "type `google`" in found.text)


@pytest.mark.parametrize(
    ("vertex", "expected"),
    [({}, "/v1/publishers/google/models/gemini-x"), ({"project": "p"}, "/v1/projects/p/locations/global/publishers/")],
)
async def test_gemini_takes_an_api_key(vertex, expected):
    """Vertex in express mode: the key is of a project, and config alone may name another."""
    given = tools(is_token=False, environment={"GOOGLE_CLOUD_PROJECT": "of-shell"})
    request = await asked(GEMINI, given, vertex=vertex)

    assert (TOKEN, False) == (request.headers["x-goog-api-key"], "authorization" in request.headers)
    assert request.path.startswith(expected)


def test_a_project_is_fit_for_a_header():
    """It is read from a file that anybody may have written."""
    named = tools(projects=Projects(quota=ProjectId("p:x\u00e9\n")))

    assert {"x-goog-user-project": "p:x%C3%A9%0A"} == quota(named)
