"""Secrets in the keyring, through keyring's own interface for backends."""

import threading
import time
from pathlib import Path

import keyring
import pytest
from keyring.backends import fail, null
from keyring.errors import KeyringLocked

from acp_broker.auth import aside
from acp_broker.auth.secret_keyring import SecretKeyring
from acp_broker.auth.secret_store import SecretStore
from acp_broker.auth.secrets import Secrets
from acp_broker.clock import SystemClock
from acp_broker.errors import Unresolved
from tests.support.ring import Ring

pytestmark = pytest.mark.anyio


@pytest.fixture
def ring():
    """Puts another keyring in the place of this machine's."""
    before = keyring.get_keyring()
    yield keyring.set_keyring
    keyring.set_keyring(before)


@pytest.fixture
def store(tmp_path: Path) -> SecretStore:
    return SecretStore(tmp_path / "auth" / "secrets.json")


@pytest.fixture
def asked(store: SecretStore):
    async def asked(name: str = "work", **members: object) -> str:
        async with Secrets(SystemClock()) as secrets:
            return await secrets.resolve(SecretKeyring("acp-broker", store, **members), name)

    return asked


@pytest.fixture
def refused(asked):
    async def refused(*given: str, **members: object) -> tuple[str, bool]:
        with pytest.raises(Unresolved) as raised:
            await asked(*given, **members)
        return str(raised.value), raised.value.is_late

    return refused


async def test_an_entry_is_the_secret(ring, asked) -> None:
    """Of this service, under this name."""
    ring(Ring())

    assert "s3cret" == await asked()


async def test_an_entry_that_is_not_there_is_said(ring, refused) -> None:
    """With the command that makes it."""
    ring(Ring())

    why = "the keyring has no entry 'other one' of service 'acp-broker' (acp-broker auth set)"
    assert (why, False) == await refused("other one")


@pytest.mark.parametrize("none", [fail.Keyring, null.Keyring])
async def test_where_there_is_no_keyring_a_file_is_named(ring, refused, store: SecretStore, none) -> None:
    """A server or a container has none, and some people have switched theirs off."""
    ring(none())

    why = f"no keyring service is here, and {store.path} has no entry 'work' of service 'acp-broker'"
    assert (f"{why} (acp-broker auth set)", False) == await refused()


async def test_what_was_set_where_there_is_no_keyring_is_found(ring, asked, store: SecretStore) -> None:
    """And by nobody else on this machine."""
    ring(fail.Keyring())
    kept_in_keyring = SecretKeyring("acp-broker", store).put("work", "from the file")

    assert (False, "from the file", 0o600) == (kept_in_keyring, await asked(), store.path.stat().st_mode & 0o777)


async def test_what_was_set_is_found_once_there_is_a_keyring(ring, asked, store: SecretStore) -> None:
    """A desktop was installed meanwhile."""
    store.put("acp-broker", "other", "from the file")
    ring(Ring())

    assert ("s3cret", "from the file") == (await asked(), await asked("other"))


def test_a_secret_is_set_in_the_keyring_where_there_is_one(ring, store: SecretStore) -> None:
    """There alone: one day the two would differ."""
    store.put("acp-broker", "work", "old")
    store.put("acp-broker", "other", "stays")
    ring(there := Ring())
    kept_in_keyring = SecretKeyring("acp-broker", store).put("work", "new")

    assert (True, "new") == (kept_in_keyring, there.entries["acp-broker", "work"])
    assert (None, "stays") == (store.get("acp-broker", "work"), store.get("acp-broker", "other"))


@pytest.mark.parametrize("rings", [Ring, fail.Keyring])
def test_a_secret_is_removed_wherever_it_is(ring, store: SecretStore, rings) -> None:
    """Both, where it is in both; a second time there is nothing left."""
    store.put("acp-broker", "work", "old")
    ring(rings())
    place = SecretKeyring("acp-broker", store)
    removed = [place.remove("work"), place.remove("work")]

    with pytest.raises(Unresolved):
        place.get("work")
    assert [True, False] == removed


def test_whether_there_is_one_is_found_without_asking_it(ring, store: SecretStore) -> None:
    """`config check` must not make it ask a person."""

    def never() -> None:
        raise AssertionError("asked")

    place = SecretKeyring("acp-broker", store)
    ring(Ring(never))
    place.check("work")
    ring(fail.Keyring())
    with pytest.raises(Unresolved):
        place.check("work")
    place.put("work", "s3cret")
    place.check("work")


def test_a_keyring_that_takes_nothing_says_so(ring, store: SecretStore) -> None:
    """In the file it would be where nobody expects it."""

    def locked() -> None:
        raise KeyringLocked("Failed to unlock the collection!")

    ring(Ring(locked))
    with pytest.raises(Unresolved) as raised:
        SecretKeyring("acp-broker", store).put("work", "s3cret")

    assert ("the keyring says: Failed to unlock the collection!", False) == (str(raised.value), store.path.exists())


async def test_a_keyring_that_is_locked_says_so(ring, refused) -> None:
    """In its own words."""

    def locked() -> None:
        raise KeyringLocked("Failed to unlock the collection!")

    ring(Ring(locked))

    assert ("the keyring says: Failed to unlock the collection!", False) == await refused()


async def test_a_keyring_that_fails_in_its_own_way_is_told_by_the_name_of_it(ring, refused) -> None:
    """Backends raise what their libraries do."""

    def fails() -> None:
        raise ConnectionResetError("s3cret")

    ring(Ring(fails))

    assert ("it failed with ConnectionResetError", False) == await refused()


async def test_a_keyring_that_hangs_is_left_behind(ring, refused) -> None:
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


async def test_a_keyring_that_hangs_is_not_asked_for_ever(ring, refused, monkeypatch: pytest.MonkeyPatch) -> None:
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
