"""A household whose log is kept, for the tests of child processes; and kernels that lack something."""

import os
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


@pytest.fixture(params=["pidfd", "no pidfd"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without pidfds, which old kernels, and a Python that was built on one, do not have."""
    if request.param == "no pidfd":
        monkeypatch.delattr(os, "pidfd_open")
