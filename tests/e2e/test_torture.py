"""A broker that is killed at any instant: nothing that a frontend had been told is lost, doubled or out of order."""

from pathlib import Path

import pytest

from tests.support.torture import play


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_frontends_had_been_told_is_in_the_replay_after_each_of_ten_kills(tmp_path: Path, seed: int) -> None:
    """scripts/torture does it a thousand times. Among them are kills within a write."""
    happened = play(tmp_path, seed)

    assert happened.torn > 0
    assert happened.heard > 500
