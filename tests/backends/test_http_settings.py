"""What config.json may say of every backend that asks over HTTP, and what would only fail with the first turn."""

from types import ModuleType

import msgspec
import pytest

from backends import anthropic, gemini, openai
from backends.http.turn import Order

KINDS = [openai, anthropic, gemini]


def settings(kind: ModuleType, **members: object):
    tag = kind.config.__struct_config__.tag
    return msgspec.convert({"kind": tag, "model": "m", "baseUrl": "http://host/v1", **members}, kind.config)


@pytest.mark.parametrize("kind", KINDS)
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
        "http://host/v1?key=x",
        "http://host/v1#x",
    ],
)
def test_an_address_that_cannot_be_asked_is_a_problem_of_the_file(kind, address):
    """Else each turn would find it out."""
    with pytest.raises(msgspec.ValidationError, match="expected an address such as"):
        settings(kind, baseUrl=address)


@pytest.mark.parametrize(
    "address", ["HTTPS://API.Openai.com/v1", "https://api.openai.com:443/v1/", "https://api.openai.com/v1//"]
)
def test_an_address_is_the_same_however_it_is_written(address):
    """A provider that is not known for who it is fails together with itself."""
    found = settings(openai, baseUrl=address)

    assert ("https://api.openai.com/v1", "openai") == (found.url, found.provider)


@pytest.mark.parametrize(
    ("kind", "host"), [(anthropic, "API.Anthropic.com"), (gemini, "GenerativeLanguage.googleapis.com")]
)
def test_a_provider_asks_for_its_key_however_it_is_written(kind, host):
    """It is not asked without one."""
    assert settings(kind, baseUrl=f"https://{host}:443/v1").needs_key


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
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_header_that_cannot_be_sent_is_a_problem_of_the_file(kind, name, value, said):
    """It was an error of the broker's own, or a host that was said not to answer."""
    with pytest.raises(msgspec.ValidationError, match=said):
        settings(kind, headers={name: value})


def test_a_header_may_be_whatever_others_understand():
    """RFC 9110, 5.6.2."""
    sent = {"HTTP-Referer": "https://example.org/~a?b=c", "x_y.z": ""}

    assert sent == settings(openai, headers=sent).headers


def test_an_order_shows_no_key():
    """What has no repr of its own ends in a log one day."""
    assert "Order(http://host)" == repr(Order("http://host", {"authorization": "Bearer secret"}, b"", 1, 1))
