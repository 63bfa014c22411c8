"""Where a daemon's socket goes and how it is found; what a client makes of one that does not do its part."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from acp_broker.edge import meeting, ownership
from acp_broker.edge.meeting import Unmet
from acp_broker.errors import UsageError

HELLO = meeting.hello(version="1", config=Path("/c.json"), asks="status", environment={})
LIMIT_S = 10.0


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Of a short name: the path of a socket must fit into 104 bytes, however deep pytest keeps its own folders."""
    with TemporaryDirectory(prefix="meet", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A temporary folder of the test's own."""
    folder = tmp_path / "t"
    folder.mkdir()
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(folder))
    return folder


def runtime(tmp_path: Path, mode: int = 0o700) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    folder.chmod(mode)
    return folder


def place(home: Path, environ: Mapping[str, str]) -> Path:
    return ownership.address(home, environ).parent


def test_the_socket_is_in_the_users_runtime_folder(tmp_path: Path, temporary: Path) -> None:
    """It ends with the login, and nobody else can write there."""
    folder = runtime(tmp_path)

    assert folder / "acp-broker" == place(tmp_path, {"XDG_RUNTIME_DIR": str(folder)})


@pytest.mark.parametrize("named", ["", "run", "/nowhere/at/all"])
def test_without_a_runtime_folder_it_is_in_a_temporary_one(tmp_path: Path, temporary: Path, named: str) -> None:
    """A relative one is none (XDG base directory specification)."""
    assert temporary / f"acp-broker-{os.geteuid()}" == place(tmp_path, {"XDG_RUNTIME_DIR": named})


def test_a_runtime_folder_that_others_may_write_is_none(tmp_path: Path, temporary: Path) -> None:
    """They could put their own socket in our place."""
    folder = runtime(tmp_path, 0o770)

    assert temporary / f"acp-broker-{os.geteuid()}" == place(tmp_path, {"XDG_RUNTIME_DIR": str(folder)})


def test_a_path_that_is_too_long_for_the_kernel_goes_to_tmp(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """unix(7): 108 bytes, 104 on macOS, whose temporary folders are deep."""
    deep = tmp_path / ("d" * 90)
    deep.mkdir(mode=0o700)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(deep))

    assert Path(f"/tmp/acp-broker-{os.geteuid()}") == place(tmp_path, {"XDG_RUNTIME_DIR": str(deep)})


def test_each_state_folder_has_a_socket_of_its_own(tmp_path: Path, temporary: Path) -> None:
    """Two brokers with different state do not meet; a link to the state folder leads to the same one."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("one")
    one, two, link = (ownership.address(tmp_path / name, {}) for name in ("one", "two", "link"))

    assert (True, False) == (one == link, one == two)


@pytest.mark.parametrize("made", ["a file", "a link", "open to others"])
def test_a_folder_that_is_not_ours_alone_is_refused(tmp_path: Path, temporary: Path, made: str) -> None:
    """Its name can be guessed, and anybody can make it in a temporary folder."""
    folder = temporary / f"acp-broker-{os.geteuid()}"
    if made == "a file":
        folder.touch(0o600)
    elif made == "a link":
        folder.symlink_to(runtime(tmp_path))
    else:
        folder.mkdir()
        folder.chmod(0o710)

    with pytest.raises(UsageError) as caught:
        ownership.address(tmp_path, {})

    expected = f"{folder}, for the socket, is not a folder of yours alone; remove it, or set XDG_RUNTIME_DIR"
    assert expected == str(caught.value)


# --- the daemon as a client finds it


@contextmanager
def daemon(folder: Path, do: Callable[[socket.socket], None]) -> Iterator[meeting.Daemon]:
    """A daemon that listens and does this with its first client."""
    with socket.socket(socket.AF_UNIX) as listening:
        path = folder / "s"
        listening.bind(str(path))
        listening.listen(1)

        def serve() -> None:
            with listening.accept()[0] as sock:
                sock.recv(65536)
                do(sock)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield meeting.Daemon(path, 1)
        finally:
            thread.join(LIMIT_S)


def why(daemon: meeting.Daemon, limit_s: float = LIMIT_S) -> str | None:
    with pytest.raises(Unmet) as caught:
        meeting.met(daemon, HELLO, limit_s)
    return caught.value.why


@pytest.mark.parametrize("content", [None, b"", b"[]", b"{}", b'{"socket": 1, "pid": 2}', b"\xff", b'{"socket": "/s"}'])
def test_without_a_daemon_json_nobody_is_there(tmp_path: Path, content: bytes | None) -> None:
    """That is how most people run it: nothing is to be said about it, nor about a file that somebody has broken."""
    if content is not None:
        (tmp_path / "daemon.json").write_bytes(content)
    with pytest.raises(Unmet) as caught:
        meeting.daemon(tmp_path)

    assert caught.value.why is None


def test_daemon_json_says_where_and_who(tmp_path: Path) -> None:
    """Neither side guesses: an editor's environment is not the daemon's."""
    (tmp_path / "daemon.json").write_text(json.dumps({"socket": "/s", "pid": 7, "version": "1"}))

    found = meeting.daemon(tmp_path)

    assert (Path("/s"), 7) == (found.socket, found.pid)


def test_a_daemon_that_is_gone_is_passed_over_in_silence(tmp_path: Path) -> None:
    """A killed one leaves its daemon.json, and its socket, on which nobody listens."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "s"))

    found = [why(meeting.Daemon(tmp_path / name, 1)) for name in ("s", "none")]
    assert [None, None] == found


