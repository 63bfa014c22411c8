"""`acp-broker stdio` on stdin and stdout of every kind, as a real process; what it was given is left as it was."""

import fcntl
import json
import os
import pty
import select
import socket
import subprocess
import sys
import tty
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.broker import chain
from tests.support.config import write

# A test that waits this long has failed: it bounds a hang, nothing is measured by it.
DEADLINE_S = 30.0
INITIALIZE = b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":1}}\n'
NEW = b'{"jsonrpc":"2.0","id":1,"method":"session/new","params":{"cwd":"/","mcpServers":[]}}\n'
LIST = b'{"jsonrpc":"2.0","id":2,"method":"session/list","params":{"cwd":"/nowhere"}}\n'
ECHO = {"kind": "scripted", "script": {}}


class Ends(NamedTuple):
    """What the broker gets as stdin and stdout, and what its parent speaks and listens to."""

    stdin: int
    stdout: int
    speak: int
    listen: int

    def close(self) -> None:
        for fd in {*self}:
            os.close(fd)


def pipe() -> Ends:
    stdin, speak = os.pipe()
    listen, stdout = os.pipe()
    return Ends(stdin, stdout, speak, listen)


def sockets() -> Ends:
    """One socket for both, as Node gives it to its children."""
    ours, theirs = socket.socketpair()
    fd = theirs.detach()
    mine = ours.detach()
    return Ends(fd, fd, mine, mine)


def terminal() -> Ends:
    """A raw terminal, as `socat` and terminal multiplexers make them."""
    mine, theirs = pty.openpty()
    tty.setraw(theirs)
    return Ends(theirs, theirs, mine, mine)


def started(folder: Path, backend: Mapping[str, object] = ECHO, **how: object) -> subprocess.Popen:
    config = write(folder, chain(main=dict(backend)))
    command = [sys.executable, "-m", "acp_broker.cli.main", "--config", str(config), "stdio"]
    env = {**os.environ, "ACP_BROKER_HOME": str(folder / "state")}
    return subprocess.Popen(command, env=env, start_new_session=True, **{"stderr": subprocess.PIPE, **how})


@contextmanager
def running(folder: Path, ends: Ends) -> Iterator[subprocess.Popen]:
    """The broker on these ends, which stay open here too; it must end by itself."""
    process = started(folder, stdin=ends.stdin, stdout=ends.stdout)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def hear(fd: int, is_enough: Callable[[list[dict]], bool]) -> list[dict]:
    """Messages until there are enough of them."""
    data = b""
    while True:
        got = [json.loads(line) for line in data.split(b"\n")[:-1]]
        if is_enough(got):
            return got
        ready, _, _ = select.select([fd], [], [], DEADLINE_S)
        assert ready, f"nothing more after {got}"
        chunk = os.read(fd, 65536)
        assert chunk, f"ended after {got}"
        data += chunk


def flags(ends: Ends) -> list[int]:
    return [fcntl.fcntl(fd, fcntl.F_GETFL) for fd in (ends.stdin, ends.stdout)]


@pytest.mark.parametrize("kind", [pipe, sockets, terminal])
def test_a_conversation_leaves_what_it_was_given_as_it_was(tmp_path: Path, kind: Callable[[], Ends]) -> None:
    """O_NONBLOCK lives in the open file, which our parent shares: it would break a shell's or an editor's own reads."""
    ends = kind()
    before = flags(ends)
    with running(tmp_path, ends) as process:
        os.write(ends.speak, INITIALIZE + NEW)
        opened = {message["id"]: message["result"] for message in hear(ends.listen, lambda got: len(got) == 2)}
        session = opened[1]["sessionId"]
        prompt = {"sessionId": session, "prompt": [{"type": "text", "text": "hello"}]}
        os.write(ends.speak, json.dumps({"id": 2, "method": "session/prompt", "params": prompt}).encode() + b"\n")
        turn = hear(ends.listen, lambda got: bool(got) and got[-1].get("id") == 2)
        during = flags(ends)
        process.terminate()
        status = process.wait(DEADLINE_S)
    after = flags(ends)
    ends.close()

    assert "hello" == "".join(message["params"]["update"]["content"]["text"] for message in turn[:-1])
    assert (before, before, 0) == (during, after, status)


def test_the_end_of_a_terminal_is_the_end_of_the_conversation(tmp_path: Path) -> None:
    """A hung-up terminal reads as an error, not as an end."""
    ends = terminal()
    with running(tmp_path, ends) as process:
        os.write(ends.speak, INITIALIZE)
        hear(ends.listen, lambda got: len(got) == 1)
        ends.close()

        assert 0 == process.wait(DEADLINE_S)


