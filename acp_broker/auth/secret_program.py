"""Secrets that a program hands out: OpenClaw's exec protocol, version 1. No shell, and nothing of our environment.

    stdin   {"protocolVersion": 1, "provider": "vault", "ids": ["work/key"]}
    stdout  {"protocolVersion": 1, "values": {"work/key": "..."}, "errors": {"other": {"message": "..."}}}

What it says on stderr is nobody's to see: it may hold the secret.
"""

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import anyio
import msgspec
from anyio import CancelScope
from msgspec import Struct

from acp_broker.auth.aside import aside
from acp_broker.auth.secrets import KEPT_S
from acp_broker.core.failures import FailureKind
from acp_broker.core.redact import plain
from acp_broker.errors import BackendFailure, Unresolved

PROTOCOL = 1


class Child(Protocol):
    """What we need of edge/process.py's Process."""

    def write(self, data: bytes) -> None: ...

    def close_stdin(self) -> None: ...

    async def run(self, on_lines: Callable[[list[bytes]], None]) -> None: ...

    async def wait(self) -> int: ...

    async def stop(self, *, eof_grace_s: float, term_grace_s: float) -> None: ...


class Start(Protocol):
    """Starts a child that cannot outlive the broker. Raises BackendFailure."""

    async def __call__(
        self, command: Sequence[str], *, env: Mapping[str, str], cwd: str | None, max_line_bytes: int
    ) -> Child: ...


class _Said(Struct):
    message: str = "no reason given"


class _Answer(Struct, rename="camel"):
    protocol_version: int
    values: dict[str, object] = {}
    errors: dict[str, _Said] = {}


class SecretProgram(Struct, frozen=True):
    """A program. `env` is its whole environment; `provider` what it is called in config.json."""

    provider: str
    command: Path
    start: Start
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    limit_s: float = 5.0
    silence_s: float | None = None
    max_bytes: int = 1_048_576
    json_only: bool = True
    may_be_link: bool = False
    trusted: tuple[Path, ...] = ()
    kept_s: float = KEPT_S

    def __repr__(self) -> str:
        return f"SecretProgram({self.command})"

    async def look_up(self, name: str) -> str:
        await aside(self.distrust, self.command)
        ask = {"protocolVersion": PROTOCOL, "provider": self.provider, "ids": [name]}
        return self._read(await self._run(msgspec.json.encode(ask) + b"\n"), name)

    def distrust(self) -> None:
        """Raises Unresolved for a program that somebody else can change, or that is not there. Blocks."""
        command, why = self.command, ""
        try:
            status = command.lstat()
            if stat.S_ISLNK(status.st_mode):
                command, status = command.resolve(strict=True), command.stat()
                if not self.may_be_link:
                    why = f"is a link; name {command}, or set allowSymlinkCommand"
            if self.trusted and not any(command.is_relative_to(folder.resolve()) for folder in self.trusted):
                why = why or "is in none of the trustedDirs"
        except (OSError, RuntimeError) as error:
            strerror = error.strerror if isinstance(error, OSError) else "its links lead in a circle"
            raise Unresolved(f"cannot start {self.command}: {strerror}") from None
        if status.st_uid not in (os.geteuid(), 0):
            why = why or f"belongs to uid {status.st_uid}"
        elif status.st_mode & 0o022:
            why = why or f"can be changed by others: chmod go-w {command}"
        elif not stat.S_ISREG(status.st_mode) or not os.access(command, os.X_OK):
            why = why or "is no program; make it executable (chmod +x)"
        if why:
            raise Unresolved(f"{self.command} {why}")

    async def _run(self, question: bytes) -> bytes:
        """What it says on stdout. Nothing of it is left, however this ends."""
        try:
            child = await self.start(
                [str(self.command), *self.args],
                env=dict(self.env),
                cwd=str(self.command.parent),
                max_line_bytes=self.max_bytes,
            )
        except BackendFailure as error:
            if error.failure.kind is FailureKind.BROKER_FAULT:
                raise
            raise Unresolved(error.failure.text) from None
        heard: list[bytes] = []
        try:
            child.write(question)
            child.close_stdin()
            with anyio.move_on_after(self.silence_s) as silence:
                await child.run(partial(self._on_lines, heard, silence))
                status = await child.wait()
        finally:
            with CancelScope(shield=True):
                await child.stop(eof_grace_s=0, term_grace_s=0)
        # A line beyond the limit comes as another type, which stands for it (wire/framing.py).
        if sum(map(len, heard)) > self.max_bytes or any(type(line) is not bytes for line in heard):
            raise Unresolved(f"{self.command} said more than {self.max_bytes} bytes (maxOutputBytes)")
        if silence.cancelled_caught:
            raise Unresolved(f"{self.command} said nothing for {self.silence_s:g} s", is_late=True)
        if status != 0:
            how = f"exited with code {status}" if status > 0 else f"was killed by signal {-status}"
            raise Unresolved(f"{self.command} {how}; run it by hand to see why")
        return b"\n".join(heard)

    def _on_lines(self, heard: list[bytes], silence: CancelScope, lines: list[bytes]) -> None:
        heard += lines
        if self.silence_s is not None:
            silence.deadline = anyio.current_time() + self.silence_s
        if sum(map(len, heard)) > self.max_bytes or any(type(line) is not bytes for line in lines):
            silence.cancel()

    def _read(self, output: bytes, name: str) -> str:
        try:
            answer = msgspec.json.decode(output, type=_Answer)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            if self.json_only or not output:
                raise Unresolved(f"{self.command} gave no answer of the exec protocol") from None
            return output.decode(errors="replace").strip()
        if answer.protocol_version != PROTOCOL:
            raise Unresolved(f"{self.command} speaks version {answer.protocol_version} of the exec protocol, not 1")
        value = answer.values.get(name)
        if isinstance(value, str):
            return value
        said = answer.errors.get(name, _Said(f"no text for {name!r} in its answer"))
        raise Unresolved(f"{self.command}: {plain(said.message)}")
