"""What config.json may say of every backend that asks over HTTP, and what would only fail with the first turn."""

import msgspec
import pytest

from backends.http.turn import Order
from tests.support import apis
from tests.support.apis import BY_KIND, Api

EACH = pytest.mark.parametrize("api", BY_KIND.values(), ids=BY_KIND)


def settings(api: Api, **members: object):
    return api.config(**{"baseUrl": "http://host/v1", **members})


@EACH
@pytest.mark.parametrize(
    "address",
    [
        "host",
        "ftp://host",
        "http://host:99999/v1",
        "http://host:abc",
        "http://host:0",
        "http://[::1",
        "http://ho st",
        "http://host/v1\n",
        " http://host",
        "http://:80",
        "http://host/v1#x",
    ],
)
def test_an_address_that_cannot_be_asked_is_a_problem_of_the_file(api, address):
    """Else each turn would find it out."""
    with pytest.raises(msgspec.ValidationError, match="expected an address such as"):
        settings(api, baseUrl=address)


@EACH
@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("https://gateway.example/v1/chat/completions", "leave out /chat/completions"),
        ("https://gateway.example/v1/messages/", "leave out /messages"),
        ("https://res.openai.azure.com/openai/deployments/d?api-version=2024-10-21", "needs no api-version"),
        ("https://RESOURCE.openai.azure.com/openai/v1", "in place of RESOURCE"),
        ("https://me:secret@gateway.example/v1", "has a password in it"),
    ],
)
def test_an_address_that_is_copied_from_elsewhere_is_told_what_to_leave_out(api, address, said):
    """Documentation of other programs has it in one piece."""
    with pytest.raises(msgspec.ValidationError, match=f"`baseUrl`: .*{said}") as caught:
        settings(api, baseUrl=address)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("host", ["gateway.example", "gateway.example.:8080", "8.8.8.8", "[2001:4860:4860::8888]"])
def test_a_key_is_not_sent_in_the_clear_to_a_public_host(host):
    """Whoever is on the way would have it."""
    with pytest.raises(msgspec.ValidationError, match="`baseUrl`: would send the key in the clear"):
        settings(apis.CHAT, baseUrl=f"http://{host}/v1", auth="work")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:1234", "localhost", "gpu", "gpu.lan:1234", "10.0.0.5", "192.168.1.5:1234", "100.64.0.9", "[::1]"],
)
def test_a_key_may_go_to_a_server_of_ones_own_network(host):
    """Few of them have a certificate."""
    assert f"http://{host}/v1" == settings(apis.CHAT, baseUrl=f"http://{host}/v1", auth="work").url


def test_without_a_key_a_public_host_may_be_asked_in_the_clear():
    """There is no secret to lose."""
    assert settings(apis.CHAT, baseUrl="http://gateway.example/v1").auth is None


@pytest.mark.parametrize("model", ["", " ", "m ", " m"])
@EACH
def test_a_model_without_a_name_is_a_problem_of_the_file(api, model):
    """No provider has one that is called so."""
    with pytest.raises(msgspec.ValidationError, match="`model`: expected a model's name"):
        settings(api, model=model)


def test_an_address_at_azure_has_a_path():
    """Without it nothing is found there."""
    with pytest.raises(msgspec.ValidationError, match="`baseUrl`: its path is missing"):
        settings(apis.CHAT, preset="azure", baseUrl="https://res.openai.azure.com/")


@pytest.mark.parametrize(
    "address", ["HTTPS://API.Openai.com/v1", "https://api.openai.com:443/v1/", "https://api.openai.com/v1//"]
)
def test_an_address_is_the_same_however_it_is_written(address):
    """A provider that is not known for who it is fails together with itself."""
    found = settings(apis.CHAT, baseUrl=address)

    assert ("https://api.openai.com/v1", "openai") == (found.url, found.provider)


@pytest.mark.parametrize(
    ("kind", "host"), [("anthropic", "API.Anthropic.com"), ("gemini", "GenerativeLanguage.googleapis.com")]
)
def test_a_provider_asks_for_its_key_however_it_is_written(kind, host):
    """It is not asked without one."""
    assert settings(BY_KIND[kind], baseUrl=f"https://{host}:443/v1").needs_key


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("x title", "a", "no header's name"),
        ("", "a", "no header's name"),
        ("x:y", "a", "no header's name"),
        ("x-title", "Zo\u00eb", "more than plain letters"),
        ("x-title", "a\r\nx-more: b", "more than plain letters"),
        ("x-title", " a", "more than plain letters"),
        ("Content-Length", "5", "the broker writes it"),
        ("transfer-encoding", "chunked", "the broker writes it"),
        ("Authorization", "Bearer hello", "`headers.Authorization`: the broker writes it, with the key of the profile"),
        ("x-api-key", "hello", "the broker writes it, with the key of the profile"),
        ("x-team", "${TEAM}", "`headers.x-team`: is sent as it stands here"),
    ],
)
@EACH
def test_a_header_that_cannot_be_sent_is_a_problem_of_the_file(api, name, value, said):
    """It was an error of the broker's own, or a host that was said not to answer."""
    with pytest.raises(msgspec.ValidationError, match=said):
        settings(api, headers={name: value})


def test_a_header_may_be_whatever_others_understand():
    """RFC 9110, 5.6.2."""
    sent = {"HTTP-Referer": "https://example.org/~a?b=c", "x_y.z": ""}

    assert sent == settings(apis.CHAT, headers=sent).headers


def test_an_order_shows_no_key():
    """What has no repr of its own ends in a log one day."""
    assert "Order(http://host)" == repr(Order("http://host", {"authorization": "Bearer secret"}, b"", 1, 1))
