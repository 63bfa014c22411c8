"""A broker that is killed at any instant: nothing that a frontend had been told is lost, doubled or out of order."""

from pathlib import Path

import pytest

from tests.support import chaos
from tests.support.torture import play


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_frontends_had_been_told_is_in_the_replay_after_each_of_ten_kills(tmp_path: Path, seed: int) -> None:
    """scripts/torture does it a thousand times. Among them are kills within a write."""
    happened = play(tmp_path, seed)

    assert happened.torn > 0
    assert happened.heard > 500


@pytest.mark.parametrize("seed", [1, 2])
def test_a_mixed_chain_keeps_its_promises_whatever_fails(tmp_path: Path, seed: int) -> None:
    """scripts/torture --turns plays a thousand of such turns. One life is of `stdio`, the other of `serve`."""
    happened = chaos.play(tmp_path, seed, 5)

    assert happened["fault"] >= 3
