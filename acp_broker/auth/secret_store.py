"""Secrets of a machine that has no keyring: a file in the state folder that its owner alone can read, not encrypted.

`acp-broker auth set` writes it, nobody else does. All of this blocks: use a thread.
"""

from contextlib import AbstractContextManager
from pathlib import Path

import msgspec
from msgspec import Struct

from acp_broker.auth import private
from acp_broker.errors import StoreError

_Kept = dict[str, dict[str, str]]


class SecretStore(Struct, frozen=True):
    """The entries of `secrets.json`, by service and name, as a keyring has them."""

    path: Path

    def get(self, service: str, name: str) -> str | None:
        """Raises StoreError, which says what is wrong with the file and what to do."""
        return self._read().get(service, {}).get(name)

    def put(self, service: str, name: str, secret: str) -> None:
        """Raises StoreError; what was there stays then."""
        with self._locked():
            kept = self._read()
            self._write({**kept, service: {**kept.get(service, {}), name: secret}})

    def remove(self, service: str, name: str) -> bool:
        """False where there was none. Raises StoreError."""
        with self._locked():
            kept = self._read()
            if name not in kept.get(service, {}):
                return False
            left = {known: secret for known, secret in kept[service].items() if known != name}
            self._write({**kept, service: left})
        return True

    def _read(self) -> _Kept:
        found = private.read(self.path)
        if found is None:
            return {}
        try:
            return msgspec.json.decode(found[0], type=_Kept)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise StoreError(f"{self.path} holds no secrets of ours, or half of them; move it away") from None

    def _write(self, kept: _Kept) -> None:
        data = msgspec.json.encode({service: entries for service, entries in kept.items() if entries}) + b"\n"
        private.replace(self.path, data, beside=self.path.with_suffix(".json.new"))

    def _locked(self) -> AbstractContextManager[None]:
        return private.locked(self.path.with_suffix(".lock"))
