"""Where a daemon says that it is, and the one line that each side says before any JSON-RPC.

Each relay loads this as it starts: nothing but the standard library, and little of it. The exchange, on the socket:

    ours:   {"acp-broker": {"version": ..., "config": ..., "pid": ..., "environment": {...}, "asks": "frontend"}}
    theirs: {"acp-broker": {"welcome": true}}        from here on the socket carries JSON-RPC, a line each
        or: {"acp-broker": {"welcome": true, "pipes": true}}
                                                     where ours had "pipes": true. Then ours is one byte, with the two
                                                     descriptors of the editor's pipes (SCM_RIGHTS), to read and to
                                                     write; theirs is one byte, before they use these: who ends
                                                     without it has read nothing. The socket carries nothing more.
                                                     Each side sees by its end that the other has left
        or: {"acp-broker": {"refused": "why"}}       and the end
        or: {"acp-broker": {"status": {...}}}        and the end, where "asks" is "status"
"""

import json
import os
import socket
import struct
import sys
import time
from collections.abc import Mapping
from pathlib import Path

# In the state folder: the socket's path, the daemon's pid, and whatever else it says of itself.
DAEMON_FILE = "daemon.json"
MEMBER = "acp-broker"
# What one side says of itself is no longer. Linux lets an environment have 6 MiB; 1 MiB holds any that was ever useful.
LINE_BYTES = 1024 * 1024


class Daemon:
    """Who said that it serves a state folder. It may be gone."""

    def __init__(self, path: Path, pid: int) -> None:
        self.socket = path
        self.pid = pid


class Unmet(Exception):  # noqa: N818 - nothing is wrong when nobody is there
    """Nobody is there; or somebody is and does not do their part, then `why` says so."""

    def __init__(self, why: str | None = None) -> None:
        self.why = why
        super().__init__(why)


def daemon(home: Path) -> Daemon:
    """Who serves this state folder. Raises Unmet."""
    try:
        known = json.loads((home / DAEMON_FILE).read_bytes())
        return Daemon(Path(known["socket"]), int(known["pid"]))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise Unmet from error


def met(daemon: Daemon, hello: bytes, limit_s: float) -> tuple[socket.socket, dict[str, object]]:
    """Say hello and hear the answer; the socket that it came by has no time limit any more.

    `limit_s` is for connecting, and again for the exchange. Raises Unmet; without a reason when the daemon is gone.
    """
    sock = socket.socket(socket.AF_UNIX)
    try:
        answer = _answer(sock, daemon, hello, limit_s)
    except Unmet:
        sock.close()
        raise
    sock.settimeout(None)
    return sock, answer


def hello(*, version: str, config: Path, asks: str, environment: Mapping[str, str], has_pipes: bool = False) -> bytes:
    """What a client says first; of its environment all but what is between a broker and its user."""
    carried = {_sent(name): _sent(value) for name, value in environment.items() if not name.startswith("ACP_BROKER_")}
    pipes = {"pipes": True} if has_pipes else {}
    return line(version=version, config=_sent(str(config)), pid=os.getpid(), asks=asks, environment=carried, **pipes)


def _sent(text: str) -> str:
    """A text of the environment for a process that may run in another locale: both agree on its bytes."""
    return os.fsencode(text).decode(errors="surrogateescape")


def is_pipe(fd: int) -> bool:
    """Whether a process of the same user that is given it can use it and never wait: a socket, or a pipe opened anew.

    Only Linux opens them anew. A pipe with a name does not say then that its writers have left.
    """
    place = Path(f"/proc/self/fd/{fd}")
    try:
        # One that another user has made, before su(1), is not ours to open.
        return str(place.readlink()).startswith(("pipe:", "socket:")) and os.access(place, os.R_OK | os.W_OK)
    except OSError:
        return False


def line(**said: object) -> bytes:
    """One line of the exchange. A byte that is no UTF-8 is in it as Python's surrogateescape has it."""
    return json.dumps({MEMBER: said}).encode() + b"\n"


def read(line: bytes) -> dict[str, object]:
    """What a line of the exchange says. Raises ValueError that shows what it is instead."""
    try:
        said = json.loads(line)[MEMBER]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ValueError(f"no line of ours: {line.strip()[:80]!r}") from error
    if not isinstance(said, dict):
        raise ValueError(f"no line of ours: {line.strip()[:80]!r}")
    return said


def taken(sock: socket.socket) -> bytes:
    """Read on, but not past the end of a line: what follows is for whoever has the socket next. Raises OSError."""
    waiting = sock.recv(64 * 1024, socket.MSG_PEEK)
    return sock.recv(waiting.find(b"\n") + 1 or len(waiting))


def peer_uid(sock: socket.socket) -> int:
    """Whose process is at the other end. Raises OSError."""
    if sys.platform == "darwin":
        # unix(4): LOCAL_PEERCRED at level 0 gives a struct xucred, whose second word is the effective user id.
        return int(struct.unpack_from("Ii", sock.getsockopt(0, 1, 76))[1])
    return int(struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1])


def _answer(sock: socket.socket, daemon: Daemon, hello: bytes, limit_s: float) -> dict[str, object]:
    try:
        sock.settimeout(limit_s)
        sock.connect(str(daemon.socket))
        # In a temporary folder that was cleaned up, anybody may have made this name anew.
        uid = peer_uid(sock)
        if uid not in (os.geteuid(), 0):
            raise Unmet(f"{daemon.socket} belongs to another user ({uid})")
        return _exchanged(sock, hello, time.monotonic() + limit_s)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise Unmet from error
    except (TimeoutError, BlockingIOError) as error:  # BlockingIOError: so many wait that the kernel takes no more
        raise Unmet(f"it did not answer within {limit_s:g} s") from error
    except OSError as error:
        raise Unmet(error.strerror or str(error)) from error
    except ValueError as error:
        raise Unmet(f"it answered with {error}") from error


def _exchanged(sock: socket.socket, hello: bytes, until: float) -> dict[str, object]:
    _limit(sock, until)
    sock.sendall(hello)
    heard = b""
    while not heard.endswith(b"\n"):
        _limit(sock, until)
        chunk = taken(sock)
        if not chunk:
            raise Unmet("it closed the connection")
        heard += chunk
    return read(heard)


def _limit(sock: socket.socket, until: float) -> None:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    sock.settimeout(left)