def test_a_file_is_read_to_its_end_and_answered_into_a_file(tmp_path: Path) -> None:
    """epoll takes no regular files; they are how a bug report is replayed."""
    said, heard = tmp_path / "said", tmp_path / "heard"
    said.write_bytes(INITIALIZE + NEW + LIST)
    with said.open("rb") as stdin, heard.open("wb") as stdout:
        process = started(tmp_path, stdin=stdin, stdout=stdout)
        _, stderr = process.communicate(timeout=DEADLINE_S)

    assert (0, b"") == (process.returncode, stderr)
    assert {0, 1, 2} == {json.loads(line)["id"] for line in heard.read_bytes().splitlines()}


def test_a_file_that_is_appended_to_keeps_what_it_holds(tmp_path: Path) -> None:
    """`acp-broker stdio < said >> heard`."""
    said, heard = tmp_path / "said", tmp_path / "heard"
    said.write_bytes(INITIALIZE)
    heard.write_bytes(b"before\n")
    with said.open("rb") as stdin, heard.open("ab") as stdout:
        started(tmp_path, stdin=stdin, stdout=stdout).communicate(timeout=DEADLINE_S)
    first, second = heard.read_bytes().splitlines()

    assert (b"before", 0) == (first, json.loads(second)["id"])


def test_nothing_to_read_is_a_clean_exit(tmp_path: Path) -> None:
    """Cron, systemd and CI start programs with /dev/null as stdin."""
    process = started(tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    out, err = process.communicate(timeout=DEADLINE_S)

    assert (0, b"", b"") == (process.returncode, out, err)


@pytest.mark.parametrize("sink", ["/dev/null", "/dev/full"])
def test_answers_that_nobody_can_read_are_dropped(tmp_path: Path, sink: str) -> None:
    """A device that takes everything, and one that takes nothing, are a reader that is gone: no traceback, no loop."""
    with open(sink, "wb") as stdout:  # noqa: PTH123 - a device
        process = started(tmp_path, stdin=subprocess.PIPE, stdout=stdout)
        _, err = process.communicate(INITIALIZE + NEW + LIST, timeout=DEADLINE_S)

    assert (0, b"") == (process.returncode, err)


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    """`acp-broker stdio | head -n 1`: a broken pipe must not end sessions with a traceback."""
    ends = pipe()
    with running(tmp_path, ends) as process:
        os.close(ends.stdout)
        os.close(ends.listen)
        os.write(ends.speak, INITIALIZE + NEW + LIST)
        os.close(ends.stdin)
        os.close(ends.speak)
        _, err = process.communicate(timeout=DEADLINE_S)

    assert (0, b"") == (process.returncode, err)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&-", "<&- >&- 2>&-"])
def test_a_descriptor_that_is_closed_is_nobody(tmp_path: Path, closed: str) -> None:
    """The next file that is opened would become stdin or stdout: a session log, a socket, an agent's pipe."""
    config = write(tmp_path, chain(main=ECHO))
    command = ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "acp_broker.cli.main"]
    env = {**os.environ, "ACP_BROKER_HOME": str(tmp_path / "state")}
    done = subprocess.run(
        [*command, "--config", str(config), "stdio"],
        input=INITIALIZE + NEW,
        capture_output=True,
        env=env,
        timeout=DEADLINE_S,
        check=False,
    )
    logs = b"".join(path.read_bytes() for path in (tmp_path / "state").rglob("*.jsonl"))
    answered = [json.loads(line)["id"] for line in done.stdout.splitlines()]

    assert (0, b"", []) == (done.returncode, done.stderr, answered)
    assert b'"jsonrpc"' not in logs


PRINTS = """
import os, subprocess, sys
from acp_broker.edge.descriptors import claim
read_fd, write_fd = claim()
print("print")
sys.stdout.write("stdout")
sys.stdout.flush()
os.write(1, b"fd 1")
subprocess.run(["sh", "-c", "echo a child; cat; ls -l /proc/self/fd >&2"], check=True)
os.write(write_fd, b"protocol")
os.write(write_fd, os.read(read_fd, 100))
"""


def test_nothing_but_the_protocol_reaches_stdout(tmp_path: Path) -> None:
    """A library that prints would break the connection; a child that reads would steal from it."""
    done = subprocess.run(
        [sys.executable, "-c", PRINTS], input=b" and stdin", capture_output=True, timeout=DEADLINE_S, check=True
    )

    assert b"protocol and stdin" == done.stdout
    assert [b"print", b"stdoutfd 1a child"] == done.stderr.splitlines()[:2]
    pipes = {line.split()[-1] for line in done.stderr.splitlines() if b"pipe:" in line}
    assert 1 == len(pipes), "the child has no other pipe than stderr"
