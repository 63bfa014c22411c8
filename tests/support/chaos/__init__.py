"""Chaos over mixed chains: brokers, agents and providers that fail, freeze and die while turns run, by dice.

A life is one state folder, a chain of several kinds of backends, and turns; beside each of these things go wrong. The
fault servers know what they meant to say to each request, the agents what they were told, and the logs what was kept:
`promises` holds what the client was shown against all of them, behind every turn.

    python -m tests.support.torture --turns N [--seed S]
"""

from pathlib import Path
from random import Random

from tests.support.chaos.life import Life
from tests.support.chaos.scene import Scene

# Of one life.
TURNS = 30


def play(folder: Path, seed: int, turns: int) -> dict[str, int]:
    """One life, all of whose choices come from the seed; what happened, by name. Raises AssertionError.

    Lives are by turns of `stdio` and `serve`; in every fourth no broker is killed, so that it grows old.
    """
    dice = Random(seed)
    with Scene(folder, dice, str(seed), is_daemon=seed % 2 == 0) as scene:
        life = Life(scene, dice, kills=seed % 4 != 0)
        try:
            life.play(turns)
        except AssertionError as error:
            again = f"scripts/torture --turns {turns} --seed {seed}"
            raise AssertionError(f"seed {seed}, prompt {life.count}: {error}\nagain: {again}") from error
    return {"turns": life.count, **life.troubles.done}
