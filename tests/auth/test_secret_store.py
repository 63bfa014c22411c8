"""The file that stands in for a keyring: what it keeps, and what it does not trust."""

from pathlib import Path

import pytest

from acp_broker.auth.secret_store import SecretStore
from acp_broker.errors import StoreError


@pytest.fixture
def store(tmp_path: Path) -> SecretStore:
    return SecretStore(tmp_path / "auth" / "secrets.json")


def test_what_is_put_is_there(store: SecretStore) -> None:
    """By service and name, as in a keyring; the last one holds."""
    store.put("a", "x", "1")
    store.put("b", "x", "2")
    store.put("a", "x", "3 \N{SNOWMAN}")

    assert ("3 \N{SNOWMAN}", "2", None) == (store.get("a", "x"), store.get("b", "x"), store.get("a", "y"))


def test_what_is_removed_is_gone(store: SecretStore) -> None:
    """And nothing else."""
    store.put("a", "x", "1")
    store.put("a", "y", "2")
    removed = [store.remove("a", "x"), store.remove("a", "x"), store.remove("b", "x")]

    assert ([True, False, False], None, "2") == (removed, store.get("a", "x"), store.get("a", "y"))
    assert b"1" not in store.path.read_bytes()


def test_an_empty_machine_has_none(store: SecretStore) -> None:
    """And nothing is made by looking."""
    assert (None, False) == (store.get("a", "x"), store.path.parent.exists())


def test_nobody_else_can_read_it(store: SecretStore) -> None:
    """Whatever the umask."""
    store.put("a", "x", "s3cret")

    assert (0o600, 0o700) == (store.path.stat().st_mode & 0o777, store.path.parent.stat().st_mode & 0o777)


def test_what_others_can_read_is_not_used(store: SecretStore) -> None:
    """It may have been read."""
    store.put("a", "x", "s3cret")
    store.path.chmod(0o640)
    with pytest.raises(StoreError) as raised:
        store.get("a", "x")

    why = f"others can read or write {store.path} (mode 0640): chmod 600 {store.path}"
    assert why == str(raised.value)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"a": 1}', b"\xff", b"[" * 100_000, b'{"a": {"x": null}}'])
def test_any_other_file_is_left_alone(store: SecretStore, data: bytes) -> None:
    """It is somebody's; writing over it would lose what is in it."""
    store.put("a", "x", "s3cret")
    store.path.write_bytes(data)
    for act in (lambda: store.get("a", "x"), lambda: store.put("a", "x", "1"), lambda: store.remove("a", "x")):
        with pytest.raises(StoreError, match="holds no secrets of ours, or half of them; move it away"):
            act()

    assert data == store.path.read_bytes()
