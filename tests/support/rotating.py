"""A token server on loopback as strict as the strictest: each refresh token works once, and its reuse ends the login.

It answers on real sockets in threads, so that a test may block meanwhile.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar
from urllib.parse import parse_qs

AnyServer = TypeVar("AnyServer", bound="Rotating")


class Rotating:
    """`is_forgiving`: the refresh token used last may be used again, and brings what it brought, as many allow.

    `asked` are the refresh tokens in the order of the requests; `hold` is called before each answer. `ends` is when
    each access token ends, by `now`.
    """

    def __init__(self, *, is_forgiving: bool = False, lasts_s: float = 3600.0) -> None:
        self.url = ""
        self.is_forgiving = is_forgiving
        self.lasts_s = lasts_s
        self.asked: list[str] = []
        self.is_revoked = False
        self.hold: Callable[[], None] = lambda: None
        self.now: Callable[[], float] = time.time
        self.ends: dict[str, float] = {}
        self._serial = 0
        self._last: str | None = None
        self._lock = threading.Lock()

    @property
    def refresh(self) -> str:
        """The refresh token that works now."""
        return f"canary-refresh-{self._serial}"

    @property
    def access(self) -> str | None:
        """The access token that works now; None once the login is over."""
        return None if self.is_revoked else f"canary-access-{self._serial}"

    def _is_next(self, token: str) -> bool:
        return token == self.refresh and not self.is_revoked

    def grant(self, token: str) -> tuple[int, dict[str, object]]:
        with self._lock:
            self.asked.append(token)
            if self._is_next(token):
                self._last = token
                self._serial += 1
                self.ends[f"canary-access-{self._serial}"] = self.now() + self.lasts_s
            elif not (self.is_forgiving and token == self._last):
                self.is_revoked = True
            if self.is_revoked:
                # Some quote what they refuse.
                return 400, {"error": "invalid_grant", "error_description": f"the token {token} was used before"}
            return 200, {
                "access_token": self.access,
                "refresh_token": self.refresh,
                "expires_in": self.lasts_s,
                "token_type": "Bearer",
            }


class Minting(Rotating):
    """A server as Google's: whoever asks gets another access token, and uses nothing up."""

    def _is_next(self, token: str) -> bool:
        return True


@contextmanager
def rotating(server: AnyServer) -> Iterator[AnyServer]:
    """Listens until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            # Rotated before it is answered: that is what makes a lost answer dear.
            form = parse_qs(body)
            status, said = server.grant((form.get("refresh_token") or form["assertion"])[0])
            server.hold()
            data = json.dumps(said).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except OSError:  # who asked is dead
                self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

        def handle_error(self, *args: object) -> None:
            pass

    listener = Server(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{listener.server_address[1]}/token"
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()
