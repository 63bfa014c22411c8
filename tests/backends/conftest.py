"""What most tests of backends begin with."""

import pytest

from tests.support import apis
from tests.support.client import FakeClient, FakeTools


@pytest.fixture
def tools() -> FakeTools:
    return apis.given()


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()
