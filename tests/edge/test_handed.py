"""An editor's pipes in another process: read and written without ever waiting, and left as they were."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from acp_broker.edge.handed import Handed


class Pipes:
    """What an editor has given its agent as stdin and stdout, and its own ends."""

    def __init__(self, kind: str) -> None:
        if kind == "pipes":
            self.stdin, self.speaks = os.pipe()
            self.hears, self.stdout = os.pipe()
        else:
            self.stdin, self.speaks = (one.detach() for one in socket.socketpair())
            self.hears, self.stdout = (one.detach() for one in socket.socketpair())

        self._open = {self.stdin, self.speaks, self.hears, self.stdout}

    def close(self, *fds: int) -> None:
        """These; without any, all that are open."""
        for fd in fds or tuple(self._open):
            self._open.remove(fd)
            os.close(fd)


@pytest.fixture(params=["pipes", "sockets"])
def pipes(request: pytest.FixtureRequest) -> Iterator[Pipes]:
    pipes = Pipes(request.param)
    yield pipes
    pipes.close()


@pytest.fixture
def handed(pipes: Pipes) -> Iterator[Handed]:
    handed = Handed(pipes.stdin, pipes.stdout)
    yield handed
    handed.close()
    handed.sink.close()


def opened() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_both_ways_lead_to_the_editor(pipes: Pipes, handed: Handed) -> None:
    """They are the same pipes."""
    os.write(pipes.speaks, b"there")
    handed.sink.write(memoryview(b"back"))

    assert (b"there", b"back") == (handed.read(handed.fd, 100), os.read(pipes.hears, 100))


def test_the_end_of_the_editor_is_seen(pipes: Pipes, handed: Handed) -> None:
    """Whoever has the other end of a pipe too waits for himself."""
    pipes.close(pipes.speaks, pipes.hears)
    with pytest.raises(BrokenPipeError):
        handed.sink.write(memoryview(b"x"))

    assert b"" == handed.read(handed.fd, 100)


def test_what_somebody_else_has_read_is_not_waited_for(pipes: Pipes, handed: Handed) -> None:
    """A daemon that waits here keeps everybody waiting."""
    with pytest.raises(BlockingIOError):
        handed.read(handed.fd, 100)


def test_what_the_editor_does_not_read_is_not_waited_for(pipes: Pipes, handed: Handed) -> None:
    """Nor here."""
    with suppress(BlockingIOError):
        for _ in range(100):
            handed.sink.write(memoryview(bytes(65_536)))
    with pytest.raises(BlockingIOError):
        handed.sink.write(memoryview(b"x"))


def test_the_editor_s_own_pipes_stay_as_they_are(pipes: Pipes, handed: Handed) -> None:
    """The flag is in what the relay shares with its parent, which may be a shell."""
    assert [True, True] == [os.get_blocking(fd) for fd in (pipes.stdin, pipes.stdout)]


def test_no_agent_gets_them(pipes: Pipes, handed: Handed) -> None:
    """One that outlives us would keep the editor waiting for the end."""
    flags = [fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC for fd in (handed.fd, handed.sink.fd)]

    assert [fcntl.FD_CLOEXEC] * 2 == flags


def test_nothing_is_left_open(pipes: Pipes) -> None:
    """Windows come and go for weeks."""
    before = opened()
    handed = Handed(pipes.stdin, pipes.stdout)
    handed.close()
    handed.sink.close()

    assert before == opened()


def test_nothing_is_left_open_of_what_cannot_be_used(pipes: Pipes) -> None:
    """Its reading end was opened before the other was looked at."""
    before = opened()
    with pytest.raises(OSError, match="Bad file descriptor"):
        Handed(pipes.stdin, 9_999)

    assert before == opened()


def test_nothing_is_left_open_of_a_socket_that_can_only_be_looked_at(pipes: Pipes) -> None:
    """A descriptor of that kind has a number, and refuses everything."""
    with socket.socket() as whole:
        seen = os.open(f"/proc/self/fd/{whole.fileno()}", os.O_PATH)
    before = opened()
    with pytest.raises(OSError, match="Bad file descriptor"):
        Handed(pipes.stdin, seen)
    after = opened()
    os.close(seen)

    assert before == after
