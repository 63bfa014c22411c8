"""What may stand in a log and in an error message."""

import pytest

from acp_broker.core.redact import MAX_CHARS, plain

SECRETS = [
    "sk-ant-api03-AbCdEfGhIjKlMnOp",
    "sk-proj-abc********xyz",
    "AIzaSyA1234567890abcdefghijklmnopqrstuv",
    "ya29.a0AfH6SMBx-abcdefgh",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "AKIAIOSFODNN7EXAMPLE",
    "gsk_abcdefghijklmnopqrst0123",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "0123456789abcdef0123456789abcdef",
    "QmFzZTY0IGVuY29kZWQgc2VjcmV0IGtleSBtYXRlcmlhbA/+12==",
]

HARMLESS = [
    "request id req_011CSHoEeqs5C35K2UUqR7Fy",
    "session 123e4567-e89b-12d3-a456-426614174000",
    "cannot open /usr/local/lib/node_modules/@Vendor/Package2/dist/some/deep/path/index.js",
    "keys start with sk- and then some",
    "Bearer authentication is required",
    "unexpected token: identifier",
    "max_tokens: 40960000",
    "claude-sonnet-4-5-20250929",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_hidden_by_its_shape(secret: str) -> None:
    """Providers quote the key that they refuse."""
    assert plain(f"Incorrect API key provided: {secret}.") == "Incorrect API key provided: [redacted]."


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abcdef123456", "Authorization: Bearer [redacted]"),
        ("OPENAI_API_KEY=hunter2hunter2", "OPENAI_API_KEY=[redacted]"),
        ('{"access_token": "abc123abc123"}', '{"access_token": "[redacted]"}'),
        ("GET /v1?key=abcd1234efgh&alt=sse", "GET /v1?key=[redacted]&alt=sse"),
        ("http://me:pass@proxy:3128/", "http://[redacted]@proxy:3128/"),
    ],
)
def test_a_secret_is_hidden_by_its_place(text: str, shown: str) -> None:
    """Keys of issuers that we do not know stand in known places."""
    assert shown == plain(text)


@pytest.mark.parametrize("text", HARMLESS)
def test_what_helps_to_find_the_fault_stays(text: str) -> None:
    """Request ids, paths and model names are what support asks for."""
    assert text == plain(text)


def test_it_is_one_line() -> None:
    """A log has one line per failure."""
    assert plain(" a\r\n\tb\n\n c ") == "a b c"


def test_it_is_short() -> None:
    """Clients print it under the error."""
    assert plain("x" * 10_000) == "x" * (MAX_CHARS - 1) + "…"


def test_a_secret_at_the_cut_is_hidden_first() -> None:
    """Half a key is half a secret."""
    assert "sk-" not in plain("x " * 245 + "sk-ant-api03-AbCdEfGhIjKlMnOp")


def test_it_cannot_write_on_the_screen() -> None:
    """An agent's stderr holds colours; an attacker's holds more."""
    assert plain("\x1b[31mred\x1b[0m\x07 te\x9bxt") == "red text"


def test_half_a_character_is_replaced() -> None:
    """A lone surrogate cannot be written as JSON."""
    assert plain("a\ud800") == "a?"


@pytest.mark.parametrize("unit", ["a", "key=", "://a:", '"', "+", "Bearer ", "1", "aA1/", "-", "\x1b["])
def test_no_text_makes_it_slow(unit: str) -> None:
    """Read within bounds, each character a bounded number of times: this ends, and at once."""
    assert len(plain(unit * 200_000)) <= MAX_CHARS
