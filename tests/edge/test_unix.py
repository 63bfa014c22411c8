"""The daemon's unix socket: who is let in, what is told to those who are not, and what is left behind."""

import errno
import json
import os
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from acp_broker.broker.guard import guarded
from acp_broker.edge import meeting, unix
from acp_broker.edge.peers import PeerLimits, Seats
from acp_broker.edge.unix import Hello, allowed, refusal, unix_listener
from acp_broker.edge.unix_channel import UnixChannel
from acp_broker.errors import UsageError

pytestmark = pytest.mark.anyio

# A test that waits this long has failed: it bounds a hang, nothing is measured by it.
DEADLINE_S = 20.0
# More than any socket buffer takes at once.
MUCH = 4 * 1024 * 1024


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime folder of the test's own, with a path as short as the real one's."""
    folder = Path(tempfile.mkdtemp(prefix="r"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    yield folder
    shutil.rmtree(folder)


async def echo(channel: UnixChannel, _hello: Hello) -> None:
    await channel.run(lambda lines: channel.write(b"".join(line + b"\n" for line in lines)))


class Listening:
    """What a listener was told, and what it logged."""

    def __init__(self) -> None:
        self.hellos: list[Hello] = []
        self.answer: bytes | None = None
        self.most = 10
        self.logged: list[tuple[str, object]] = []
        self.has_logged = anyio.Event()
        self.serve: Callable[[UnixChannel, Hello], Awaitable[None]] = echo
        self.path = Path()

    def answers(self, hello: Hello) -> bytes | None:
        self.hellos.append(hello)
        return self.answer

    def log(self, event: str, **fields: object) -> None:
        self.logged.append((event, fields.get("why")))
        self.has_logged.set()

    async def guarded(self, work: Awaitable[None]) -> None:
        await guarded(work, self.log)

    @asynccontextmanager
    async def at(self, home: Path) -> AsyncIterator["Listening"]:
        seats = Seats(lambda: self.most)
        async with unix_listener(
            home, self.answers, self.serve, PeerLimits, seats, self.log, self.guarded, about={"version": "1"}
        ) as path:
            self.path = path
            with anyio.fail_after(DEADLINE_S):
                yield self
        assert 0 == seats.taken


@pytest.fixture
def listening() -> Listening:
    return Listening()


HELLO = meeting.hello(version="1", config=Path("/etc/config.json"), asks="frontend", environment={"A": "b"})


async def met(home: Path, hello: bytes = HELLO) -> tuple[socket.socket, dict[str, object]]:
    return await to_thread.run_sync(lambda: meeting.met(meeting.daemon(home), hello, DEADLINE_S))


async def welcomed(home: Path) -> bool:
    """Whether a client that says hello and leaves is let in."""
    sock, answer = await met(home)
    sock.close()
    return answer == {"welcome": True}


def opened() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


WITH_PIPES = meeting.hello(
    version="1", config=Path("/etc/config.json"), asks="frontend", environment={}, has_pipes=True
)


async def heard(sock: socket.socket) -> bytes:
    """Everything until the other side closes."""
    data = b""
    with sock:
        sock.setblocking(False)
        while True:
            await anyio.wait_readable(sock)
            try:
                chunk = sock.recv(65536)
            except ConnectionResetError:  # it closed while something of ours was unread
                return data
            if not chunk:
                return data
            data += chunk


async def said(path: Path, data: bytes) -> bytes:
    """What comes back, to its end, for these bytes."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.setblocking(False)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_send, sock, data)
            return await heard(sock.dup())


