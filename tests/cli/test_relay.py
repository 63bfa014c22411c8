"""`acp-broker stdio` beside a daemon: a real process; at the other end of its socket is what the test plays."""

import array
import fcntl
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO

import pytest

from acp_broker import __version__
from acp_broker.edge import meeting
from tests.support.broker import chain
from tests.support.config import write

# A test that waits this long has failed: it bounds a hang, nothing is measured by it.
DEADLINE_S = 30.0
MUCH = 4 * 1024 * 1024
INITIALIZE = b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":1}}\n'
WELCOME = meeting.line(welcome=True)
WELCOME_WITH_PIPES = meeting.line(welcome=True, pipes=True)


class Daemon:
    """Its socket, and the connection of the relay, once `meet` has answered its hello."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "state"
        self.home.mkdir()
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(folder / "s"))
        self._listening.listen(1)
        self._listening.settimeout(DEADLINE_S)
        said = {"socket": str(folder / "s"), "pid": 4711, "version": "1", "config": "/c.json"}
        (self.home / "daemon.json").write_text(json.dumps(said))

    def meet(self, answer: bytes = WELCOME, *, is_deaf: bool = False) -> dict:
        """The relay's hello; `is_deaf`: it hears no more than that."""
        self.sock = self._listening.accept()[0]
        self.sock.settimeout(DEADLINE_S)
        said = self.read_line()
        if is_deaf:
            self.sock.shutdown(socket.SHUT_RD)
        self.sock.sendall(answer)
        return json.loads(said)["acp-broker"]

    def take(self) -> tuple[IO[bytes], IO[bytes]]:
        """Meet the relay, and take the editor's pipes from it."""
        assert self.meet(WELCOME_WITH_PIPES)["pipes"]
        said, (read_fd, write_fd), _, _ = socket.recv_fds(self.sock, 10, 3)
        assert said == b"\n"
        self.sock.sendall(b"\n")
        return os.fdopen(read_fd, "rb", 0), os.fdopen(write_fd, "wb", 0)

    def read_line(self) -> bytes:
        line = b""
        while not line.endswith(b"\n"):
            line += self.sock.recv(1)
        return line

    def read(self, size: int) -> bytes:
        data = b""
        with suppress(ConnectionResetError):  # the relay has left something unread
            while len(data) < size and (chunk := self.sock.recv(65536)):
                data += chunk
        return data

    def close(self) -> None:
        self._listening.close()
        if hasattr(self, "sock"):
            self.sock.close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path)
    yield daemon
    daemon.close()


class Editor:
    """A relay's parent. Its state folder is the daemon's."""

    def __init__(
        self, folder: Path, *, env: Mapping[str, str] | None = None, patch: str = "", shell: str = "", **how: object
    ) -> None:
        self.config = write(folder, chain(main={"kind": "scripted", "script": {}}))
        code = (
            f"from acp_broker.cli import relay; {patch}\nfrom acp_broker.cli.main import main; raise SystemExit(main())"
        )
        program = ["-c", code] if patch else ["-m", "acp_broker.cli.main"]
        command = [sys.executable, *program, "--config", str(self.config), "stdio"]
        if shell:
            command = ["sh", "-c", shell, "sh", *command]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        environ = {**os.environ, "ACP_BROKER_HOME": str(folder / "state"), **(env or {})}
        self.process = subprocess.Popen(command, env=environ, bufsize=0, start_new_session=True, **{**pipes, **how})

    def __enter__(self) -> "Editor":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def write(self, data: bytes) -> int:
        """How much of it was taken: less than all only when the relay has ended."""
        return self.process.stdin.write(data)

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (chunk := self._chunk(size - len(data))):
            data += chunk
        return data

    def _chunk(self, size: int) -> bytes:
        assert select.select([self.process.stdout], [], [], DEADLINE_S)[0]
        return os.read(self.process.stdout.fileno(), size)

    def end(self) -> tuple[int, bytes, bytes]:
        """Hear it to its end, stdin left as it is: its status, and the rest of stdout and stderr."""
        out = b""
        while chunk := self._chunk(65536):
            out += chunk
        return self.process.wait(DEADLINE_S), out, self.process.stderr.read()

    def left(self) -> tuple[int, bytes, bytes]:
        self.process.stdin.close()
        return self.end()


def fionread(fd: int) -> int:
    """How many bytes wait there unread."""
    count = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]


def until_still(look: Callable[[], tuple[int, int]]) -> None:
    """Wait until there is something everywhere, and no more of it in a hundred looks."""
    seen, times = (0, 0), 0
    deadline = time.monotonic() + DEADLINE_S
    while times < 100:
        assert time.monotonic() < deadline
        before, seen = seen, look()
        times = times + 1 if seen == before and all(seen) else 0
        select.select([], [], [], 0.001)


