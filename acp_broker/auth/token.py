"""The bearer token of `acp-broker serve`: one file in the state folder, readable by its owner alone.

Whoever reads it may do what its owner may, through the agents. It is never logged, and never part of an error.
"""

import errno
import os
import re
import secrets
import shlex
import stat
from pathlib import Path

from acp_broker.auth.private import sync
from acp_broker.errors import StoreError, UsageError

# 256 bits: nobody guesses it, however often they may ask.
_ENTROPY_BYTES = 32
# RFC 6750, section 2.1, less `+/=`: it stands in a WebSocket subprotocol too, and RFC 9110 has no slash there.
_TOKEN = re.compile(r"[A-Za-z0-9._~-]{16,256}")
FIT = "16 to 256 letters, digits and ._~-"
# Longer than any token; what is left of the file is not read.
_MOST_BYTES = 1024


def is_token(text: str) -> bool:
    """Whether it can be sent as a bearer token, in a header and as a subprotocol, and is not guessed at once."""
    return _TOKEN.fullmatch(text) is not None


class TokenFile:
    """`token` in the state folder `home`. Read at each use, so that a new token holds from the next use on."""

    def __init__(self, home: Path) -> None:
        self.path = home / "token"
        self._seen: tuple[int, ...] = ()
        self._token = ""

    def read(self) -> str:
        """The token; made where there is none. Raises UsageError for a file that others can read or that holds no
        token, StoreError where the disk fails us."""
        try:
            looked = _identity(self.path.lstat())
        except FileNotFoundError:
            self._make()
            return self.read()
        except OSError as error:
            raise StoreError(f"cannot read the token {self.path}: {error.strerror}") from error
        if looked != self._seen:
            self._token, self._seen = self._load()
        return self._token

    def rotate(self) -> str:
        """Put another token in its place; returns it. Nobody ever finds the file half written. Raises StoreError."""
        beside = self.path.with_name(f".token.{secrets.token_hex(4)}")
        token = self._write(beside)
        try:
            beside.replace(self.path)
            sync(self.path.parent)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise StoreError(f"cannot write {self.path}: {error.strerror}") from error
        return token

    def _make(self) -> None:
        """Whole from the first moment on; where two make it at once, the first one's token holds."""
        beside = self.path.with_name(f".token.{secrets.token_hex(4)}")
        self._write(beside)
        try:
            # link(2): atomic, and unlike rename it never takes the place of what is there.
            os.link(beside, self.path)
            sync(self.path.parent)
        except FileExistsError:
            return
        except OSError as error:
            raise StoreError(f"cannot write {self.path}: {error.strerror}") from error
        finally:
            beside.unlink(missing_ok=True)

    def _write(self, path: Path) -> str:
        token = secrets.token_urlsafe(_ENTROPY_BYTES)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "w", encoding="ascii") as file:
                file.write(token + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StoreError(f"cannot write {self.path}: {error.strerror}") from error
        return token

    def _load(self) -> tuple[str, tuple[int, ...]]:
        try:
            # Another user's link or fifo must not lead us elsewhere, or hold us up.
            fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise UsageError(f"{self.path} is a link; move it away") from error
            raise StoreError(f"cannot read the token {self.path}: {error.strerror}") from error
        try:
            status = os.fstat(fd)
            self._distrust(status)
            text = os.read(fd, _MOST_BYTES).decode(errors="replace").strip()
        except OSError as error:
            raise StoreError(f"cannot read the token {self.path}: {error.strerror}") from error
        finally:
            os.close(fd)
        if not is_token(text):
            found = f"holds no token ({FIT})" if text else "is empty"
            raise UsageError(f"{self.path} {found}: acp-broker token rotate")
        return text, _identity(status)

    def _distrust(self, status: os.stat_result) -> None:
        """Raises UsageError for a file that somebody else has made, or may have read."""
        name = shlex.quote(str(self.path))
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"{self.path} is no file; move it away")
        if status.st_uid != os.geteuid():
            raise UsageError(f"{self.path} belongs to uid {status.st_uid}; make your own: acp-broker token rotate")
        if status.st_mode & 0o077:
            mode = f"mode {stat.S_IMODE(status.st_mode):04o}"
            fix = f"chmod 600 {name}, and if anybody did: acp-broker token rotate"
            raise UsageError(f"others may read {self.path} ({mode}): {fix}")


def _identity(status: os.stat_result) -> tuple[int, ...]:
    """Another one when the file may hold something else, or may be read by somebody else."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
