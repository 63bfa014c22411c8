"""What the broker makes of what its backends said of themselves."""

import pytest

from acp_broker.broker import introduction
from acp_broker.core.names import BackendId
from acp_broker.wire import agent
from tests.support.client import plain, raw

PRIMARY = BackendId("primary")


@pytest.mark.parametrize("odd", ["oauth", 5, None, [], {}, {"id": 5}])
def test_a_login_method_that_is_none_is_left_out(odd: object) -> None:
    """One agent's mistake must not cost the editor its `initialize`, nor the methods beside it."""
    said = agent.initialized(raw({"protocolVersion": 1, "authMethods": [odd, {"id": "tty", "name": "Terminal"}]}))
    result = plain(introduction.result(PRIMARY, {PRIMARY: said}, terminal_login=False))

    assert ["primary/tty"] == [method["id"] for method in result["authMethods"]]