# --- with a daemon


def test_it_carries_bytes_both_ways(tmp_path: Path, daemon: Daemon) -> None:
    """It knows nothing of what it carries."""
    with Editor(tmp_path) as editor:
        daemon.meet()
        editor.write(b"\xff no JSON\n half a li")
        heard = daemon.read(19)
        daemon.sock.sendall(b"\0 nor this")

        assert (b"\xff no JSON\n half a li", b"\0 nor this") == (heard, editor.read(10))


def test_it_says_who_it_is(tmp_path: Path, daemon: Daemon) -> None:
    """The daemon refuses another config or version, and gives the environment to the agents it starts for us."""
    with Editor(tmp_path, env={"FROM": "the editor"}) as editor:
        hello = daemon.meet()
        environment = hello.pop("environment")

    expected = {
        "version": __version__,
        "config": str(editor.config),
        "pid": editor.process.pid,
        "asks": "frontend",
        "pipes": True,
    }
    assert (expected, "the editor", False) == (hello, environment["FROM"], "ACP_BROKER_HOME" in environment)


def test_it_carries_more_than_any_buffer_takes(tmp_path: Path, daemon: Daemon) -> None:
    """Prompts carry images, answers whole files, and neither side waits for the other."""
    data = os.urandom(MUCH)
    (tmp_path / "in").write_bytes(data)
    with (tmp_path / "in").open("rb") as stdin, Editor(tmp_path, stdin=stdin) as editor:
        daemon.meet()
        with ThreadPoolExecutor() as threads:
            threads.submit(daemon.sock.sendall, data)
            there = threads.submit(daemon.read, MUCH)
            back = editor.read(MUCH)

    assert (True, True) == (data == there.result(), data == back)


def test_what_was_asked_before_the_editor_left_is_answered(tmp_path: Path, daemon: Daemon) -> None:
    """`printf ... | acp-broker stdio` is answered too, with a daemon as without."""
    with Editor(tmp_path) as editor:
        daemon.meet()
        editor.write(b"asked")
        editor.process.stdin.close()
        asked = daemon.read(MUCH)
        daemon.sock.sendall(b"answered")
        daemon.sock.close()

        assert (b"asked", (0, b"answered", b"")) == (asked, editor.end())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_is_the_end_of_input(tmp_path: Path, daemon: Daemon, number: signal.Signals) -> None:
    """Editors end their agents so; last answers still reach them, and a second signal takes nothing away."""
    with Editor(tmp_path) as editor:
        daemon.meet()
        editor.write(b"a")
        daemon.read(1)
        editor.process.send_signal(number)
        end = daemon.read(1)
        editor.process.send_signal(number)
        daemon.sock.sendall(b"answered")
        daemon.sock.close()

        assert (b"", (0, b"answered", b"")) == (end, editor.end())


def test_a_signal_ends_it_although_the_daemon_takes_nothing(tmp_path: Path, daemon: Daemon) -> None:
    """It must not need its daemon to come to an end."""
    with Editor(tmp_path) as editor, ThreadPoolExecutor() as threads:
        daemon.meet()
        writing = threads.submit(editor.write, bytes(MUCH))
        stdin, sock = editor.process.stdin.fileno(), daemon.sock.fileno()
        until_still(lambda: (fionread(stdin), fionread(sock)))  # all buffers are full
        editor.process.send_signal(signal.SIGTERM)
        end = select.poll()
        end.register(daemon.sock, select.POLLRDHUP)
        assert end.poll(DEADLINE_S * 1000), "it goes on waiting for the daemon"
        daemon.read(MUCH)
        daemon.sock.close()
        status = editor.process.wait(DEADLINE_S)

    assert (0, True) == (status, writing.result() < MUCH)


def test_a_daemon_that_has_no_last_word_is_not_waited_for(tmp_path: Path, daemon: Daemon) -> None:
    """It is stopped, and the editor has gone: a process that nobody knows of would stay for ever."""
    with Editor(tmp_path, patch="relay.SILENT_S = 0.05") as editor:
        daemon.meet()

        assert (1, b"", b"acp-broker: the daemon (pid 4711) had no last word within 0.05 s\n") == editor.left()


def test_a_daemon_that_ends_is_said_at_once(tmp_path: Path, daemon: Daemon) -> None:
    """The editor shows that line, and can start the session again; what was written before is not lost."""
    with Editor(tmp_path) as editor:
        daemon.meet()
        daemon.sock.sendall(bytes(65536))
        daemon.close()

        why = b"acp-broker: the daemon (pid 4711) has ended; start the session again, its sessions are kept\n"
        assert (1, bytes(65536), why) == editor.end()