async def _send(sock: socket.socket, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        await anyio.wait_writable(sock)
        try:
            rest = rest[sock.send(rest) :]
        except (BrokenPipeError, ConnectionResetError):
            return


# --- who is let in


async def test_whoever_says_hello_is_served(tmp_path: Path, listening: Listening) -> None:
    """From the welcome on the socket carries lines both ways."""
    async with listening.at(tmp_path):
        sock, answer = await met(tmp_path)
        sock.sendall(b"one\ntwo\n")
        sock.shutdown(socket.SHUT_WR)

        assert ({"welcome": True}, b"one\ntwo\n") == (answer, await heard(sock))


async def test_who_does_not_wait_for_the_welcome_is_served_too(tmp_path: Path, listening: Listening) -> None:
    """A script may well write its hello and its requests at once."""
    async with listening.at(tmp_path):
        sock, _ = await met(tmp_path, HELLO + b"one\ntwo\n")
        sock.shutdown(socket.SHUT_WR)

        assert b"one\ntwo\n" == await heard(sock)


async def test_the_hello_says_who_it_is(tmp_path: Path, listening: Listening) -> None:
    """The daemon decides by it, and starts the agents in the editor's environment."""
    async with listening.at(tmp_path):
        (await met(tmp_path))[0].close()

    assert [Hello("1", "/etc/config.json", os.getpid(), {"A": "b"}, "frontend")] == listening.hellos


async def test_an_environment_is_bytes(tmp_path: Path, listening: Listening) -> None:
    """A file's name that is no UTF-8 in a variable must not keep an editor from its agents, nor change on the way."""
    raw = {b"LATIN": b"caf\xe9", b"UTF": "é🎉".encode(), b"\xff": b"", b"ACP_BROKER_HOME": b"/secret"}
    environ = {os.fsdecode(name): os.fsdecode(value) for name, value in raw.items()}
    hello = meeting.hello(version="1", config=Path(os.fsdecode(b"/\xff.json")), asks="frontend", environment=environ)
    async with listening.at(tmp_path):
        (await met(tmp_path, hello))[0].close()

    got = {os.fsencode(name): os.fsencode(value) for name, value in listening.hellos[0].environment.items()}
    assert ({b"LATIN": b"caf\xe9", b"UTF": "é🎉".encode(), b"\xff": b""}, b"/\xff.json") == (
        got,
        os.fsencode(listening.hellos[0].config),
    )


@pytest.mark.parametrize("line", [refusal("another version"), meeting.line(status={"much": "x" * MUCH})])
async def test_an_answer_is_sent_whole_and_ends_it(tmp_path: Path, listening: Listening, line: bytes) -> None:
    """A refusal or a status is all that such a client came for."""
    listening.answer = line
    async with listening.at(tmp_path):
        sock, answer = await met(tmp_path)

        assert (meeting.read(line), b"") == (answer, await heard(sock))


async def test_without_a_seat_it_is_told_so(tmp_path: Path, listening: Listening) -> None:
    """An editor goes on in a process of its own; it must hear why, at once."""
    listening.most = 1
    async with listening.at(tmp_path):
        first, _ = await met(tmp_path)
        second, answer = await met(tmp_path)
        second.close()
        first.close()

    assert {"refused": "it serves as many clients as it may (limits.connections)"} == answer
    assert [("client_refused", "no seat is left")] == listening.logged


async def test_another_user_is_not_let_in(
    tmp_path: Path, listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mode of the socket keeps them out; where a system does not heed it, the kernel still says who it is."""
    async with listening.at(tmp_path):
        monkeypatch.setattr(meeting, "peer_uid", lambda _: 4242)
        answer = await said(listening.path, HELLO)

    assert (b"", [("client_refused", "it is of another user (4242)")]) == (answer, listening.logged)


@pytest.mark.parametrize(
    ("hello", "why"),
    [
        (b"GET / HTTP/1.1\r\n", "its hello cannot be read: no line of ours: b'GET / HTTP/1.1'"),
        (b"[" * 5000 + b"\n", f"its hello cannot be read: no line of ours: {b'[' * 80!r}"),
        (b'{"acp-broker": 1}\n', "its hello cannot be read: no line of ours: b'{\"acp-broker\": 1}'"),
        (b'{"acp-broker": {}}\n', "its hello cannot be read: Object missing required field `version`"),
        (
            HELLO.replace(b"frontend", b"everything"),
            "its hello cannot be read: Invalid enum value 'everything' - at `$.asks`",
        ),
        (HELLO.replace(b'"A"', b'"A=B"'), "its hello cannot be read: a variable's name with = in it"),
        (HELLO.replace(b'"b"', b'"\\u0000"'), "its hello cannot be read: a null byte in a variable"),
        (
            HELLO.replace(b'"b"', b'"\\ud800"'),
            (
                "its hello cannot be read: 'utf-8' codec can't encode character '\\ud800' in position 0: "
                "surrogates not allowed"
            ),
        ),
        (b"x" * (meeting.LINE_BYTES + 70_000), "its hello is longer than 1048576 bytes"),
    ],
)
async def test_who_says_no_hello_is_shown_out(tmp_path: Path, listening: Listening, hello: bytes, why: str) -> None:
    """It may be anything that found the socket; the log says what came."""
    async with listening.at(tmp_path):
        answer = await said(listening.path, hello)

    assert (b"", [("client_refused", why)]) == (answer, listening.logged)


async def test_who_leaves_again_is_forgotten(tmp_path: Path, listening: Listening) -> None:
    """Port scanners and health checks do that."""
    async with listening.at(tmp_path):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(listening.path))
        assert await welcomed(tmp_path)

    assert [("client_refused", "it left without a hello")] == listening.logged


async def test_who_says_nothing_is_shown_out(
    tmp_path: Path, listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a connection costs a descriptor."""
    monkeypatch.setattr(unix, "HELLO_S", 0.01)
    async with listening.at(tmp_path):
        answer = await said(listening.path, HELLO[:-1])

    assert (b"", [("client_refused", "it said no hello within 0.01 s")]) == (answer, listening.logged)


async def test_many_who_say_nothing_are_not_all_let_in(
    tmp_path: Path, listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They wait in the kernel's queue, and whoever says hello behind them is met when one of them goes."""
    monkeypatch.setattr(unix, "UNHEARD", 1)
    async with listening.at(tmp_path):
        with socket.socket(socket.AF_UNIX) as silent:
            silent.connect(str(listening.path))
            with pytest.raises(meeting.Unmet, match="did not answer"):
                await to_thread.run_sync(lambda: meeting.met(meeting.daemon(tmp_path), HELLO, 0.05))
        assert await welcomed(tmp_path)


async def test_a_full_table_of_descriptors_is_waited_out(
    tmp_path: Path, listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon that ends, or spins, because too many are connected has failed all of them."""
    monkeypatch.setattr(unix, "FULL_S", 0.01)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with listening.at(tmp_path):
        with socket.socket(socket.AF_UNIX) as sock:
            resource.setrlimit(resource.RLIMIT_NOFILE, (sock.fileno() + 1, hard))
            try:
                sock.connect(str(listening.path))
                await listening.has_logged.wait()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            sock.sendall(HELLO)
            sock.setblocking(False)
            await anyio.wait_readable(sock)

            assert (meeting.line(welcome=True), ("accept_failed", "Too many open files")) == (
                sock.recv(100),
                listening.logged[0],
            )


async def test_a_fault_in_one_connection_ends_no_other(
    tmp_path: Path, listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Say that the last free descriptor went to its socket, and none was left for what writes to it."""
    async with listening.at(tmp_path):
        sock, _ = await met(tmp_path)
        with monkeypatch.context() as patched:
            patched.setattr(unix, "UnixChannel", _no_descriptor_left)
            refused = await said(listening.path, HELLO)
        with sock:
            sock.sendall(b"still here\n")
            sock.setblocking(False)
            await anyio.wait_readable(sock)

            assert (b"", b"still here\n", ["broker_fault"]) == (
                refused,
                sock.recv(100),
                [event for event, _ in listening.logged],
            )


def _no_descriptor_left(*_: object) -> UnixChannel:
    raise OSError(errno.EMFILE, "Too many open files")


# --- a connection


async def test_what_a_slow_peer_does_not_take_waits_for_it(tmp_path: Path, listening: Listening) -> None:
    """The answer to the last request may be long, and the editor has closed its side already."""
    line = b"x" * MUCH + b"\n"
    async with listening.at(tmp_path):
        sock, _ = await met(tmp_path)
        await to_thread.run_sync(sock.sendall, line)
        sock.shutdown(socket.SHUT_WR)

        assert line == await heard(sock)


async def test_a_peer_that_vanishes_harms_nobody_else(tmp_path: Path, listening: Listening) -> None:
    """Editors are killed with unread output all the time."""
    async with listening.at(tmp_path):
        lost, _ = await met(tmp_path)
        kept, _ = await met(tmp_path)
        await to_thread.run_sync(lost.sendall, b"x" * MUCH + b"\n")
        lost.close()
        kept.sendall(b"here\n")
        kept.shutdown(socket.SHUT_WR)

        assert b"here\n" == await heard(kept)


async def test_at_the_end_everybody_is_let_out(tmp_path: Path, listening: Listening) -> None:
    """A relay must see its daemon's end, and get what was written before."""
    async with listening.at(tmp_path):
        sock, _ = await met(tmp_path)
        sock.sendall(b"last\n")
        await anyio.wait_readable(sock)

    assert b"last\n" == await heard(sock)


async def test_whoever_does_not_leave_is_cut_off(
    tmp_path: Path, listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon's end is bounded."""

    async def forever(_channel: UnixChannel, _hello: Hello) -> None:
        await anyio.sleep_forever()

    monkeypatch.setattr(unix, "END_S", 0.01)
    listening.serve = forever
    async with listening.at(tmp_path):
        sock, _ = await met(tmp_path)

    assert b"" == await heard(sock)


async def test_an_error_inside_comes_out_as_it_is(tmp_path: Path, listening: Listening) -> None:
    """Other listeners start inside of this one, and say what is wrong with theirs."""
    with pytest.raises(UsageError, match="the port is taken"):
        async with listening.at(tmp_path):
            raise UsageError("the port is taken")


# --- who owns the state folder


async def test_only_the_user_can_reach_it(tmp_path: Path, listening: Listening) -> None:
    """Whoever reaches it can run programs as this user."""
    async with listening.at(tmp_path):
        paths = [listening.path, listening.path.parent, tmp_path / "daemon.json", tmp_path / "daemon.lock"]
        modes = [oct(stat.S_IMODE(path.lstat().st_mode)) for path in paths]

    assert ["0o600", "0o700", "0o600", "0o600"] == modes


async def test_it_says_where_it_is_and_who(tmp_path: Path, listening: Listening) -> None:
    """A relay reads it: an editor's environment may lead to another runtime folder than ours."""
    async with listening.at(tmp_path):
        known = json.loads((tmp_path / "daemon.json").read_bytes())

    assert {"version": "1", "socket": str(listening.path), "pid": os.getpid()} == known


async def test_afterwards_nothing_leads_to_it(tmp_path: Path, listening: Listening, runtime: Path) -> None:
    """The lock's file stays, unlocked: were it removed, two could hold a lock of that name."""
    async with listening.at(tmp_path):
        pass

    assert ([], ["daemon.lock"]) == (
        names(runtime / "acp-broker"),
        names(tmp_path),
    )


async def test_another_ones_socket_is_left_alone(tmp_path: Path, listening: Listening) -> None:
    """Somebody who removed ours by hand, and put something there, wants to keep it."""
    async with listening.at(tmp_path):
        listening.path.unlink()
        listening.path.touch()

    assert listening.path.exists()


async def test_a_state_folder_has_one_owner(tmp_path: Path, listening: Listening) -> None:
    """Two daemons would each believe to know every session."""
    async with listening.at(tmp_path):
        why = rf"another acp-broker serve \(pid {os.getpid()}\) already runs for {tmp_path}"
        with pytest.raises(UsageError, match=why):
            async with Listening().at(tmp_path):
                pass

        assert await welcomed(tmp_path)


async def test_a_state_folder_can_be_owned_again(tmp_path: Path, listening: Listening) -> None:
    """A restart is the most ordinary thing."""
    for _ in range(2):
        async with listening.at(tmp_path):
            assert await welcomed(tmp_path)


async def test_a_lock_that_cannot_be_written_is_named(tmp_path: Path, listening: Listening, monkeypatch) -> None:
    """A full disk is the user's to free, no fault of ours; and who frees it can try again."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(UsageError, match=rf"^cannot write {tmp_path / 'daemon.lock'}: No space left on device$"):
            async with listening.at(tmp_path):
                pass

    async with listening.at(tmp_path):
        assert await welcomed(tmp_path)


OWNER = """
import sys
from pathlib import Path
import anyio
from acp_broker.edge.peers import PeerLimits, Seats
from acp_broker.edge.unix import unix_listener

async def main():
    async with unix_listener(Path(sys.argv[1]), None, None, PeerLimits, Seats(lambda: 1), None, None):
        print(flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""


def owner_of(home: Path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", OWNER, str(home)], stdout=subprocess.PIPE)


async def test_a_killed_owner_is_in_nobodys_way(tmp_path: Path, listening: Listening) -> None:
    """Its lock went with it; its socket, its daemon.json and its lock's file are still there."""
    with owner_of(tmp_path) as owner:
        await to_thread.run_sync(owner.stdout.readline)
        with pytest.raises(UsageError, match=rf"\(pid {owner.pid}\)"):
            async with listening.at(tmp_path):
                pass
        owner.send_signal(signal.SIGKILL)
    with pytest.raises(meeting.Unmet):
        await met(tmp_path)

    async with listening.at(tmp_path):
        assert await welcomed(tmp_path)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def inheritables() -> dict[int, bool]:
    """Each descriptor of ours, and whether a child would have it too."""
    found = {}
    for name in names(Path("/proc/self/fd")):
        with suppress(OSError):  # the one that looked
            found[int(name)] = os.get_inheritable(int(name))
    return found


async def test_no_child_inherits_any_of_it(tmp_path: Path, listening: Listening) -> None:
    """An agent that outlives us would hold the lock."""
    before = inheritables()
    async with listening.at(tmp_path):
        sock, _ = await met(tmp_path)
        opened = inheritables().items() - before.items()
        sock.close()

    assert (True, set()) == (len(opened) > 3, {fd for fd, inherited in opened if inherited})


@pytest.mark.parametrize(
    ("patterns", "kept"),
    [
        (["*"], ["HOME", "LC_ALL", "LC_CTYPE", "lc_x"]),
        ([], []),
        (["LC_*"], ["LC_ALL", "LC_CTYPE"]),
        (["HOME", "l*"], ["HOME", "lc_x"]),
        (["HOM"], []),
    ],
)
def test_an_agent_gets_the_variables_that_config_allows(patterns: list[str], kept: list[str]) -> None:
    """frontends.unix.environment: names, in which * stands for anything."""
    environment = dict.fromkeys(["HOME", "LC_ALL", "LC_CTYPE", "lc_x"], "1")

    assert kept == [*allowed(environment, patterns)]


async def test_a_client_with_pipes_is_served_by_them(tmp_path: Path, listening: Listening) -> None:
    """Its bytes pass no other process; and once it has left, its editor sees the end."""
    before = opened()
    editor, theirs = socket.socketpair()
    async with listening.at(tmp_path):
        sock, answer = await met(tmp_path, WITH_PIPES)
        socket.send_fds(sock, [b"\n"], [theirs.fileno(), theirs.fileno()])
        theirs.close()
        await anyio.wait_readable(sock)
        begun = sock.recv(10)
        editor.sendall(b"by pipe\n")
        editor.setblocking(False)
        await anyio.wait_readable(editor)
        echoed = editor.recv(100)
        sock.close()

        assert ({"welcome": True, "pipes": True}, b"\n") == (answer, begun)
        assert (b"by pipe\n", b"") == (echoed, await heard(editor))
    assert before == opened()


@pytest.mark.parametrize("given", [[], ["pipe"], ["pipe"] * 3, ["pipe", "device"], ["device", "pipe"]])
async def test_a_client_that_does_not_give_its_pipes_is_refused(
    tmp_path: Path, listening: Listening, given: list[str]
) -> None:
    """It was promised, what is on the socket is no JSON-RPC, and of a device without end we would read for ever."""
    before = opened()
    one, other = socket.socketpair()
    with one, other, os.fdopen(os.open("/dev/zero", os.O_RDWR), "rb", 0) as device:
        fds = {"pipe": one.fileno(), "device": device.fileno()}
        async with listening.at(tmp_path):
            sock, _ = await met(tmp_path, WITH_PIPES)
            socket.send_fds(sock, [b"\n"], [fds[kind] for kind in given])

            assert b"" == await heard(sock)
    assert [("client_refused", "it did not give the pipes that it has")] == listening.logged
    assert before == opened()


async def test_who_keeps_its_pipes_is_shown_out(
    tmp_path: Path, listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a seat."""

    def answers(_hello: Hello) -> None:
        monkeypatch.setattr(unix, "HELLO_S", 0.01)

    listening.answers = answers
    async with listening.at(tmp_path):
        sock, _ = await met(tmp_path, WITH_PIPES)

        assert b"" == await heard(sock)


async def test_an_end_does_not_wait_for_pipes(
    tmp_path: Path, listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relay that is stopped between its two words must not hold up the end of a daemon."""
    monkeypatch.setattr(unix, "END_S", 0.5)
    async with listening.at(tmp_path):
        sock, _ = await met(tmp_path, WITH_PIPES)
    sock.close()

    # Who is cut off after END_S has no time to say so.
    assert [("client_refused", "it did not give the pipes that it has")] == listening.logged


async def test_a_client_whose_pipes_cannot_be_used_is_refused(tmp_path: Path, listening: Listening) -> None:
    """As where no descriptor is left; it is no fault of ours, and it can go on alone."""
    before = opened()
    one, other = socket.socketpair()
    with one, other:
        looked_at = os.open(f"/proc/self/fd/{one.fileno()}", os.O_PATH)
        async with listening.at(tmp_path):
            sock, _ = await met(tmp_path, WITH_PIPES)
            socket.send_fds(sock, [b"\n"], [looked_at] * 2)
            os.close(looked_at)

            assert b"" == await heard(sock)
    assert [("client_refused", "[Errno 9] Bad file descriptor")] == listening.logged
    assert before == opened()


async def test_where_pipes_cannot_be_opened_anew_they_stay_with_the_relay(
    tmp_path: Path, listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS."""
    monkeypatch.setattr(unix, "CAN_TAKE_PIPES", False)
    async with listening.at(tmp_path):
        sock, answer = await met(tmp_path, WITH_PIPES)
        sock.close()

    assert {"welcome": True} == answer
