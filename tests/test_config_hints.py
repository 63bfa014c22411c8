"""What config.json answers to names that other programs have, with the kinds that there are."""

from pathlib import Path

import pytest

from acp_broker.app.kinds import kinds
from acp_broker.config import load
from acp_broker.errors import ConfigError, Problem
from tests.support.config import write

ROUTER = {"kind": "openai", "preset": "openrouter", "model": "m"}


def problems(folder: Path, backend: object, **sections: object) -> list[Problem]:
    content = {"acp": {"backend": "b"}, "backends": {"b": backend}, **sections}
    with pytest.raises(ConfigError) as caught:
        load(kinds(), path=write(folder, content), environ={"HOME": "/home/u"})
    return list(caught.value.problems)


@pytest.mark.parametrize("name", ["openrouter", "ollama", "LMStudio"])
def test_a_preset_that_is_written_as_a_kind_is_shown_its_place(tmp_path, name):
    """Other programs call it a provider, and have one for each."""
    found = f'write "kind": "openai", "preset": "{name.lower()}"'

    assert [Problem("backends.b.kind", f'no kind is called "{name}"; {found}')] == problems(tmp_path, {"kind": name})


@pytest.mark.parametrize("key", ["apiKey", "api_key", "key", "token"])
def test_who_writes_a_key_into_a_backend_is_sent_to_auth(tmp_path, key):
    """`did you mean "api"?` helps nobody."""
    found = 'there is no such key; a key is kept in auth.profiles; name it: "auth": "PROFILE"'

    assert [Problem(f"backends.b.{key}", found)] == problems(tmp_path, {**ROUTER, key: "hello"})


@pytest.mark.parametrize("key", ["url", "endpoint", "api_base"])
def test_an_address_under_another_name_is_known(tmp_path, key):
    """Every client calls it something else."""
    found = 'there is no such key; did you mean "baseUrl"?'

    assert [Problem(f"backends.b.{key}", found)] == problems(tmp_path, {**ROUTER, key: "https://host/v1"})


def test_a_member_of_the_providers_own_is_sent_to_the_body(tmp_path):
    """It stands beside the model in every example of a request."""
    (problem,) = problems(tmp_path, {**ROUTER, "temperature": 0.2})

    assert problem.finding.endswith('; what its provider alone knows goes into "body"')


def test_a_limit_of_backends_alone_is_not_taken_for_another(tmp_path):
    """`did you mean "connections"?` misleads."""
    found = "there is no such key; it is one of the `limits` of a backend"

    assert [Problem("limits.connectMs", found)] == problems(tmp_path, ROUTER, limits={"connectMs": 1})


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"baseUrl": "https://host/v1/chat/completions"}, "backends.b.baseUrl"),
        ({"headers": {"X-Api-Key": "hello"}}, "backends.b.headers.X-Api-Key"),
        ({"body": {"stream": False}}, "backends.b.body.stream"),
        ({"model": ""}, "backends.b.model"),
    ],
)
def test_what_a_kind_finds_out_by_itself_names_the_key_too(tmp_path, members, path):
    """A backend may have twenty of them."""
    assert [path] == [problem.path for problem in problems(tmp_path, {**ROUTER, **members})]
