"""docs/remote.md says what the code does."""

import json
import re
from pathlib import Path

from acp_broker.app.kinds import kinds
from acp_broker.config import load
from acp_broker.edge import dialing
from backends.acp import hops, remote
from tests.support.config import write

PAGE = (Path(__file__).parents[1] / "docs" / "remote.md").read_text()


def test_the_example_is_a_config(tmp_path):
    """Readers paste it."""
    (example,) = re.findall(r"```json\n(.+?)```", PAGE, re.DOTALL)
    config = load(kinds(), path=write(tmp_path, json.loads(example)), environ={"HOME": "/h", "BOX_TOKEN": "x"})

    assert config.warnings == ()


def test_the_limits_are_those_of_the_code():
    """Who waits wants to know for how long."""
    said = (
        f"`limits.connectMs` ({remote.CONNECT_S:g} s). After {dialing.PING_S:g} s there is a ping",
        f"answers none for {dialing.GONE_S:g} s",
        f"It tries for {remote.SPOKEN_S:g} s.",
        f"it tries for {remote.SILENT_S:g} s and then",
        f"looked for at once and for\n  {remote.LEAVING_S:g} s more",
    )

    assert [True] * len(said) == [one in PAGE for one in said]
    assert (8, True) == (hops.MOST, "or eight of them" in PAGE)
