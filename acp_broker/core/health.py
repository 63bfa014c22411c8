"""How candidates are: who may be tried, who rests and for how long, whose first turn after a rest is under way.

    Ready --failure--> Resting --time--> Ready(is_probe) --probe_started--> Probing --success--> Ready
                          ^                                                    |
                          '----------------- failure: one rung up -------------'

This is advice, never a refusal: a resting candidate goes last in a plan and is tried when nobody else is left.

What rests is what the failure speaks of: an account (rejected login, empty purse) with all its candidates, or one
candidate (a model's limit, a crash). A wait that the provider asks for is the rest, even below the first rung: it
knows. If the turn after it fails as well, it did not know, and the ladder's rung before is the least. A failure during
a rest (all rested, so it was tried) may prolong the rest and does not climb: turns that fail at once are one failure.

A ladder is climbed where a probe is dear: a silent candidate costs a person the whole wait for its first word, a
crashing one a start, a rejected login may be locked for trying. What a backend says at once (refused, overloaded, no
such model; a host that is switched off, within `connectMs`) costs the next turn next to nothing: it rests for the
first rung each time, so that whoever recovers serves again within half a minute, however long it was away.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias, assert_never

from msgspec import Struct
from msgspec.structs import replace

from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.names import BackendId, Candidate, ProfileId
from acp_broker.core.until import Until, left, until_after

_HOUR_S = 3_600.0
# OpenClaw's model fallback, as documented: a recovered backend is back before it is missed.
LADDER_S = (30.0, 60.0, 300.0)
# The first rung alone: Failover Bench, S15 (docs/drills.md), asks for a return within 30 s of the recovery.
TOLD_LADDER_S = LADDER_S[:1]
# The same source: nobody fills a purse within minutes; within a day somebody may.
BILLING_LADDER_S = (5 * _HOUR_S, 10 * _HOUR_S, 20 * _HOUR_S, 24 * _HOUR_S)
# The longest that a turn waits for its first word (turnrules.Limits.chain): a probe that takes longer is lost.
PROBE_S = 240.0


class Key(Struct, frozen=True, tag="candidate", omit_defaults=True):
    """One candidate: what rests when a model or a process fails.

    A process fails with whatever credential: that is kept under the first.
    """

    backend: BackendId
    profile: ProfileId | None = None
    model: str | None = None
    credential: int = 0


class Profile(Struct, frozen=True, tag="profile", omit_defaults=True):
    """Every candidate of a profile's credential: what rests when that fails."""

    profile: ProfileId
    credential: int = 0


class Login(Struct, frozen=True, tag="login"):
    """Every candidate of a backend without a profile: it keeps its login itself."""

    backend: BackendId


Scope: TypeAlias = Key | Profile | Login


class Record(Struct, frozen=True, omit_defaults=True):
    """What failed last, how many rests it has had in a row, the latest of them, and the probe that follows it."""

    scope: Scope
    last: FailureKind
    rests: int = 0
    rest: Until | None = None
    probe: Until | None = None


class Health(Struct, frozen=True, omit_defaults=True):
    """One record per scope that failed since it last served, in a fixed order. JSON of it can be stored."""

    records: tuple[Record, ...] = ()


class Ready(Struct, frozen=True):
    """`is_probe`: its rest is over; the turn that tries it says so with `probe_started`."""

    is_probe: bool = False


class Resting(Struct, frozen=True):
    left_s: float
    why: FailureKind


class Probing(Struct, frozen=True):
    """Another turn is finding out."""


Condition: TypeAlias = Ready | Resting | Probing


class _Rule(NamedTuple):
    rests: Literal["candidate", "account", "nobody"]
    ladder_s: tuple[float, ...] = LADDER_S


_RULES: Mapping[FailureKind, _Rule] = {
    FailureKind.UNREACHABLE: _Rule("candidate", TOLD_LADDER_S),
    FailureKind.CRASHED: _Rule("candidate"),
    FailureKind.SILENT: _Rule("candidate"),
    FailureKind.GARBLED: _Rule("candidate", TOLD_LADDER_S),
    FailureKind.OVERLOADED: _Rule("candidate", TOLD_LADDER_S),
    FailureKind.SERVER_ERROR: _Rule("candidate", TOLD_LADDER_S),
    FailureKind.RATE_LIMITED: _Rule("candidate", TOLD_LADDER_S),
    FailureKind.MODEL_NOT_FOUND: _Rule("candidate", TOLD_LADDER_S),
    FailureKind.UNCLASSIFIED: _Rule("candidate", TOLD_LADDER_S),
    # The second of two in a row; see `_is_forgiven`.
    FailureKind.EMPTY_TURN: _Rule("candidate", TOLD_LADDER_S),
    FailureKind.AUTH_MISSING: _Rule("account"),
    FailureKind.AUTH_REJECTED: _Rule("account"),
    FailureKind.ACCOUNT_RATE_LIMITED: _Rule("account"),
    FailureKind.BILLING: _Rule("account", BILLING_LADDER_S),
    # About this prompt, not about the backend.
    FailureKind.UNSUPPORTED: _Rule("nobody"),
    FailureKind.GUARDRAIL: _Rule("nobody"),
    FailureKind.QUALITY: _Rule("nobody"),
    FailureKind.BAD_REQUEST: _Rule("nobody"),
    FailureKind.CONTEXT_OVERFLOW: _Rule("nobody"),
    # Over as soon as another process has its new token.
    FailureKind.PROFILE_BUSY: _Rule("nobody"),
    # Nobody's fault; ours.
    FailureKind.CANCELLED: _Rule("nobody"),
    FailureKind.BROKER_FAULT: _Rule("nobody"),
}


