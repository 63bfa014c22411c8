"""Shared fixtures: asyncio is the only event loop we run on."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
