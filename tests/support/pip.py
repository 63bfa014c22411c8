"""Real software from PyPI that tests talk to, each in an environment of its own, which git ignores."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / ".software"
# A slow registry, not a slow test.
INSTALL_S = 300.0
# What is imported is compiled then; most of it never is.
_QUIETLY = ("--quiet", "--no-input", "--no-compile")


def install(name: str, *requirements: str) -> Path:
    """The `bin` of an environment with these packages, which is made once. Of two runs at once the second waits."""
    folder = ROOT / name
    folder.mkdir(parents=True, exist_ok=True)
    stamp = folder / "ready"
    wanted = " ".join((sys.version, *requirements))
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.is_file() or stamp.read_text() != wanted:
            _run(sys.executable, "-m", "venv", "--clear", str(folder / "venv"))
            _run(str(folder / "venv" / "bin" / "python"), "-m", "pip", "install", *_QUIETLY, *requirements)
            stamp.write_text(wanted)
    finally:
        os.close(lock)
    return folder / "venv" / "bin"


def _run(*command: str) -> None:
    environ = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_CACHE_DIR": "1", "PIP_USER": "0"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, env=environ)
    if done.returncode != 0:
        pytest.fail(f"{' '.join(command)} exits with {done.returncode}:\n{done.stderr}", pytrace=False)
