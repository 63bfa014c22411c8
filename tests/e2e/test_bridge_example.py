"""The program of docs/bridge.md, as a reader would run it: against a daemon, on a connection that breaks."""

import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.architecture import TOP
from tests.support.broker import chain
from tests.support.cutting_proxy import CuttingProxy
from tests.support.daemon import WEBSOCKET, Daemon
from tests.support.talk import DEADLINE_S

[PROGRAM] = re.findall(r"^```python\n(.*?)^```$", (TOP / "docs" / "bridge.md").read_text(), re.MULTILINE | re.DOTALL)
DIES = {"turns": [[{"do": "die"}]]}


class Chat:
    """A person in front of the bridge: `says` a line, and reads what is shown, `> ` before each of their lines."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.seen = ""

    def says(self, line: str) -> None:
        self._process.stdin.write(f"{line}\n".encode())

    @property
    def answers(self) -> str:
        """What was shown, less the `> `: on a new connection that may come before the last words of an old turn."""
        return self.seen.replace("\n> ", "")

    def until(self, text: str) -> str:
        """All that was shown, once it ends with this; or its answers, once they do."""
        deadline = time.monotonic() + DEADLINE_S
        while not (self.seen.endswith(text) or self.answers.endswith(text)):
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"only {self.seen!r}"
            data = os.read(self._process.stdout.fileno(), 1 << 16)
            assert data, f"it has ended: {self.seen!r}"
            self.seen += data.decode()
        return self.seen


@contextmanager
def bridge(daemon: Daemon, port: int) -> Iterator[Chat]:
    """The program as a process, in the daemon's work folder, connected through this port."""
    env = {**daemon.env, "ACP_BROKER_URL": f"ws://127.0.0.1:{port}/acp", "ACP_BROKER_TOKEN": daemon.token}
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], cwd=daemon.work, env=env, stdin=pipe, stdout=pipe, bufsize=0
    )
    try:
        yield Chat(process)
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def port_of(daemon: Daemon) -> int:
    return urlsplit(daemon.url).port


def test_it_has_at_most_forty_lines() -> None:
    """More than that nobody reads before they copy it."""
    assert len([line for line in PROGRAM.splitlines() if line.strip()]) <= 40


def test_words_permissions_and_errors_reach_the_chat(tmp_path: Path) -> None:
    """A whole conversation: the primary dies, the spare answers, asks for two things, and fails at last."""
    spare = {
        "turns": [
            [{"do": "say", "text": "Hello, you.", "chunks": 3}],
            [
                {"do": "say", "text": "May I? "},
                {"do": "askPermission", "title": "Delete it", "toolCallId": "call-1"},
                {"do": "sayAnswer"},
            ],
            [{"do": "say", "text": "Well, "}, {"do": "fail", "code": -32011, "message": "out of ideas"}],
            [{"do": "say", "text": "Again."}],
        ]
    }
    config = chain(primary=DIES, spare=spare, frontends=WEBSOCKET)
    with Daemon(tmp_path, config) as daemon, bridge(daemon, port_of(daemon)) as chat:
        for line in ("hi", "do it", "go on", "again"):
            chat.until("\n> ")
            chat.says(line)
        seen = chat.until("Again.\n> ")

    assert (
        "\n> Hello, you."
        "\n> May I? reject"
        "\n> Well, (spare failed after it had begun to answer: out of ideas. "
        "Nobody else was tried: its words were already shown)\n"
        "\n> Again."
        "\n> "
    ) == seen  # fmt: skip
    assert 2 == daemon.log("turn_over")[0]["attempts"]


def test_an_answer_arrives_whole_though_its_connection_is_lost(tmp_path: Path) -> None:
    """It is cut within a word's frame: what was shown is not shown again, and nothing is missing."""
    words = ["The ", "answer ", "is ", "forty-", "two", ", as always."]
    spare = {"turns": [[{"do": "say", "text": word} for word in words], [{"do": "echo", "chunks": 1}]]}
    config = chain(primary=DIES, spare=spare, frontends=WEBSOCKET)
    with Daemon(tmp_path, config) as daemon, CuttingProxy(port_of(daemon)) as proxy, bridge(daemon, proxy.port) as chat:
        chat.until("\n> ")
        proxy.cut_behind(b"forty")
        chat.says("what is the answer?")
        chat.until("as always.")
        proxy.cut_behind(b"Bye")
        chat.says("Bye.")
        chat.until("Bye.")

    assert "The answer is forty-two, as always.Bye." == chat.answers
    assert (2, 2) == (proxy.cuts, len(daemon.log("turn_over")))


def test_a_message_that_is_lost_with_its_connection_is_sent_again(tmp_path: Path) -> None:
    """The broker has never seen it; the one that it has seen is not asked twice."""
    spare = {"turns": [[{"do": "say", "text": "One."}], [{"do": "say", "text": "Two."}]]}
    config = chain(primary=DIES, spare=spare, frontends=WEBSOCKET)
    with Daemon(tmp_path, config) as daemon, CuttingProxy(port_of(daemon)) as proxy, bridge(daemon, proxy.port) as chat:
        chat.until("\n> ")
        chat.says("one")
        chat.until("One.\n> ")
        proxy.cut_before_next_word()
        chat.says("two")
        chat.until("Two.")

    assert "One.Two." == chat.answers
    assert (1, 2) == (proxy.cuts, len(daemon.log("turn_over")))


def test_a_question_that_is_lost_with_its_connection_is_asked_again(tmp_path: Path) -> None:
    """It is cut within the question's frame; the answer is given on the next connection, and the rest comes there."""
    asks = {"do": "askPermission", "title": "Delete it", "toolCallId": "call-1"}
    turn = [{"do": "say", "text": "May I? "}, asks, {"do": "sayAnswer"}, {"do": "say", "text": ", then."}]
    config = chain(primary=DIES, spare={"turns": [turn]}, frontends=WEBSOCKET)
    with Daemon(tmp_path, config) as daemon, CuttingProxy(port_of(daemon)) as proxy, bridge(daemon, proxy.port) as chat:
        chat.until("\n> ")
        proxy.cut_behind(b"Delete")
        chat.says("do it")
        chat.until(", then.")

    assert "May I? reject, then." == chat.answers
    assert (1, 1) == (proxy.cuts, len(daemon.log("turn_over")))


def test_it_outlives_the_daemon(tmp_path: Path) -> None:
    """Killed in the middle of an answer: the next daemon takes the session up again, and says what became of it."""
    script = {"turns": [[{"do": "say", "text": "So far. "}, {"do": "stall"}]]}
    config = chain(primary=script, frontends=WEBSOCKET)
    with Daemon(tmp_path, config) as first, CuttingProxy(port_of(first)) as proxy, bridge(first, proxy.port) as chat:
        chat.until("\n> ")
        chat.says("one")
        chat.until("So far. ")
        first.kill()
        with Daemon(tmp_path, chain(primary={}, frontends=WEBSOCKET)) as second:
            proxy.to = port_of(second)
            chat.says("two")
            chat.until("two")

    told = "[acp-broker] interrupted: the broker ended before this turn had its answer; nothing ran it again\n\n"
    refused = (
        "(acp-broker ended before this prompt had its answer: look at what was done, then send it with a new key)\n"
    )
    assert f"So far. {told}{refused}two" == chat.answers
    assert 1 == len(list((first.home / "sessions").iterdir()))
