"""Secrets in the keyring of the operating system, or in a file of ours on a machine that has none.

A keyring is asked in a thread: its service may hang, or ask a person.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from msgspec import Struct

from acp_broker.auth.aside import aside
from acp_broker.auth.secret_store import SecretStore
from acp_broker.auth.secrets import KEPT_S
from acp_broker.core.redact import plain
from acp_broker.errors import StoreError, Unresolved

# Of which profile, is for whoever knows it to say.
SET = " (acp-broker auth set)"


class SecretKeyring(Struct, frozen=True):
    """The entries of one service; `store` has those that were set while there was no keyring.

    All but `look_up` blocks, and may hang. Raises Unresolved, StoreError.
    """

    service: str
    store: SecretStore
    limit_s: float = 5.0
    kept_s: float = KEPT_S

    async def look_up(self, name: str) -> str:
        return await aside(partial(self.get, name), SecretKeyring)

    def get(self, name: str) -> str:
        found = _asked(self.service, name) if is_there() else None
        found = self._stored(name) if found is None else found
        if found is None:
            raise Unresolved(self._lacks(name))
        return found

    def check(self, name: str) -> None:
        """Raises Unresolved where it is known without a question that there is none."""
        if not is_there() and self._stored(name) is None:
            raise Unresolved(self._lacks(name))

    def put(self, name: str, secret: str) -> bool:
        """Keep a secret; False: in our file, for want of a keyring."""
        if not is_there():
            self.store.put(self.service, name, secret)
            return False
        import keyring  # noqa: PLC0415

        with _translated():
            keyring.set_password(self.service, name, secret)
        # One day the two would differ.
        self.store.remove(self.service, name)
        return True

    def remove(self, name: str) -> bool:
        """False where there was none."""
        was_stored = self.store.remove(self.service, name)
        if not is_there() or _asked(self.service, name) is None:
            return was_stored
        import keyring  # noqa: PLC0415

        with _translated():
            keyring.delete_password(self.service, name)
        return True

    def _stored(self, name: str) -> str | None:
        try:
            return self.store.get(self.service, name)
        except StoreError as error:
            raise Unresolved(str(error)) from None

    def _lacks(self, name: str) -> str:
        what = f"no entry {name!r} of service {self.service!r}{SET}"
        if is_there():
            return f"the keyring has {what}"
        return f"no keyring service is here, and {self.store.path} has {what}"


def is_there() -> bool:
    """Whether a keyring can be asked; none is, to find out. Blocks, and may hang."""
    # Here alone: it is slow to load, and most brokers have no use for it.
    import keyring  # noqa: PLC0415
    from keyring.backends import fail, null  # noqa: PLC0415

    return not isinstance(keyring.get_keyring(), fail.Keyring | null.Keyring)


def _asked(service: str, name: str) -> str | None:
    import keyring  # noqa: PLC0415

    with _translated():
        found: object = keyring.get_password(service, name)
    return found if isinstance(found, str) else None


@contextmanager
def _translated() -> Iterator[None]:
    from keyring.errors import KeyringError  # noqa: PLC0415

    try:
        yield
    except KeyringError as error:
        raise Unresolved(f"the keyring says: {plain(str(error)) or type(error).__name__}") from None