def test_a_daemon_that_dies_with_something_unread_is_no_other(tmp_path: Path, daemon: Daemon) -> None:
    """The kernel then says reset instead of end."""
    with Editor(tmp_path) as editor:
        daemon.meet()
        editor.write(b"unread")
        assert select.select([daemon.sock], [], [], DEADLINE_S)[0]
        daemon.close()
        status, _, why = editor.end()

    assert (1, True) == (status, b"has ended" in why)


def test_an_editor_that_does_not_listen_any_more_ends_it(tmp_path: Path, daemon: Daemon) -> None:
    """The daemon sees the end, and ends what runs for that editor."""
    with Editor(tmp_path) as editor:
        daemon.meet()
        editor.process.stdout.close()
        daemon.sock.sendall(b"unheard")

        assert (b"", 0) == (daemon.read(1), editor.process.wait(DEADLINE_S))


def test_descriptors_that_do_not_block_stay_so(tmp_path: Path, daemon: Daemon) -> None:
    """The flag is in what we share with our parent: Node's pipes have it, a shell's have not."""
    stdin, speak = os.pipe()
    listen, stdout = os.pipe()
    os.set_blocking(stdin, False)
    os.set_blocking(stdout, False)
    with Editor(tmp_path, stdin=stdin, stdout=stdout) as editor, ThreadPoolExecutor() as threads:
        daemon.meet()
        sending = threads.submit(daemon.sock.sendall, bytes(MUCH))
        os.write(speak, b"one")
        one = daemon.read(3)
        os.write(speak, b"two")
        two = daemon.read(3)
        heard = 0
        while heard < MUCH:
            heard += len(os.read(listen, 65536))
        sending.result()
        blocking = (os.get_blocking(stdin), os.get_blocking(stdout))
        os.close(speak)
        daemon.read(1)
        daemon.sock.close()
        status = editor.process.wait(DEADLINE_S)
    for fd in (stdin, listen, stdout):
        os.close(fd)

    assert (b"one", b"two", (False, False), 0) == (one, two, blocking, status)


@pytest.mark.parametrize("end", ["slave", "master"])
def test_a_terminal_is_an_editor_too(tmp_path: Path, daemon: Daemon, end: str) -> None:
    """`socat` and terminal multiplexers give one: one descriptor for both ways, and a hang-up may be an error."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    mine, theirs = (master, slave) if end == "slave" else (slave, master)
    with Editor(tmp_path, stdin=theirs, stdout=theirs) as editor:
        os.close(theirs)
        daemon.meet()
        os.write(mine, b"there")
        there = daemon.read(5)
        daemon.sock.sendall(b"back")
        back = os.read(mine, 100)
        os.close(mine)
        end = daemon.read(1)
        daemon.sock.close()

        assert (b"there", b"back", b"", 0) == (there, back, end, editor.process.wait(DEADLINE_S))


def test_without_any_descriptors_it_ends(tmp_path: Path, daemon: Daemon) -> None:
    """Started with 0, 1 and 2 closed, the daemon's socket must not become stdin."""
    with Editor(tmp_path, shell='exec "$@" 0<&- 1>&- 2>&-') as editor:
        daemon.meet()
        end = daemon.read(1)
        daemon.sock.sendall(b"unheard")
        daemon.sock.close()

        assert (b"", (0, b"", b"")) == (end, editor.end())


def test_it_loads_nothing_but_the_standard_library(tmp_path: Path, daemon: Daemon) -> None:
    """An editor waits for each import: 60 ms from the start of the process to the answer to `initialize`."""
    with Editor(tmp_path, env={"PYTHONPROFILEIMPORTTIME": "1"}) as editor:
        daemon.meet()
        editor.process.stdin.close()
        daemon.sock.close()
        loaded = [line.split(b"|")[-1].strip().decode() for line in editor.end()[2].splitlines()]

    ours = [name for name in loaded if name.startswith("acp_broker")]
    # What asyncio alone costs is as much as all of the relay.
    heavy = {"anyio", "asyncio", "msgspec", "platformdirs", "subprocess", "typing", "backends"} & set(loaded)
    expected = ["", ".cli", ".edge", ".edge.descriptors", ".edge.meeting", ".home", ".cli.relay"]
    assert ([f"acp_broker{name}" for name in expected], set()) == (ours, heavy)


# --- with a daemon that takes the editor's pipes


