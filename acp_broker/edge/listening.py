"""Listening TCP sockets: all addresses of a host on one port, and an accept that outlives a shortage of descriptors."""

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Sequence

from acp_broker.clock import Clock, Timer
from acp_broker.errors import UsageError

BACKLOG = 512
# With port 0 the system chooses one for the first address; it may be taken on the second.
PORT_TRIES = 10
# How long to wait for others to close something.
SHORTAGE_S = 1.0
# Connections accepted before others have their turn.
AT_ONCE = 16
# accept(2), "Error handling": the connection was lost before it was accepted; the next one need not be.
_LOST = frozenset({errno.ECONNABORTED, errno.EPROTO, errno.EPERM})
# `localhost` names an IPv6 address on machines that have no IPv6 too.
_NO_SUCH_FAMILY = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})

Log = Callable[..., None]


async def bind(host: str, port: int) -> list[socket.socket]:
    """One listening socket for each address of `host`, all on one port. Raises UsageError."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise UsageError(f"frontends.websocket.host: {host} is no address of this machine: {error.strerror}") from error
    addresses = list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))
    for _ in range(PORT_TRIES):
        try:
            return _bind_all(addresses, port)
        except OSError as error:
            problem = error
            if port or error.errno != errno.EADDRINUSE:
                break
    raise UsageError(
        f"cannot listen on {host} port {port}: {os.strerror(problem.errno or 0)}; "
        "end what listens there, or set frontends.websocket.port (0: any free one) or .host"
    ) from problem


def _bind_all(addresses: Sequence[tuple[socket.AddressFamily, str]], port: int) -> list[socket.socket]:
    bound: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, address in addresses:
            try:
                bound.append(_bind_one(family, address, port))
            except OSError as error:
                if error.errno not in _NO_SUCH_FAMILY:
                    raise
                missing = error
                continue
            port = bound[0].getsockname()[1]
        if missing is not None and not bound:
            raise missing
    except OSError:
        for one in bound:
            one.close()
        raise
    return bound


def _bind_one(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    # The protocol must be said: asyncio sets TCP_NODELAY only on sockets whose listener knew that it is TCP.
    one = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        one.setblocking(False)  # noqa: FBT003 - it takes no keyword
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind((address, port))
        one.listen(BACKLOG)
    except OSError:
        one.close()
        raise
    return one


class Door:
    """Accepts on one listening socket, and hands over each connection with the address that it comes from.

    Not asyncio's own server: without a free descriptor that one reports as many errors at once as its backlog is long.
    """

    def __init__(
        self, listener: socket.socket, on_socket: Callable[[socket.socket, str], None], clock: Clock, log: Log
    ) -> None:
        self._listener = listener
        self._on_socket = on_socket
        self._clock = clock
        self._log = log
        self._retry: Timer | None = None
        self._open()

    def close(self) -> None:
        """From now on nobody is let in; closing twice does nothing."""
        if self._retry is not None:
            self._retry.cancel()
        if self._listener.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()

    def _open(self) -> None:
        self._retry = None
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            try:
                accepted, address = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno not in _LOST:
                    self._wait(error)
                    return
            else:
                accepted.setblocking(False)  # noqa: FBT003 - it takes no keyword
                self._on_socket(accepted, str(address[0]))

    def _wait(self, error: OSError) -> None:
        self._log("accept_failed", why=error.strerror, retry_s=SHORTAGE_S)
        asyncio.get_running_loop().remove_reader(self._listener)
        self._retry = self._clock.call_at(self._clock.now() + SHORTAGE_S, self._open)
