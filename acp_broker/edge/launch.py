"""Starting a command: our ends of its three pipes, or a failure that says what to change."""

import errno
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from acp_broker.core.failures import Failure, FailureKind
from acp_broker.errors import BackendFailure


class Pipes(NamedTuple):
    """Our ends of a child's three pipes, non-blocking. The child's own ends are ordinary, blocking ones."""

    stdin: int
    stdout: int
    stderr: int


def launch(command: Sequence[str], env: Mapping[str, str], cwd: str | None) -> tuple[subprocess.Popen[bytes], Pipes]:
    """Start the command as leader of its own session, so that a Ctrl-C in the editor's terminal does not reach it.

    `env` is the whole environment; the command is looked up in its PATH. Raises BackendFailure.
    """
    fds: list[int] = []
    try:
        for _ in range(3):
            fds += os.pipe()
        child_in, stdin, stdout, child_out, stderr, child_err = fds
        for fd in (stdin, stdout, stderr):
            os.set_blocking(fd, False)
        popen = subprocess.Popen(
            command, stdin=child_in, stdout=child_out, stderr=child_err, env=env, cwd=cwd, start_new_session=True
        )
    except (OSError, ValueError) as error:
        _close(fds)
        reason = _reason(error, command[0], env, cwd)
        raise BackendFailure(Failure(FailureKind.UNREACHABLE, reason, seen_at="starting")) from error
    _close([child_in, child_out, child_err])
    return popen, Pipes(stdin, stdout, stderr)


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)


def _reason(error: OSError | ValueError, program: str, env: Mapping[str, str], cwd: str | None) -> str:
    """What is wrong with the command, and what to write instead."""
    if isinstance(error, ValueError):  # subprocess: an embedded NUL, an "=" in a name
        return f"{program!r} cannot be started: {error} in its command or environment"
    if cwd is not None and not Path(cwd).is_dir():
        return f"{program!r} cannot be started in {cwd!r}: there is no such folder"
    found = shutil.which(program, path=env.get("PATH", os.defpath))
    match error.errno:
        case errno.ENOENT if found:
            return f"{found!r} names an interpreter in its first line that is not there; install it or correct the line"
        case errno.ENOENT if "/" in program:
            return f"{program!r} does not exist; correct the path in command"
        case errno.ENOENT:
            return f"{program!r} is not on PATH; install it or write its absolute path in command"
        case errno.EACCES:
            return f"{program!r} may not be executed; make it executable (chmod +x) or name another file in command"
        case errno.ENOEXEC:
            return f"{program!r} is no program for this machine; put its interpreter first in command or add a #! line"
        case errno.E2BIG:
            return f"{program!r} cannot be started: its arguments and environment are too large; shorten env"
        case errno.EMFILE | errno.ENFILE:
            return f"{program!r} cannot be started: too many open files; raise the limit (ulimit -n)"
        case errno.EAGAIN:
            return f"{program!r} cannot be started: too many processes; raise the limit (ulimit -u)"
        case _:
            return f"{program!r} cannot be started: {error.strerror}"