def test_the_daemon_is_handed_the_pipes_of_the_editor(tmp_path: Path, daemon: Daemon) -> None:
    """And nothing of what they carry comes by the relay."""
    with Editor(tmp_path) as editor:
        editor.write(b"early")
        asks, answers = daemon.take()
        with asks, answers:
            editor.write(b" and late")
            heard = asks.read(5) + asks.read(9)
            answers.write(b"back")
            back = editor.read(4)
            editor.process.stdin.close()
            assert (b"early and late", b"back", b"") == (heard, back, asks.read(1))
        daemon.sock.close()

        assert (0, b"", b"") == editor.end()


def test_what_node_gives_its_children_is_handed_over_too(tmp_path: Path, daemon: Daemon) -> None:
    """They are sockets; and Node ends a child's stdin by closing its half of one."""
    (mine, stdin), (heard, stdout) = socket.socketpair(), socket.socketpair()
    with mine, stdin, heard, stdout, Editor(tmp_path, stdin=stdin, stdout=stdout) as editor:
        asks, answers = daemon.take()
        with asks, answers:
            mine.sendall(b"there")
            answers.write(b"back")
            carried = asks.read(5), heard.recv(4)
            mine.shutdown(socket.SHUT_WR)
            end = asks.read(1)
            daemon.sock.close()

            assert ((b"there", b"back"), b"", 0) == (carried, end, editor.process.wait(DEADLINE_S))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_daemon_with_the_pipes_is_told_of_a_signal(tmp_path: Path, daemon: Daemon, number: signal.Signals) -> None:
    """Its last answers still reach the editor, and a second signal takes nothing away."""
    with Editor(tmp_path) as editor:
        asks, answers = daemon.take()
        editor.process.send_signal(number)
        end = daemon.read(1)
        editor.process.send_signal(number)
        with asks, answers:
            answers.write(b"answered")
        daemon.sock.close()

        assert (b"", (0, b"answered", b"")) == (end, editor.end())


def test_a_daemon_that_ends_with_the_pipes_is_said(tmp_path: Path, daemon: Daemon) -> None:
    """What it had written is in the pipe."""
    with Editor(tmp_path) as editor:
        asks, answers = daemon.take()
        editor.write(b"unread")
        with asks, answers:
            answers.write(b"written")
        daemon.close()

        why = b"acp-broker: the daemon (pid 4711) has ended; start the session again, its sessions are kept\n"
        assert (1, b"written", why) == editor.end()


@pytest.mark.parametrize("how", ["deaf", "hears them", "leaves them unread"])
def test_a_daemon_that_does_not_take_the_pipes_is_not_needed(tmp_path: Path, daemon: Daemon, how: str) -> None:
    """It was killed just then, or has no descriptors left; what the editor wrote is still in them."""
    with Editor(tmp_path) as editor:
        editor.write(INITIALIZE)
        daemon.meet(WELCOME_WITH_PIPES, is_deaf=how == "deaf")
        assert select.select([daemon.sock], [], [], DEADLINE_S)[0]
        if how == "hears them":
            daemon.sock.recv(1)
        daemon.close()
        first = editor.read(1)
        editor.process.send_signal(signal.SIGTERM)
        status, out, why = editor.end()

    alone = b"acp-broker: not through the daemon (pid 4711), but in this process: it did not begin\n"
    assert (0, "acp-broker", alone) == (status, json.loads(first + out)["result"]["agentInfo"]["name"], why)


def test_a_signal_is_heeded_although_nobody_took_the_pipes(tmp_path: Path, daemon: Daemon) -> None:
    """The editor wants no answer any more, from whomever."""
    with Editor(tmp_path) as editor:
        editor.write(INITIALIZE)
        daemon.meet(WELCOME_WITH_PIPES)
        daemon.read(1)
        editor.process.send_signal(signal.SIGTERM)
        end = daemon.read(1)
        daemon.close()

        assert (b"", (0, b"", b"")) == (end, editor.end())


def test_a_signal_ends_what_goes_on_alone(tmp_path: Path, daemon: Daemon) -> None:
    """While the broker in this process loads, nobody else hears it."""
    with Editor(tmp_path, patch="import os; relay._say_alone = lambda *_: os.kill(os.getpid(), 15)") as editor:
        daemon.meet(WELCOME_WITH_PIPES)
        daemon.read(1)
        daemon.close()

        assert (-signal.SIGTERM, b"", b"") == editor.end()


def test_a_daemon_that_keeps_the_pipes_without_a_word_is_not_waited_for(tmp_path: Path, daemon: Daemon) -> None:
    """It is stopped, and the editor has gone."""
    with Editor(tmp_path, patch="relay.SILENT_S = 0.05") as editor:
        asks, answers = daemon.take()
        with asks, answers:
            editor.process.stdin.close()
            status = editor.process.wait(DEADLINE_S)

        why = b"acp-broker: the daemon (pid 4711) had no last word within 0.05 s\n"
        assert (1, why) == (status, editor.process.stderr.read())


