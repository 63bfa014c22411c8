"""Secrets in the keyring, through keyring's own interface for backends."""

import threading
import time

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends import fail
from keyring.errors import KeyringLocked

from acp_broker.auth import aside, secret_keyring
from acp_broker.auth.secret_keyring import NO_SERVICE, SecretKeyring
from acp_broker.auth.secrets import Secrets
from acp_broker.clock import SystemClock
from acp_broker.errors import Unresolved

pytestmark = pytest.mark.anyio


class Ring(KeyringBackend):
    """Holds one entry, or does what a test says."""

    priority = 1

    def __init__(self, does=None) -> None:
        super().__init__()
        self.does = does or (lambda: None)

    def get_password(self, service: str, username: str) -> str | None:
        self.does()
        return "s3cret" if (service, username) == ("acp-broker", "work") else None

    def set_password(self, service: str, username: str, password: str) -> None:
        raise NotImplementedError


@pytest.fixture
def ring():
    """Puts another keyring in the place of this machine's."""
    before = keyring.get_keyring()
    yield keyring.set_keyring
    keyring.set_keyring(before)


async def asked(name: str = "work", **members: object) -> str:
    async with Secrets(SystemClock()) as secrets:
        return await secrets.resolve(SecretKeyring("acp-broker", **members), name)


async def refused(*given: str, **members: object) -> tuple[str, bool]:
    with pytest.raises(Unresolved) as raised:
        await asked(*given, **members)
    return str(raised.value), raised.value.is_late


async def test_an_entry_is_the_secret(ring) -> None:
    """Of this service, under this name."""
    ring(Ring())

    assert "s3cret" == await asked()


async def test_an_entry_that_is_not_there_is_said(ring) -> None:
    """With the command that makes it."""
    ring(Ring())

    why = "the keyring has no entry 'other one' of service 'acp-broker': keyring set acp-broker 'other one'"
    assert (why, False) == await refused("other one")


async def test_where_there_is_no_keyring_another_place_is_named(ring) -> None:
    """A server or a container has none."""
    ring(fail.Keyring())

    assert (NO_SERVICE, False) == await refused()


def test_whether_there_is_one_is_found_without_asking_it(ring) -> None:
    """`config check` must not make it ask a person."""

    def never() -> None:
        raise AssertionError("asked")

    ring(Ring(never))
    secret_keyring.check()
    ring(fail.Keyring())
    with pytest.raises(Unresolved):
        secret_keyring.check()


async def test_a_keyring_that_is_locked_says_so(ring) -> None:
    """In its own words."""

    def locked() -> None:
        raise KeyringLocked("Failed to unlock the collection!")

    ring(Ring(locked))

    assert ("the keyring says: Failed to unlock the collection!", False) == await refused()


async def test_a_keyring_that_fails_in_its_own_way_is_told_by_the_name_of_it(ring) -> None:
    """Backends raise what their libraries do."""

    def fails() -> None:
        raise ConnectionResetError("s3cret")

    ring(Ring(fails))

    assert ("it failed with ConnectionResetError", False) == await refused()


async def test_a_keyring_that_hangs_is_left_behind(ring) -> None:
    """Neither the turn nor the exit waits for it: its thread is a daemon."""
    answered = threading.Event()
    ring(Ring(answered.wait))
    began = time.monotonic()
    why = await refused(limit_s=0.05)
    threads = [thread for thread in threading.enumerate() if thread.name == "secret"]
    answered.set()
    for thread in threads:
        thread.join()

    assert (("no answer within 0.05 s", True), [True]) == (why, [thread.daemon for thread in threads])
    assert time.monotonic() - began < 5


async def test_a_keyring_that_hangs_is_not_asked_for_ever(ring, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question that hangs holds a thread."""
    monkeypatch.setattr(aside, "MOST", 1)
    answered = threading.Event()
    ring(Ring(answered.wait))
    await refused(limit_s=0.05)
    why = await refused("other", limit_s=0.05)
    [hung] = [thread for thread in threading.enumerate() if thread.name == "secret"]
    answered.set()
    hung.join()

    assert ("1 earlier look-ups have not come back; what they ask hangs", True) == why
