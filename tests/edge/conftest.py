"""A household whose log is kept, for the tests of child processes."""

from collections.abc import AsyncIterator

import pytest

from acp_broker.edge.household import Household


@pytest.fixture
def logged() -> list[str]:
    return []


@pytest.fixture
async def household(logged: list[str]) -> AsyncIterator[Household]:
    def log(event: str, **fields: object) -> None:
        logged.append(event)

    async with Household(log) as household:
        yield household
