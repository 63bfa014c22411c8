"""`acp-broker stdio` where a daemon serves the same config and state: until one side is through.

The daemon is handed the editor's pipes, and reads and writes them itself. Of a terminal, a file or a named pipe the
bytes are carried both ways, by a thread for each. Nothing but the standard library: an editor that starts us waits for
every import.
Descriptors that we inherited stay blocking, or not, as they are: their flags are our parent's too.
"""

import os
import select
import signal
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from acp_broker import __version__
from acp_broker.edge import meeting
from acp_broker.home import config_file, state_folder

# A daemon answers within a millisecond. One that is stopped, or hangs, must not keep an editor waiting.
MEET_S = 1.0
# The editor has left: as long as the broker takes for last answers under its default limits, and some more.
SILENT_S = 30.0
CHUNK_BYTES = 64 * 1024
# An editor's ways to end us; each is as if it had closed our stdin.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def run(config: Path | None, environ: Mapping[str, str], read_fd: int, write_fd: int) -> int | None:
    """Relay until the daemon or the editor is through; the exit status. None: there is no daemon for us.

    Why one that is there is not for us is said on stderr. Nothing was read then.
    """
    daemon = None
    try:
        daemon = meeting.daemon(state_folder(environ))
        place = config_file(config, environ)
        hello = meeting.hello(
            version=__version__,
            config=place,
            asks="frontend",
            environment=environ,
            has_pipes=meeting.is_pipe(read_fd) and meeting.is_pipe(write_fd),
        )
        sock, answer = meeting.met(daemon, hello, MEET_S)
    except ValueError:  # a variable that leads nowhere: the broker in this process says so
        return None
    except meeting.Unmet as unmet:
        if daemon is not None and unmet.why is not None:
            _say_alone(daemon, unmet.why)
        return None
    if "welcome" not in answer:
        sock.close()
        _say_alone(daemon, str(answer.get("refused", "it does not say why it refused")))
        return None
    if answer.get("pipes") is True:
        return _Aside(sock, daemon, read_fd, write_fd).run()
    return _Relay(sock, daemon, read_fd, write_fd).run()


def _say_alone(daemon: meeting.Daemon, why: str) -> None:
    _say(f"not through the daemon (pid {daemon.pid}), but in this process: {why}")


class _Aside:
    """The daemon has the editor's pipes: nothing is left to do but to end when one of them is through."""

    def __init__(self, sock: socket.socket, daemon: meeting.Daemon, read_fd: int, write_fd: int) -> None:
        self._socket = sock
        self._daemon = daemon
        self._told = _told()
        self._asked, self._heard = read_fd, write_fd

    def run(self) -> int | None:
        """The exit status; None: the daemon did not take them, so nothing was read."""
        with suppress(OSError):  # it is gone already
            socket.send_fds(self._socket, [b"\n"], [self._asked, self._heard])
        poll = select.poll()
        for fd, event in ((self._asked, select.POLLRDHUP), (self._heard, 0)):
            poll.register(fd, event)
        for told in (self._socket, self._told):
            poll.register(told, select.POLLIN)
        is_taken = is_told = is_through = False
        while found := {fd for fd, _ in poll.poll(SILENT_S * 1000 if is_through else None)}:
            is_told = is_told or self._told.fileno() in found
            is_through = is_through or is_told or self._asked in found
            if self._heard in found:  # nobody listens any more
                return 0
            if self._socket.fileno() in found:
                if is_taken or not self._is_answered():
                    return self._left(is_taken=is_taken, is_told=is_told, is_through=is_through)
                is_taken = True
            for fd in found - {self._socket.fileno()}:
                poll.unregister(fd)
            if self._told.fileno() in found:
                self._socket.shutdown(socket.SHUT_WR)
        return _say_silent(self._daemon)

    def _is_answered(self) -> bool:
        try:
            return self._socket.recv(1) != b""
        except OSError:  # it was killed
            return False

    def _left(self, *, is_taken: bool, is_told: bool, is_through: bool) -> int | None:
        """What it means that the daemon has closed the connection."""
        if not is_taken and not is_told:
            _untold()
            _say_alone(self._daemon, "it did not begin")
            return None
        return 0 if is_through else _say_ended(self._daemon)


