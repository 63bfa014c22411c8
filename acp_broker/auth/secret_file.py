"""Secrets in a file that its owner alone can read: one value, or a JSON document that a pointer leads into.

It is read anew each time: it costs nothing, and an edit of it holds from the next agent on.
"""

import errno
import os
import shlex
import stat
from functools import partial
from pathlib import Path

import msgspec
from msgspec import Struct

from acp_broker.auth.aside import aside
from acp_broker.errors import Unresolved

# The id in a file that is one value (OpenClaw: mode singleValue).
VALUE = "value"


class SecretFile(Struct, frozen=True):
    """A file. `is_single`: it is the secret, else a JSON document."""

    path: Path
    is_single: bool = False
    max_bytes: int = 1_048_576
    limit_s: float = 5.0
    kept_s: float = 0.0

    async def look_up(self, name: str) -> str:
        return await aside(partial(self.read, name), self.path)

    def read(self, name: str) -> str:
        """The secret that a pointer leads to, or VALUE names. Blocks. Raises Unresolved."""
        if self.is_single != (name == VALUE):
            wants = f'"{VALUE}"' if self.is_single else 'a JSON pointer such as "/team/key"'
            mode = "singleValue" if self.is_single else "json"
            raise Unresolved(f"{self.path} has mode {mode}, where the id is {wants}")
        data = self._load()
        try:
            if self.is_single:
                return data.decode().removesuffix("\n").removesuffix("\r")
            found = _followed(msgspec.json.decode(data), name)
        except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
            raise Unresolved(f"{self.path} holds no {'text' if self.is_single else 'JSON'}") from None
        if not isinstance(found, str):
            what = "nothing" if found is _NOTHING else "no text"
            raise Unresolved(f"there is {what} at {name} in {self.path}")
        return found

    def _load(self) -> bytes:
        try:
            # Another's link or fifo must not lead us elsewhere, or hold us up.
            fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                self._distrust(os.fstat(fd))
                parts, left = [], self.max_bytes + 1
                while left and (part := os.read(fd, left)):
                    parts.append(part)
                    left -= len(part)
            finally:
                os.close(fd)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise Unresolved(f"{self.path} is a link; name the file that it leads to") from None
            raise Unresolved(f"cannot read {self.path}: {error.strerror}") from None
        if not left:
            raise Unresolved(f"{self.path} is longer than {self.max_bytes} bytes (maxBytes)")
        return b"".join(parts)

    def _distrust(self, status: os.stat_result) -> None:
        """Raises Unresolved for what others have made, or can read."""
        name = shlex.quote(str(self.path))
        if not stat.S_ISREG(status.st_mode):
            raise Unresolved(f"{self.path} is no file")
        if status.st_uid not in (os.geteuid(), 0):
            raise Unresolved(f"{self.path} belongs to uid {status.st_uid}: chown {os.geteuid()} {name}")
        if status.st_mode & 0o077:
            mode = f"{stat.S_IMODE(status.st_mode):04o}"
            raise Unresolved(f"others can read or write {self.path} (mode {mode}): chmod 600 {name}")


_NOTHING = object()


def _followed(value: object, pointer: str) -> object:
    """RFC 6901, section 4; _NOTHING where it leads nowhere."""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value.get(key, _NOTHING)
        elif isinstance(value, list) and key.isascii() and key.isdigit() and (key == "0" or key[0] != "0"):
            value = value[int(key)] if int(key) < len(value) else _NOTHING
        else:
            return _NOTHING
    return value
