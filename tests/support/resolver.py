"""A name server that does not answer, as this process meets it."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

import pytest

from tests.support.client import DEADLINE_S

_FOUND = socket.getaddrinfo


class Resolver:
    """Finds every name at once but `slow`, for which it waits until `answers` is set. `over`: how often it has."""

    def __init__(self) -> None:
        self.answers = Event()
        self.over = 0

    def __call__(self, host, *args, **more):
        if more.get("flags", 0) & socket.AI_NUMERICHOST:  # no name is looked up
            return _FOUND(host, *args, **more)
        if host in (b"slow", "slow"):
            self.answers.wait(DEADLINE_S)
            self.over += 1
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))]


@contextmanager
def resolving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    """Every name is asked of this one; nothing waits for it behind the block."""
    found = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", found)
    try:
        yield found
    finally:
        found.answers.set()