class _Relay:
    def __init__(self, sock: socket.socket, daemon: meeting.Daemon, read_fd: int, write_fd: int) -> None:
        self._socket = sock
        self._daemon = daemon
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._told = _told()
        self._editor_is_through = False
        self._relayed = 0

    def run(self) -> int:
        back = threading.Thread(target=self._back, daemon=True)
        back.start()
        if self._forth():
            self._editor_is_through = True
            return self._last_words(back)
        back.join()
        return 1

    # --- this thread: from the editor to the daemon

    def _forth(self) -> bool:
        """Whether the editor was through first: stdin ended, or a signal came."""
        # Made once: a prompt should not wait for it.
        more = _Wait(self._read_fd, select.POLLIN, self._told)
        while more.is_ready():
            try:
                chunk = os.read(self._read_fd, CHUNK_BYTES)
            except BlockingIOError:  # somebody else who has it took what there was
                continue
            except OSError:  # a terminal that was hung up
                return True
            if not chunk:
                return True
            try:
                if not self._send(memoryview(chunk)):
                    return True
            except OSError:
                return False
        return True

    def _send(self, rest: memoryview) -> bool:
        """Send all of it; False when a signal came first. Raises OSError: the daemon is gone."""
        while rest:
            try:
                rest = rest[self._socket.send(rest, socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                if not _Wait(self._socket.fileno(), select.POLLOUT, self._told).is_ready():
                    return False
        return True

    def _last_words(self, back: threading.Thread) -> int:
        """Go on relaying what the editor asked before it left, as long as anything comes."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:  # the daemon is gone too
            return 0
        relayed = -1
        while back.is_alive() and relayed != self._relayed:
            relayed = self._relayed
            back.join(SILENT_S)
        if back.is_alive():
            return _say_silent(self._daemon)
        return 0

    # --- the other thread: from the daemon to the editor

    def _back(self) -> None:
        try:
            while chunk := self._next():
                self._write(memoryview(chunk))
                self._relayed += len(chunk)
        except OSError:  # the editor does not listen any more
            os._exit(0)
        if not self._editor_is_through:
            _say_ended(self._daemon)
            # The other thread is waiting for the editor, and nothing that it says can be answered.
            os._exit(1)

    def _next(self) -> bytes:
        try:
            return self._socket.recv(CHUNK_BYTES)
        except OSError:  # it was killed
            return b""

    def _write(self, rest: memoryview) -> None:
        while rest:
            try:
                rest = rest[os.write(self._write_fd, rest) :]
            except BlockingIOError:  # our parent has made it so
                _Wait(self._write_fd, select.POLLOUT).is_ready()


class _Wait:
    """Waits until a descriptor is ready, or gone, or until we are told to end."""

    def __init__(self, fd: int, event: int, told: socket.socket | None = None) -> None:
        self._told = -1 if told is None else told.fileno()
        self._poll = select.poll()
        self._poll.register(fd, event)
        if told is not None:
            self._poll.register(told, select.POLLIN)

    def is_ready(self) -> bool:
        """False when we are told to end first."""
        return all(found != self._told for found, _ in self._poll.poll())


def _told() -> socket.socket:
    """Readable once a signal has told us to end."""
    told, teller = socket.socketpair()
    teller.setblocking(False)  # noqa: FBT003 - it takes no keyword
    signal.set_wakeup_fd(teller.detach())
    for number in SIGNALS:
        signal.signal(number, lambda *_: None)
    return told


def _untold() -> None:
    """From here on a signal means what it means to every process."""
    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def _say_ended(daemon: meeting.Daemon) -> int:
    _say(f"the daemon (pid {daemon.pid}) has ended; start the session again, its sessions are kept")
    return 1


def _say_silent(daemon: meeting.Daemon) -> int:
    _say(f"the daemon (pid {daemon.pid}) had no last word within {SILENT_S:g} s")
    return 1


def _say(text: str) -> None:
    try:
        os.write(2, f"acp-broker: {text}\n".encode(errors="backslashreplace"))
    except OSError:  # nobody listens, and what we were about to do is as right as before
        return