def test_a_daemon_that_does_not_answer_is_named(tmp_path: Path) -> None:
    """It is stopped, or hangs; the kernel takes the connection all the same."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen(1)

        assert why(meeting.Daemon(tmp_path / "s", 1), 0.01) == "it did not answer within 0.01 s"


def test_a_daemon_whose_queue_is_full_is_named(tmp_path: Path) -> None:
    """The kernel refuses at once: there is nothing to wait for."""
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as other:
        listening.bind(str(tmp_path / "s"))
        listening.listen(0)
        other.connect(str(tmp_path / "s"))

        assert why(meeting.Daemon(tmp_path / "s", 1), 0.01) == "it did not answer within 0.01 s"


def test_a_daemon_that_hangs_up_is_named(tmp_path: Path) -> None:
    """It is on its way out, or did not like what we are."""
    with daemon(tmp_path, lambda _: None) as found:
        assert why(found) == "it closed the connection"


def test_a_daemon_that_talks_nonsense_is_named(tmp_path: Path) -> None:
    """The path may lead to another program by now."""
    with daemon(tmp_path, lambda sock: sock.sendall(b"220 ready\r\n")) as found:
        assert why(found) == "it answered with no line of ours: b'220 ready'"


def test_a_daemon_that_drips_is_not_waited_for(tmp_path: Path) -> None:
    """The limit is for the answer, not for each byte of it."""
    left = threading.Event()

    def drip(sock: socket.socket) -> None:
        while not left.wait(0.001):
            sock.sendall(b" ")

    with daemon(tmp_path, drip) as found:
        said = why(found, 0.05)
        left.set()

    assert said == "it did not answer within 0.05 s"


def test_a_socket_of_another_user_is_told_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hello carries the environment, keys and all."""
    monkeypatch.setattr(meeting, "peer_uid", lambda _: 4242)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen(1)
        said = why(meeting.Daemon(tmp_path / "s", 1))
        with listening.accept()[0] as sock:
            heard = sock.recv(100)

    assert (f"{tmp_path / 's'} belongs to another user (4242)", b"") == (said, heard)


# --- what a daemon can be handed


@contextmanager
def opened(tmp_path: Path, kind: str) -> Iterator[int]:
    """A descriptor of that kind."""
    with ExitStack() as stack:
        if kind == "socket":
            yield stack.enter_context(socket.socket()).fileno()
            return
        if kind == "pipe":
            fds = list(os.pipe())
        elif kind == "named pipe":
            os.mkfifo(tmp_path / "fifo")
            fds = [os.open(tmp_path / "fifo", os.O_RDWR)]
        elif kind == "socket's name":
            stack.enter_context(socket.socket(socket.AF_UNIX)).bind(str(tmp_path / "s"))
            fds = [os.open(tmp_path / "s", os.O_PATH)]
        else:
            fds = [os.open({"folder": tmp_path, "device": "/dev/zero", "file": __file__}[kind], os.O_RDONLY)]
        for fd in fds:
            stack.callback(os.close, fd)
        yield fds[0]


@pytest.mark.parametrize(
    ("kind", "is_pipe"),
    [
        ("pipe", True),
        ("socket", True),
        ("named pipe", False),
        ("socket's name", False),
        ("folder", False),
        ("device", False),
        ("file", False),
    ],
)
def test_a_pipe_is_what_others_can_use_without_waiting(tmp_path: Path, kind: str, is_pipe: bool) -> None:
    """A device has no end, a file may be on a disk that hangs, and a named pipe keeps the end of its writers secret."""
    with opened(tmp_path, kind) as fd:
        assert is_pipe == meeting.is_pipe(fd)


def test_a_pipe_of_another_user_is_not_ours_to_open() -> None:
    """As after su(1): only who has its descriptor can read it."""
    asked = """
import os
from acp_broker.edge import meeting
fd, _ = os.pipe()
before = meeting.is_pipe(fd)
os.fchmod(fd, 0)
print(before, meeting.is_pipe(fd))
"""
    caps = "-dac_override,-dac_read_search"
    as_anybody = ["setpriv", f"--bounding-set={caps}", f"--inh-caps={caps}"] if os.geteuid() == 0 else []
    said = subprocess.run([*as_anybody, sys.executable, "-c", asked], check=True, capture_output=True, text=True)

    assert "True False\n" == said.stdout
