"""What a play asks of the shell around it, one at a time. A fault that needs a real process is its own action."""

from collections.abc import Generator
from typing import TypeAlias, TypeVar

from msgspec import Raw, Struct

from acp_broker.wire.acp import Answer, Update
from backends.scripted.steps import CloseStdout, Die, Exit, Fail, Object, Spawn, Stderr

T = TypeVar("T")


class Show(Struct, frozen=True):
    """The same update, `times` in one write."""

    update: Update
    times: int = 1


class Tell(Struct, frozen=True):
    method: str
    params: Object


class Noise(Struct, frozen=True):
    """Bytes on the wire that are no message."""

    data: bytes


class Reply(Struct, frozen=True):
    """The result of the request that is played; `Fail` is its error."""

    result: Raw


class Wait(Struct, frozen=True):
    """Go on after so many seconds, or never; 0 lets others have a turn."""

    seconds: float | None = None


class Ask(Struct, frozen=True):
    """Go on with the client's answer, or without one: cancelled, or withdrawn after `limit_s`."""

    method: str
    params: Object
    limit_s: float | None = None


Deed = Show | Tell | Noise | Reply | Fail | Stderr | Spawn | CloseStdout | Exit | Die
Action = Deed | Wait | Ask
# A play in progress: it yields actions and is sent what the client answered.
Moves: TypeAlias = Generator[Action, Answer | None, T]
