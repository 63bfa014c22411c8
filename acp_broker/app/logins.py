"""Where a known agent's login is seen: files that it leaves, variables that it reads. No file is opened."""

import re
from collections.abc import Mapping

from msgspec import Struct

from acp_broker.app import user_files
from backends.acp.row import Row

# What a variable with a credential in it is called; others that a login reads name a provider, or an account.
_CREDENTIAL = re.compile(r"KEY|TOKEN|SECRET|AUTH|PASSWORD")


class Seen(Struct, frozen=True):
    """Names alone: files as `~/...`, variables without their values."""

    files: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()

    @property
    def any(self) -> bool:
        return bool(self.files or self.variables)

    @property
    def credentials(self) -> tuple[str, ...]:
        """The variables that hold one."""
        return tuple(name for name in self.variables if _CREDENTIAL.search(name))

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.files, *(f"${name}" for name in self.variables))


def seen(row: Row, environment: Mapping[str, str]) -> Seen:
    """What of a login is there for an agent with this environment. A keychain is not looked into."""
    if row.login is None:
        return Seen()
    files = (file for file in row.login.files if user_files.is_there(file, environment))
    shown = tuple(user_files.shown(user_files.place(file, environment), environment) for file in files)
    return Seen(shown, tuple(name for name in row.login.environment if environment.get(name)))
