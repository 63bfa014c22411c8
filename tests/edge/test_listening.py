"""Listening sockets: the addresses and the port, and what happens when descriptors run out."""

import os
import resource
import socket

import pytest

from acp_broker.edge import listening
from acp_broker.errors import UsageError
from tests.support.clock import settled
from tests.support.websocket import has_ipv6, open_door, raw, request

pytestmark = pytest.mark.anyio


@pytest.mark.skipif(not has_ipv6(), reason="binds ::1, which this machine does not have")
async def test_all_addresses_of_a_host_share_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """`localhost` is 127.0.0.1 for some clients and ::1 for others; with port 0 too."""
    resolve(monkeypatch, "127.0.0.1", "::1")
    sockets = await listening.bind("localhost", 0)
    bound = [one.getsockname()[:2] for one in sockets]
    for one in sockets:
        one.close()

    assert ["127.0.0.1", "::1"] == [address for address, _ in bound]
    assert 1 == len({port for _, port in bound})


async def test_an_address_that_this_machine_does_not_have_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hosts file names ::1 on machines without IPv6 too."""
    resolve(monkeypatch, "192.0.2.1", "127.0.0.1")
    sockets = await listening.bind("localhost", 0)
    bound = [one.getsockname()[0] for one in sockets]
    for one in sockets:
        one.close()

    assert ["127.0.0.1"] == bound


async def test_a_host_without_any_address_here_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is somebody else's."""
    with pytest.raises(UsageError, match=r"cannot listen on 192\.0\.2\.1 port 0: Cannot assign requested address"):
        await listening.bind("192.0.2.1", 0)


async def test_a_host_that_is_no_name_is_an_error() -> None:
    """The message says which key of config.json it stands in."""
    with pytest.raises(UsageError, match=r"frontends\.websocket\.host: not\.a\.host\.invalid"):
        await listening.bind("not.a.host.invalid", 0)


async def test_a_port_that_is_taken_is_an_error() -> None:
    """With what to do about it, and with nothing left open."""
    async with open_door() as door:
        with pytest.raises(
            UsageError, match=rf"port {door.port}: Address already in use; .*frontends\.websocket\.port"
        ):
            async with open_door(port=door.port):
                pass


async def test_a_port_can_be_bound_again_at_once() -> None:
    """A daemon that restarts finds those connections in TIME_WAIT that it was the first to close."""
    async with open_door() as door, raw(door) as peer:
        port = door.port
        peer.send(request("GET / HTTP/1.1"))
        await peer.rest()
    async with open_door(port=port) as again:
        bound = again.port

    assert port == bound


async def test_without_free_descriptors_it_waits_and_says_so_once() -> None:
    """The connection waits in the kernel until there is a descriptor for it; meanwhile we do not spin."""
    async with open_door() as door:
        with socket.socket() as peer:
            peer.setblocking(False)
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            free = os.dup(0)
            os.close(free)
            resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
            try:
                peer.connect_ex(("127.0.0.1", door.port))
                for _ in range(10):
                    await settled()
                complaints = list(door.events("accept_failed"))
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            await door.clock.advance(1)
            peer.send(request())
            while not door.guests:
                await settled()

    assert [("Too many open files", 1.0)] == [(one["why"], one["retry_s"]) for one in complaints]


async def test_a_door_that_waits_can_be_closed() -> None:
    """Its timer must not open it again."""
    async with open_door() as door:
        for one in door.listener._doors:
            one._wait(OSError(24, "Too many open files"))
        door.listener.stop_listening()
        armed = list(door.clock.armed)
        door.listener.stop_listening()

    assert 60.0 in armed
    assert 1.0 not in armed


def resolve(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Let every name stand for these addresses."""

    def getaddrinfo(host: str, port: int, *how: object, **more: object) -> list[tuple[object, ...]]:
        return [
            (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port))
            for one in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
