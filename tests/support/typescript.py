"""The official TypeScript SDK: its packages, and the conversation that tests/ts/talk.mjs holds with it."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.conversation import Told, transcript
from tests.support.run import ENVIRONMENT
from tests.support.ways import Address, Command, Way

HERE = Path(__file__).parents[1] / "ts"
# A test that waits this long has failed: it bounds a hang, nothing is measured by it.
DEADLINE_S = 60.0
# A slow registry, not a slow test.
INSTALL_S = 240.0


def install() -> None:
    """Have the packages of tests/ts in its node_modules, which git ignores: as its lock file names them, and once.

    Of two runs at the same time the second waits. Needs npm and, the first time, its registry.
    """
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.fail("the tests with the TypeScript SDK need node and npm (Node.js 18 or newer) on $PATH", pytrace=False)
    stamp = HERE / "node_modules" / ".installed"
    wanted = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in ("package.json", "package-lock.json")))
    folder = os.open(HERE, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if not stamp.is_file() or stamp.read_text() != wanted.hexdigest():
            _npm_ci()
            stamp.write_text(wanted.hexdigest())
    finally:
        os.close(folder)


def _npm_ci() -> None:
    done = subprocess.run(["npm", "ci"], cwd=HERE, capture_output=True, text=True, timeout=INSTALL_S)
    if done.returncode != 0:
        pytest.fail(f"npm ci in {HERE} exits with {done.returncode}:\n{done.stderr}", pytrace=False)


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