@pytest.mark.parametrize(("patch", "is_through"), [("relay.SILENT_S = 0", False), ("", True)])
def test_a_daemon_with_the_pipes_has_its_time(tmp_path: Path, daemon: Daemon, patch: str, is_through: bool) -> None:
    """An editor may be quiet over night; and once it has left, thirty seconds are not thirty milliseconds."""
    with Editor(tmp_path, patch=patch or "pass") as editor:
        asks, answers = daemon.take()
        with asks, answers:
            if is_through:
                editor.process.stdin.close()
            # Whoever does not wait at all is gone by then.
            with pytest.raises(subprocess.TimeoutExpired):
                editor.process.wait(0.2)


def test_an_editor_that_does_not_listen_ends_it_with_the_pipes_elsewhere(tmp_path: Path, daemon: Daemon) -> None:
    """The daemon sees the end of the relay, and ends what runs for that editor."""
    with Editor(tmp_path) as editor:
        asks, answers = daemon.take()
        with asks, answers:
            editor.process.stdout.close()

            assert (b"", 0) == (daemon.read(1), editor.process.wait(DEADLINE_S))


@pytest.mark.parametrize("make", [Path.touch, os.mkfifo])
@pytest.mark.parametrize("stream", ["stdin", "stdout"])
def test_a_file_is_not_handed_over(tmp_path: Path, daemon: Daemon, stream: str, make: Callable[[Path], object]) -> None:
    """The daemon serves many: it must not wait for a disk, nor for the end of a named pipe, which it is not told."""
    make(tmp_path / "file")
    with os.fdopen(os.open(tmp_path / "file", os.O_RDWR), "rb", 0) as file, Editor(tmp_path, **{stream: file}):
        assert "pipes" not in daemon.meet()


# --- without one


def alone(tmp_path: Path, patch: str = "") -> tuple[object, bytes]:
    """How it answers `initialize` by itself, and what it says on stderr."""
    with Editor(tmp_path, patch=patch) as editor:
        editor.write(INITIALIZE)
        status, out, err = editor.left()
        return (status, json.loads(out)["result"]["agentInfo"]["name"]), err


ALONE = (0, "acp-broker")


def test_without_a_daemon_nothing_is_said(tmp_path: Path) -> None:
    """Most people have none."""
    assert (ALONE, b"") == alone(tmp_path)


def test_nothing_is_said_of_a_daemon_that_is_gone(tmp_path: Path, daemon: Daemon) -> None:
    """A killed one leaves its files; everything works without it."""
    daemon.close()

    assert (ALONE, b"") == alone(tmp_path)


def test_a_refusal_is_said_and_nothing_of_stdin_is_lost(tmp_path: Path, daemon: Daemon) -> None:
    """Two configs, or an update of the program while the daemon runs: the editor gets what its user wrote for it."""
    with ThreadPoolExecutor() as threads:
        threads.submit(daemon.meet, meeting.line(refused="it has another config, /other.json"))

        why = b"not through the daemon (pid 4711), but in this process: it has another config, /other.json"
        assert (ALONE, b"acp-broker: " + why + b"\n") == alone(tmp_path)


def test_a_daemon_that_does_not_answer_keeps_nobody(tmp_path: Path, daemon: Daemon) -> None:
    """One that is stopped, or hangs, still has its connections taken by the kernel."""
    why = b"not through the daemon (pid 4711), but in this process: it did not answer within 0.05 s"

    assert (ALONE, b"acp-broker: " + why + b"\n") == alone(tmp_path, "relay.MEET_S = 0.05")


def test_an_answer_without_a_sense_is_a_refusal(tmp_path: Path, daemon: Daemon) -> None:
    """A later version may know more answers than we do."""
    with ThreadPoolExecutor() as threads:
        threads.submit(daemon.meet, meeting.line(later=True))

        why = b"not through the daemon (pid 4711), but in this process: it does not say why it refused"
        assert (ALONE, b"acp-broker: " + why + b"\n") == alone(tmp_path)


def test_what_is_wrong_with_a_variable_is_said_once(tmp_path: Path) -> None:
    """The broker in this process finds it too."""
    with Editor(tmp_path, env={"ACP_BROKER_HOME": "here"}) as editor:
        why = b"acp-broker: ACP_BROKER_HOME leads to the relative path here; set it to an absolute one\n"

        assert (1, b"", why) == editor.left()
