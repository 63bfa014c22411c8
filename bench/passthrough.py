"""The floor for anything between a client and a provider: bytes go through, held until the first word is there.

    python -m bench.passthrough PORT

prints its own port. It translates nothing, keeps nothing and knows no failure. Each connection has one of its own
behind it, which lives as long.
"""

import asyncio
import re
import sys

# The first event with a word in it; before, another provider could still be asked.
_CONTENT = re.compile(rb'"content": ?"[^"]')


class Near(asyncio.Protocol):
    """A client's connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._waiting = b""
        self._far: asyncio.WriteTransport | None = None
        self.transport: asyncio.WriteTransport
        self.is_new = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self.transport = transport
        self._connecting = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        self._far, _ = await loop.create_connection(lambda: Far(self), "127.0.0.1", self._port)
        self._far.write(self._waiting)

    def data_received(self, data: bytes) -> None:
        self.is_new = True
        if self._far is None:
            self._waiting += data
        else:
            self._far.write(data)

    def connection_lost(self, _: Exception | None) -> None:
        self._connecting.cancel()
        if self._far is not None:
            self._far.close()


class Far(asyncio.Protocol):
    """The connection behind it."""

    def __init__(self, near: Near) -> None:
        self._near = near
        self._held = b""

    def data_received(self, data: bytes) -> None:
        near = self._near
        if near.is_new:
            self._held += data
            if _CONTENT.search(self._held) is None and b"[DONE]" not in self._held:
                return
            near.is_new, data, self._held = False, self._held, b""
        near.transport.write(data)

    def connection_lost(self, _: Exception | None) -> None:
        self._near.transport.write(self._held)
        self._near.transport.close()


async def _serve(behind: int) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Near(behind), "127.0.0.1", 0, backlog=200)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
