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
        raise BackendFailure(_failure(error, command[0], env, cwd)) from error
    _close([child_in, child_out, child_err])
    return popen, Pipes(stdin, stdout, stderr)


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)


def _failure(error: OSError | ValueError, program: str, env: Mapping[str, str], cwd: str | None) -> Failure:
    """Whose fault it is: ours when the machine gives us no more, the session's when its folder is gone."""
    ours = _OURS.get(error.errno or 0) if isinstance(error, OSError) else None
    if ours is not None:
        kind, text = FailureKind.BROKER_FAULT, f"{program!r} cannot be started: {ours}"
    elif cwd is not None and not Path(cwd).is_dir():
        kind, text = FailureKind.BAD_REQUEST, f"{program!r} cannot be started in {cwd!r}: there is no such folder"
    else:
        kind, text = FailureKind.UNREACHABLE, _reason(error, program, env)
    return Failure(kind, text, seen_at="starting")


# What this process or this machine has run out of: another backend could not be started either.
_OURS: Mapping[int, str] = {
    errno.EMFILE: "too many open files; raise the limit (ulimit -n)",
    errno.ENFILE: "too many open files on this machine; close some programs",
    errno.EAGAIN: "too many processes; raise the limit (ulimit -u)",
    errno.ENOMEM: "not enough memory; close some programs",
}


def _reason(error: OSError | ValueError, program: str, env: Mapping[str, str]) -> str:
    """What is wrong with the command, and what to write instead."""
    if isinstance(error, ValueError):  # subprocess: an embedded NUL, an "=" in a name
        return f"{program!r} cannot be started: {error} in its command or environment"
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
        case _:
            return f"{program!r} cannot be started: {error.strerror}"
