"""Whether what somebody has claimed may be taken from them: a verdict, and the sentence that says so.

A claim is a small file that names its owner. Whoever wants it too compares that with what can be seen from here:

    provably gone        dead, zombie, another process under the same pid, another boot: at once
    provably there       never: a person who knows better settles it
    cannot be seen       another pid namespace or host, or no owner to read: once no claim can be this old

Ages are measured on every clock that both sides share, and the greatest is believed: a clock that jumps can only
shorten a wait. A claim from a future that no clock explains is as old as any.
"""

from enum import Enum
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

# How long a provider may take to answer a refresh; its owner gives up then.
ASK_S = 30.0
# When a claim is too old for anybody to be still at it: twice as long, for a slow disk and a machine that is busy.
TAKE_AFTER_S = 2 * ASK_S


class Owner(Struct, frozen=True, kw_only=True):
    """Who claims something, since when, and for what.

    A pid says who only together with the start of that process (clock ticks after the boot; None where that cannot be
    seen), the boot and the pid namespace; these are empty where they cannot be seen. `claim` tells two claims of one
    process apart. `generation` is that of what it works on; `doing` says what, for a person.
    """

    claim: str
    pid: Annotated[int, Meta(ge=1, lt=2**31)]
    start: int | None
    host: str
    boot: str
    namespace: str
    since: float
    since_wall: float
    doing: str
    generation: int


class Running(Struct, frozen=True):
    """There is a process with that pid; `start` is None where it cannot be seen."""

    start: int | None


class Zombie(Struct, frozen=True):
    """There is one, and it has ended."""


class Gone(Struct, frozen=True):
    """There is none."""


Process = Running | Zombie | Gone


class Odd(Struct, frozen=True):
    """No owner can be read where one should be. `written_wall` is the file's own time."""

    what: "OddKind"
    written_wall: float


class OddKind(Enum):
    EMPTY = "empty"
    # Cut off, or never a record of ours.
    DAMAGED = "damaged"
    UNREADABLE = "unreadable"
    # A link, a pipe, a folder: nothing that we write.
    NO_FILE = "no file"


class Here(Struct, frozen=True):
    """What can be seen from here. `process` is about the owner's pid, `mine` the claims of this process."""

    host: str
    boot: str
    namespace: str
    now: float
    wall: float
    process: Process = Gone()
    mine: frozenset[str] = frozenset()


class Kind(Enum):
    MINE = "mine"
    LIVE = "live"
    DEAD = "dead"
    ZOMBIE = "zombie"
    RECYCLED = "recycled pid"
    REBOOTED = "rebooted"
    UNSEEN = "unseen"
    OTHER_NAMESPACE = "another pid namespace"
    OTHER_HOST = "another host"
    EMPTY = "empty"
    DAMAGED = "damaged"
    UNREADABLE = "unreadable"
    NO_FILE = "no file"


class Verdict(Struct, frozen=True):
    """`free_in_s`: 0, it may be taken at once; None, never. `text` names owner, age and verdict."""

    kind: Kind
    free_in_s: float | None
    text: str

    @property
    def is_free(self) -> bool:
        return self.free_in_s == 0.0


def judge(found: Owner | Odd, here: Here, take_after_s: float = TAKE_AFTER_S) -> Verdict:
    """The verdict on a claim as it was found, by what can be seen from here."""
    if isinstance(found, Odd):
        return _judge_odd(found, here.wall, take_after_s)
    kind = _kind(found, here)
    age_s = _age(found, here, take_after_s)
    free_in_s = _free_in(kind, age_s, take_after_s)
    return Verdict(kind, free_in_s, f"{_who(found)}: {_WHY[kind]}, {found.doing} {_for(age_s)}, {_then(free_in_s)}")


def read(data: bytes, written_wall: float) -> Owner | Odd:
    """The owner that a file names, whatever is in it."""
    if not data:
        return Odd(OddKind.EMPTY, written_wall)
    try:
        return _decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return Odd(OddKind.DAMAGED, written_wall)


def written(owner: Owner) -> bytes:
    return msgspec.json.encode(owner) + b"\n"


_decode = msgspec.json.Decoder(Owner).decode

_WHY = {
    Kind.MINE: "this process",
    Kind.LIVE: "alive",
    Kind.DEAD: "dead",
    Kind.ZOMBIE: "dead, a zombie",
    Kind.RECYCLED: "dead, its pid is another process by now",
    Kind.REBOOTED: "dead, the machine has been restarted",
    Kind.UNSEEN: "a process with that pid is there, and cannot be seen to be the same",
    Kind.OTHER_NAMESPACE: "in another pid namespace, such as a container",
    Kind.OTHER_HOST: "on another machine",
}
_AT_ONCE = frozenset({Kind.MINE, Kind.DEAD, Kind.ZOMBIE, Kind.RECYCLED, Kind.REBOOTED, Kind.NO_FILE})
_ODD = {
    OddKind.EMPTY: (Kind.EMPTY, "the claim is empty"),
    OddKind.DAMAGED: (Kind.DAMAGED, "the claim is no record of ours, or half of one"),
    OddKind.UNREADABLE: (Kind.UNREADABLE, "the claim cannot be read"),
    OddKind.NO_FILE: (Kind.NO_FILE, "what lies in place of the claim is no file, so nobody of ours made it"),
}


def _kind(owner: Owner, here: Here) -> Kind:
    if owner.claim in here.mine:
        return Kind.MINE
    if owner.boot != here.boot:
        return Kind.REBOOTED if owner.host == here.host and owner.boot and here.boot else Kind.OTHER_HOST
    # Without a boot to go by, the host's name is all there is.
    if not owner.boot and owner.host != here.host:
        return Kind.OTHER_HOST
    if owner.namespace != here.namespace:
        return Kind.OTHER_NAMESPACE
    match here.process:
        case Gone():
            return Kind.DEAD
        case Zombie():
            return Kind.ZOMBIE
        case Running(start):
            if start is None or owner.start is None:
                return Kind.UNSEEN
            return Kind.LIVE if start == owner.start else Kind.RECYCLED


def _free_in(kind: Kind, age_s: float, take_after_s: float) -> float | None:
    if kind in _AT_ONCE:
        return 0.0
    return None if kind is Kind.LIVE else max(0.0, take_after_s - age_s)


def _age(owner: Owner, here: Here, take_after_s: float) -> float:
    wall_s = _wall_age(owner.since_wall, here.wall, take_after_s)
    # The monotonic clock is the boot's.
    return max(wall_s, here.now - owner.since) if owner.boot and owner.boot == here.boot else wall_s


def _wall_age(since: float, wall: float, take_after_s: float) -> float:
    """Clocks of two machines differ by seconds: a claim that is a little from the future is new."""
    age_s = wall - since
    if -take_after_s <= age_s:
        return max(0.0, age_s)
    return take_after_s


def _judge_odd(found: Odd, wall: float, take_after_s: float) -> Verdict:
    kind, what = _ODD[found.what]
    age_s = _wall_age(found.written_wall, wall, take_after_s)
    free_in_s = _free_in(kind, age_s, take_after_s)
    return Verdict(kind, free_in_s, f"{what}, {_for(age_s)}, {_then(free_in_s)}")


def _who(owner: Owner) -> str:
    return f"acp-broker (pid {owner.pid} on {owner.host or 'an unknown host'})"


def _for(age_s: float) -> str:
    return f"for {age_s:.0f} s"


def _then(free_in_s: float | None) -> str:
    if free_in_s is None:
        return "is not taken from it"
    return f"can be taken in {free_in_s:.0f} s" if free_in_s else "is taken over"