# What another credential has a limit of its own for.
_OF_CREDENTIAL = frozenset({FailureKind.RATE_LIMITED})


def key_of(candidate: Candidate) -> Key:
    """Under which key a candidate's health is kept."""
    return Key(candidate.backend, candidate.profile, candidate.model, candidate.credential)


def condition(health: Health, key: Key, now: float, wall: float) -> Condition:
    """How a candidate is: by its own record and its account's, whichever is worse."""
    records = _records(health, key)
    rests = [Resting(left(record.rest, now, wall), record.last) for record in records]
    longest = max(rests, key=lambda rest: rest.left_s, default=None)
    if longest is not None and longest.left_s > 0:
        return longest
    if any(left(record.probe, now, wall) > 0 for record in records):
        return Probing()
    return Ready(is_probe=any(record.rest is not None for record in records))


def after_failure(health: Health, key: Key, failure: Failure, now: float, wall: float) -> Health:
    """Let rest what the failure speaks of, for as long as it asks or its ladder says. A probe of `key` is over."""
    health = probe_ended(health, key)
    rule = _RULES[failure.kind]
    if rule.rests == "nobody":
        return health
    scope = _account(key) if rule.rests == "account" else key if failure.kind in _OF_CREDENTIAL else _whole(key)
    old = next((record for record in health.records if record.scope == scope), Record(scope, failure.kind))
    if _is_forgiven(health, scope, failure.kind):
        return _put(health, replace(old, last=failure.kind))
    left_s = left(old.rest, now, wall)
    same_ladder = _RULES[old.last].ladder_s is rule.ladder_s
    rests = max(1, old.rests + (left_s <= 0)) if same_ladder else 1
    length_s = _length(rule.ladder_s, rests, failure.retry_after_s)
    rest = old.rest if left_s > length_s else until_after(length_s, now, wall)
    return _put(health, Record(scope, failure.kind, rests, rest))


def after_success(health: Health, key: Key) -> Health:
    """A candidate that served is well, and so is its account."""
    gone = _records(health, key)
    return Health(tuple(record for record in health.records if record not in gone)) if gone else health


def after_exhausted(health: Health, misses: Sequence[tuple[Key, Failure]], now: float, wall: float) -> Health:
    """A whole chain failed in one turn; call it after the `after_failure` of each.

    If all failed alike, on several backends, the prompt (or our network) is the likely cause: none of them rests beyond
    the first rung, earlier rests included. Waits that were asked for, and accounts, stay as they are.
    """
    alike = len({failure.kind for _, failure in misses}) == 1 and len({key.backend for key, _ in misses}) > 1
    if not alike:
        return health
    for key, failure in misses:
        for old in health.records:
            if old.scope in (key, _whole(key)) and old.rest is not None and failure.retry_after_s is None:
                is_short = left(old.rest, now, wall) <= LADDER_S[0]
                rest = old.rest if is_short else until_after(LADDER_S[0], now, wall)
                health = _put(health, replace(old, rests=1, rest=rest))
    return health


def probe_started(health: Health, key: Key, now: float, wall: float) -> Health:
    """A turn tries a candidate whose rest is over; until it knows, or PROBE_S, the others put it last."""
    probe = until_after(PROBE_S, now, wall)
    for record in _records(health, key):
        if record.rest is not None:
            health = _put(health, replace(record, probe=probe))
    return health


def probe_ended(health: Health, key: Key) -> Health:
    """A probe found nothing out (a cancel, say): the next turn probes. Success and failure end one by themselves."""
    for record in _records(health, key):
        if record.probe is not None:
            health = _put(health, replace(record, probe=None))
    return health


def without_probes(health: Health) -> Health:
    """What others may know of it: that a turn is finding out holds while its process lives, and nobody can see that."""
    return Health(tuple(replace(record, probe=None) for record in health.records))


def _account(key: Key) -> Profile | Login:
    return Login(key.backend) if key.profile is None else Profile(key.profile, key.credential)


def _whole(key: Key) -> Key:
    """The candidate, whatever its credential."""
    return replace(key, credential=0)


def _records(health: Health, key: Key) -> list[Record]:
    """The candidate's own record and its account's, where there are any."""
    scopes, whole = (key, _account(key)), _whole(key)
    return [
        record
        for record in health.records
        if record.scope in scopes or (record.scope == whole and record.last not in _OF_CREDENTIAL)
    ]


def _is_forgiven(health: Health, scope: Scope, kind: FailureKind) -> bool:
    """One empty turn may be the prompt's; two in a row are the backend's."""
    return kind is FailureKind.EMPTY_TURN and not any(
        record.scope == scope and record.last is kind for record in health.records
    )


def _length(ladder_s: tuple[float, ...], rests: int, asked_s: float | None) -> float:
    rung = min(rests, len(ladder_s)) - 1
    if asked_s is None:
        return ladder_s[rung]
    return asked_s if rests == 1 else max(asked_s, ladder_s[max(0, rung - 1)])


def _put(health: Health, record: Record) -> Health:
    return _ordered([record, *(old for old in health.records if old.scope != record.scope)])


def _ordered(records: Iterable[Record]) -> Health:
    return Health(tuple(sorted(records, key=lambda record: _name(record.scope))))


def _name(scope: Scope) -> tuple[str, ...]:
    match scope:
        case Key(backend, profile, model, credential):
            return ("candidate", backend, profile or "", model or "", str(credential))
        case Profile(profile, credential):
            return ("profile", profile, str(credential))
        case Login(backend):
            return ("login", backend)
        case _:
            assert_never(scope)
