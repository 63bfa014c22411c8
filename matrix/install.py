"""Puts the agents into `.agents/` of this repository, which git ignores: exact versions, from npm and PyPI alone."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from msgspec import Struct

from matrix.agents import Agent, Npm, Pip

ROOT = Path(__file__).parents[1] / ".agents"
# Several agents need a newer Node.js than a distribution has; npm has it too.
NODE = "node@22.21.1"
# A slow registry, and half a gigabyte.
LIMIT_S = 600.0


class MissingError(Exception):
    """Why an agent cannot be had here, in one sentence."""


class Installed(Struct, frozen=True):
    """`command` as it is started; `path` are the folders that come first on its $PATH."""

    agent: Agent
    command: tuple[str, ...]
    path: tuple[Path, ...]


def install(agent: Agent) -> Installed:
    """Have an agent, once. Raises MissingError."""
    folder = ROOT / agent.name
    path: tuple[Path, ...]
    match agent.source:
        case Npm(packages):
            _npm(folder, packages)
            _npm(ROOT / "node", (NODE,))
            path = (_bin(ROOT / "node"), _bin(folder))
        case Pip(packages, python):
            _pip(folder, packages, python)
            path = (folder / "venv" / "bin",)
    program = shutil.which(agent.command[0], path=str(path[-1]))
    if program is None:
        raise MissingError(f"its packages bring no program {agent.command[0]!r} for this machine")
    return Installed(agent, (program, *agent.command[1:]), path)


def _bin(folder: Path) -> Path:
    return folder / "node_modules" / ".bin"


def _npm(folder: Path, packages: tuple[str, ...]) -> None:
    if shutil.which("npm") is None:
        raise MissingError("it needs npm, which is not on $PATH")
    options = ["--no-fund", "--no-audit", "--no-progress", "--loglevel=error", "--save-exact"]
    _once(folder, packages, ["npm", "install", "--prefix", str(folder), *options, *packages])


def _pip(folder: Path, packages: tuple[str, ...], python: tuple[int, int]) -> None:
    interpreter = _python(python)
    venv = folder / "venv"
    quiet = ["--quiet", "--no-input", "--disable-pip-version-check"]
    _once(
        folder,
        packages,
        [interpreter, "-m", "venv", "--clear", str(venv)],
        [str(venv / "bin" / "python"), "-m", "pip", "install", *quiet, *packages],
    )


def _python(wanted: tuple[int, int]) -> str:
    """A Python of that version or a later one. Raises MissingError."""
    if sys.version_info >= wanted:
        return sys.executable
    for minor in range(wanted[1], wanted[1] + 4):
        for found in _pythons(f"python{wanted[0]}.{minor}"):
            if subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0:
                return found
    raise MissingError(f"it needs Python {wanted[0]}.{wanted[1]} or newer on $PATH")


def _pythons(name: str) -> list[str]:
    """On $PATH, and where pyenv keeps those that its shims do not offer."""
    on_path = shutil.which(name)
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    return [*([on_path] if on_path else []), *map(str, sorted(kept.glob(f"*/bin/{name}")))]


def _once(folder: Path, packages: tuple[str, ...], *commands: list[str]) -> None:
    """Run the commands unless they were run for these very packages."""
    stamp = folder / ".installed"
    wanted = "\n".join(packages)
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for command in commands:
        try:
            subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S, check=True)
        except subprocess.CalledProcessError as error:
            raise MissingError(
                f"{Path(command[0]).name} exits with {error.returncode}: {error.stderr.strip()[-300:]}"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise MissingError(f"{Path(command[0]).name} took longer than {LIMIT_S:g} s") from error
    stamp.write_text(wanted)
