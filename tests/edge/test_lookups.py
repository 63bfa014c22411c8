"""Looking up the names of hosts, while no name server answers."""

import socket

import anyio
import pytest

from acp_broker.edge import lookups
from tests.support.resolver import resolving


@pytest.fixture
def resolver(monkeypatch):
    with resolving(monkeypatch) as found:
        yield found


def test_the_end_waits_for_no_lookup(resolver):
    """An editor that closes its side would find the broker there half a minute later."""

    async def give_up() -> None:
        lookups.apart()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.getaddrinfo, "slow", 80)
            await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()

    anyio.run(give_up)

    assert 0 == resolver.over


def test_a_name_is_found_while_many_others_are_not(resolver):
    """The fallback's name is looked up although its primary's has been tried by every session."""

    async def find() -> list:
        lookups.apart()
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(anyio.getaddrinfo, "slow", 80)
            await anyio.lowlevel.checkpoint()
            found = await anyio.getaddrinfo("fast", 80)
            over = resolver.over
            tasks.cancel_scope.cancel()
        return [over, found[0][4]]

    assert [0, ("127.0.0.1", 80)] == anyio.run(find)


@pytest.mark.anyio
async def test_a_lookup_that_fails_is_told_to_who_waits(monkeypatch):
    """As any other."""

    def fail(*_args, **_more):
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    lookups.apart()
    with pytest.raises(socket.gaierror, match="no such name"):
        await anyio.getaddrinfo("nowhere", 80)
