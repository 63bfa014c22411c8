"""Packages from npm that tests talk to, as lock files name them: exact versions, by content, from any registry."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

# A slow registry, not a slow test.
INSTALL_S = 240.0


def install(folder: Path, *command: str) -> None:
    """Have the packages of a folder in its node_modules, which git ignores: as its lock file names them, and once.

    Of two runs at the same time the second waits. Needs npm and, the first time, its registry.
    """
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.fail("tests with packages from npm need node and npm (Node.js 20 or newer) on $PATH", pytrace=False)
    stamp = folder / "node_modules" / ".installed"
    wanted = hashlib.sha256(b"".join((folder / name).read_bytes() for name in ("package.json", "package-lock.json")))
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.is_file() or stamp.read_text() != wanted.hexdigest():
            _run(folder, *(command or ("ci",)))
            stamp.write_text(wanted.hexdigest())
    finally:
        os.close(lock)


def _run(folder: Path, *command: str) -> None:
    done = subprocess.run(["npm", *command], cwd=folder, capture_output=True, text=True, timeout=INSTALL_S)
    if done.returncode != 0:
        pytest.fail(f"npm {' '.join(command)} in {folder} exits with {done.returncode}:\n{done.stderr}", pytrace=False)
