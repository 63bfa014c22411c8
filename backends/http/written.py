"""Addresses and headers as people write them into config.json, and what is wrong with those that cannot be asked.

A finding begins with the key that it is about, which makes it part of the problem's path.
"""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
PORTS: Mapping[str | None, int] = {"http": 80, "https": 443}
# What the broker puts behind an address by itself.
_ENDPOINTS = ("/chat/completions", "/completions", "/responses", "/messages")
# Names that no public server has.
_PRIVATE = (
    ".local",
    ".localhost",
    ".internal",
    ".lan",
    ".home",
    ".arpa",
    ".corp",
    ".intranet",
    ".svc",
    ".test",
    ".ts.net",
)
# RFC 9110, 5.6.2: what a header is called.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
# By these a server finds the end of a request.
_FRAMING = frozenset({"content-length", "transfer-encoding"})
_KEYS = frozenset({"authorization", "api-key", "x-api-key", "x-goog-api-key"})


def split(url: str) -> SplitResult | None:
    """None for what is no address: a port that is none, a blank."""
    try:
        parts = urlsplit(url)
        is_whole = parts.port != 0 and not any(letter.isspace() for letter in url)
    except ValueError:
        return None
    return parts if is_whole else None


def check_address(url: str, *, has_key: bool) -> None:
    """Raises ValueError for a `baseUrl` that cannot be asked, or that a key must not be sent to."""
    parts = split(url)
    if parts is not None and (parts.username is not None or parts.password is not None):
        raise _wrong("has a password in it: keep the key in a profile, and name that in `auth`")
    if parts is not None and parts.query:
        raise _wrong(
            "leave out what begins with `?`: a key is kept in a profile, and Azure's /openai/v1 needs no api-version"
        )
    if parts is None or parts.scheme not in PORTS or not parts.hostname or parts.fragment:
        raise _wrong(f"expected an address such as https://host/v1, got {url!r}")
    if "RESOURCE" in parts.netloc:
        raise _wrong("write the name of your own resource in place of RESOURCE")
    for endpoint in _ENDPOINTS:
        if parts.path.rstrip("/").endswith(endpoint):
            raise _wrong(f"leave out {endpoint}: the broker writes that itself")
    if has_key and parts.scheme == "http" and _is_public(parts.hostname):
        raise _wrong("would send the key in the clear: write `https://`, or end a tunnel on this machine")


def check_header(name: str, value: str) -> None:
    """Raises ValueError for one that cannot be sent, that the broker writes, or that is meant to hold a key."""
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"`headers`: {name!r} can be no header's name")
    if name.lower() in _FRAMING:
        raise ValueError(f"`headers.{name}`: the broker writes it")
    if name.lower() in _KEYS:
        raise ValueError(f"`headers.{name}`: the broker writes it, with the key of the profile that `auth` names")
    if "${" in value:
        raise ValueError(f"`headers.{name}`: is sent as it stands here: references are for auth.profiles")
    if not value.isascii() or not value.isprintable() or value != value.strip():
        raise ValueError(f"`headers.{name}`: holds more than plain letters: no line break, no accent")


def _wrong(finding: str) -> ValueError:
    return ValueError(f"`baseUrl`: {finding}")


def _is_public(host: str) -> bool:
    """Whether others than the owner of this network can read what is sent there."""
    try:
        return ip_address(host).is_global
    except ValueError:
        return "." in host.rstrip(".") and not host.rstrip(".").endswith(_PRIVATE)
