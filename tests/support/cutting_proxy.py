"""A TCP proxy on loopback that loses connections when it is told to, at an exact byte."""

import socket
import threading
from contextlib import suppress


class CuttingProxy:
    """Use as a context manager. Whoever comes back is let through again; `to` is the port that they are let through to.

    While nobody is there, a connection is closed at once.
    """

    def __init__(self, port: int) -> None:
        self.to = port
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = self._door.getsockname()[1]
        self.cuts = 0
        self._behind: bytes | None = None
        self._before_next = False
        # How many more bytes each side may send; None: as many as it likes.
        self._client_may: int | None = None
        self._server_may: int | None = None
        self._live: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]

    def cut_behind(self, marker: bytes) -> None:
        """Lose the connection as soon as the server has sent this; nothing behind it is passed on."""
        self._behind = marker

    def cut_before_next_word(self) -> None:
        """Lose the connection as soon as the client sends something; that is lost with it."""
        self._before_next = True

    def cut_after(self, *, client: int | None = None, server: int | None = None) -> None:
        """Lose the connection, this one or a later one, when either side has sent so many bytes more; once."""
        self._client_may, self._server_may = client, server

    def lose(self) -> None:
        """Lose every connection there is, now."""
        live, self._live = self._live, []
        for one in live:
            _end(one)

    def __enter__(self) -> "CuttingProxy":
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        for one in tuple(self._live):
            _end(one)
        for thread in tuple(self._threads):
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._door.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.to))
            except OSError:
                client.close()
                continue
            self._live += client, server
            for source, target, seen in ((client, server, self._from_client), (server, client, self._from_server)):
                thread = threading.Thread(target=self._pump, args=(source, target, seen))
                self._threads.append(thread)
                thread.start()

    def _pump(self, source: socket.socket, target: socket.socket, seen: object) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                passed, is_cut = seen(data)
                target.sendall(passed)
                if is_cut:
                    self.cuts += 1
                    break
        _end(source)
        _end(target)

    def _from_client(self, data: bytes) -> tuple[bytes, bool]:
        is_cut, self._before_next = self._before_next, False
        if is_cut:
            return b"", True
        if self._client_may is None:
            return data, False
        self._client_may -= len(data)
        return self._cut_short(data, self._client_may)

    def _from_server(self, data: bytes) -> tuple[bytes, bool]:
        if self._server_may is not None:
            self._server_may -= len(data)
            return self._cut_short(data, self._server_may)
        if self._behind is None or self._behind not in data:
            return data, False
        end = data.index(self._behind) + len(self._behind)
        self._behind = None
        return data[:end], True

    def _cut_short(self, data: bytes, left: int) -> tuple[bytes, bool]:
        if left > 0:
            return data, False
        self._client_may = self._server_may = None
        return data[: len(data) + left], True


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
