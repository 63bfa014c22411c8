"""A real `acp-broker serve` process, and frontends that connect to it over WebSocket and the unix socket.

    with Daemon(tmp_path, chain(primary={}, spare={}, frontends=WEBSOCKET)) as daemon:
        bridge, editor = daemon.websocket(), daemon.unix()
        turn = bridge.prompt(bridge.open(), "hello")

Inside, it is ready: it has said so itself. Leaving sends SIGTERM and expects of every run: exit status 0, one answer to
each request, no process, socket or daemon.json left, and logs that play again. Its log is on its stderr.
"""

import json
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from acp_broker import __version__
from acp_broker.edge import meeting
from tests.support.run import Run
from tests.support.session_logs import check_logs
from tests.support.talk import DEADLINE_S, Talk

# Any free port: the daemon says which one it was.
WEBSOCKET = {"websocket": {"port": 0}}


class Daemon(Run):
    """Use as a context manager. `guests` are all that have connected; they are closed with it."""

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, object],
        *,
        home: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(folder, config, home=home, env=env)
        self.log_file = self.stderr
        self.guests: list[Talk] = []
        self.ready: dict = {}

    def __enter__(self) -> "Daemon":
        self.begin("serve", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            self.ready = self.until_logged("ready")
        except BaseException:
            self.clean_up()
            raise
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None and not self._is_over:
                self.stop()
        finally:
            with ExitStack() as leaving:
                leaving.callback(self.clean_up)
                for guest in self.guests:
                    leaving.callback(guest.close)

    @property
    def url(self) -> str:
        return self.ready["websocket"]

    @property
    def token(self) -> str:
        return (self.home / "token").read_text().strip()

    # --- who connects

    def websocket(self, token: str | None = None, **members: object) -> "Bridge":
        """A bridge that is connected."""
        bridge = Bridge(self.work, self.url, token or self.token, **members)
        self.guests.append(bridge)
        return bridge

    def unix(self, **hello: object) -> "Editor":
        """A relay that said hello and was welcomed."""
        editor = Editor(self.work, Path(self.ready["socket"]), {**self.hello(), **hello})
        self.guests.append(editor)
        assert editor.greeting == {"welcome": True}, editor.greeting
        return editor

    def greeted(self, **hello: object) -> dict[str, object]:
        """What a hello is answered, by whom it may not welcome."""
        editor = Editor(self.work, Path(self.ready["socket"]), {**self.hello(), **hello})
        editor.close()
        return editor.greeting

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
        """A plain HTTP request to where WebSocket listens; the status and the body of its answer."""
        place = urlsplit(self.url)
        connection = HTTPConnection(str(place.hostname), place.port, timeout=DEADLINE_S)
        try:
            connection.request("GET", path, headers=dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def upgrade(self, token: str | None = None) -> dict[str, str]:
        """The headers of a client that wants to be let in."""
        return {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
            "Authorization": f"Bearer {token or self.token}",
        }

    def hello(self) -> dict[str, object]:
        """What a relay of the same version and config says first."""
        return {
            "version": __version__,
            "config": str(self.config),
            "pid": self.process.pid,
            "environment": self.env,
            "asks": "frontend",
        }

    def status(self) -> dict:
        """What `acp-broker status --json` prints."""
        ended = self.ask("status", "--json")
        assert (0, "") == (ended.returncode, ended.stderr)
        return json.loads(ended.stdout)

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Another `acp-broker` command, with the config and state folder of this run."""
        return subprocess.run(
            self.command(*words), env=self.env, capture_output=True, text=True, timeout=DEADLINE_S, check=False
        )

    # --- its end

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self) -> None:
        self.signal(signal.SIGTERM)
        self.ended()

    def ended(self, status: int = 0) -> None:
        """Wait for the end that was asked for, then look at everything that is left of the run."""
        self._is_over = True
        got = self.process.wait(DEADLINE_S)
        assert status == got, f"exit status {got}: {self.stderr.read_text()}"
        for guest in self.guests:
            guest.until_end()
            guest.check_answers()
        assert [] == self.left_over(within_s=0)
        assert [] == self.places()
        check_logs(self.home)

    def places(self) -> list[Path]:
        """By what it could still be found."""
        return [path for path in (Path(self.ready["socket"]), self.home / "daemon.json") if path.exists()]


class Bridge(Talk):
    """A frontend over WebSocket. `code` is what the connection was closed with, once it was."""

    def __init__(self, work: Path, url: str, token: str, **members: object) -> None:
        super().__init__(work)
        self.code: int | None = None
        self.reason = ""
        headers = {"Authorization": f"Bearer {token}"}
        self._open = ExitStack()
        self.line: ClientConnection = self._open.enter_context(
            connect(url, additional_headers=headers, max_size=None, proxy=None, open_timeout=DEADLINE_S, **members)
        )

    def _send(self, data: bytes) -> None:
        for line in data.splitlines():
            self.line.send(line.decode())

    def _receive(self, deadline: float) -> bytes:
        try:
            frame = self.line.recv(max(0.0, deadline - time.monotonic()))
        except TimeoutError as error:
            raise AssertionError(self.nothing_came()) from error
        except ConnectionClosed as error:
            self.code = error.rcvd.code if error.rcvd is not None else None
            self.reason = error.rcvd.reason if error.rcvd is not None else ""
            return b""
        assert isinstance(frame, str), "a binary frame"
        return frame.encode() + b"\n"

    def close(self) -> None:
        self._open.close()


class Editor(Talk):
    """A frontend over the unix socket, as `acp-broker stdio` is one. `greeting` is what its hello was answered."""

    def __init__(self, work: Path, path: Path, hello: Mapping[str, object]) -> None:
        super().__init__(work)
        self.line = socket.socket(socket.AF_UNIX)
        self.line.settimeout(DEADLINE_S)
        self.line.connect(str(path))
        self.line.sendall(meeting.line(**hello))
        first = self._read_line()
        self.greeting = meeting.read(first) if first is not None else {}

    def _send(self, data: bytes) -> None:
        self.line.sendall(data)

    def _receive(self, deadline: float) -> bytes:
        self.line.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            return self.line.recv(1 << 20)
        except TimeoutError as error:
            raise AssertionError(self.nothing_came()) from error
        except ConnectionResetError:
            return b""

    def leave(self) -> None:
        """Close its side, as an editor does; what is still sent is read."""
        self.line.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.line.close()
