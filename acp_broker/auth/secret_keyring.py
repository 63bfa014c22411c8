"""Secrets in the keyring of the operating system. It is asked in a thread: its service may hang, or ask a person."""

import shlex
from functools import partial

from msgspec import Struct

from acp_broker.auth.aside import aside
from acp_broker.auth.secrets import KEPT_S
from acp_broker.core.redact import plain
from acp_broker.errors import Unresolved

NO_SERVICE = (
    "no keyring service is here; keep it in a file that you alone can read (source file, chmod 600), "
    "or let a program hand it out (source exec)"
)


class SecretKeyring(Struct, frozen=True):
    """The entries of one service."""

    service: str
    limit_s: float = 5.0
    kept_s: float = KEPT_S

    async def look_up(self, name: str) -> str:
        return await aside(partial(self._get, name))

    def _get(self, name: str) -> str:
        # Here alone: it is slow to load, and most brokers have no use for it.
        import keyring  # noqa: PLC0415
        from keyring.errors import KeyringError  # noqa: PLC0415

        check()
        try:
            found: object = keyring.get_password(self.service, name)
        except KeyringError as error:
            raise Unresolved(f"the keyring says: {plain(str(error)) or type(error).__name__}") from None
        if not isinstance(found, str):
            fix = f"keyring set {shlex.quote(self.service)} {shlex.quote(name)}"
            raise Unresolved(f"the keyring has no entry {name!r} of service {self.service!r}: {fix}")
        return found


def check() -> None:
    """Raises Unresolved where no service can be asked; nothing is asked to find out. Blocks, and may hang."""
    import keyring  # noqa: PLC0415
    from keyring.backends import fail  # noqa: PLC0415

    if isinstance(keyring.get_keyring(), fail.Keyring):
        raise Unresolved(NO_SERVICE)
