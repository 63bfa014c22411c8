"""The official TypeScript SDK: its packages, and the conversation that tests/ts/talk.mjs holds with it."""

import json
import subprocess
from pathlib import Path

from tests.support import npm
from tests.support.conversation import Told, transcript
from tests.support.run import ENVIRONMENT
from tests.support.ways import Address, Command, Way

HERE = Path(__file__).parents[1] / "ts"
# A test that waits this long has failed: it bounds a hang, nothing is measured by it.
DEADLINE_S = 60.0


def install() -> None:
    """Have the packages of tests/ts."""
    npm.install(HERE)


def told(way: Way, work: Path, *, settings: bool = True) -> Told:
    """The conversation of tests/ts/talk.mjs with whoever is there."""
    match way:
        case Command(argv, env):
            to: dict[str, object] = {"command": argv}
        case Address(url, headers, protocols):
            to, env = {"url": url, "headers": headers, "protocols": protocols}, ENVIRONMENT
    talk = subprocess.run(
        ["node", str(HERE / "talk.mjs"), json.dumps({**to, "work": str(work), "settings": settings})],
        env=env,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert (0, "") == (talk.returncode, talk.stderr)
    heard = (said := json.loads(talk.stdout))["heard"]
    return Told(
        transcript(heard, said["session"], said["setUp"]), heard, said["understood"], said["error"], said["mishaps"]
    )
