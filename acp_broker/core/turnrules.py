"""The rules one turn is played by: who may be tried, in which order, and how long each may take."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias, assert_never

from msgspec import Struct

from acp_broker.core.failures import NO_CONNECTION, Failure, FailureKind, Spends, spends
from acp_broker.core.names import BackendId, Candidate, CommitPoint, Phase

# Of the turn's own stopwatch, which stands still while a frontend owes an answer.
Seconds: TypeAlias = float

# What a candidate gets at least, if its own limit is not shorter: enough to start a process and hear from it.
LEAST_CHANCE: Seconds = 1.0

_NEVER: Seconds = float("inf")
_NO_WINDOWS: Mapping[BackendId, int] = {}
_NO_HOSTS: Mapping[BackendId, str] = {}


class Limits(Struct, frozen=True):
    """How long a candidate may take, in seconds. None: this limit is off.

    `doubt`, `cancelling` and `stopping` cannot be off: nothing else is sure to end those states.
    `chain` and `reserve` belong to the whole turn and are read from `Rules.limits` alone.
    """

    leasing: Seconds | None = 10.0
    starting: Seconds | None = 60.0
    opening: Seconds | None = 30.0
    # From `submitted` to the first word.
    first_output: Seconds | None = 120.0
    # From the notice that the runtime is trying its own provider again; only ever shortens the wait.
    retrying: Seconds | None = 2.0
    # Between two words after the commit point. Off: an agent may run one command for an hour and say nothing.
    idle: Seconds | None = None
    # Alone on a machine, an agent's notice and the end of its turn are some 4 ms apart; on a busy one, half a second.
    doubt: Seconds = 1.0
    # ACP v1, prompt-turn: the agent SHOULD stop "as soon as possible" after session/cancel.
    cancelling: Seconds = 5.0
    # From a polite stop to the kill.
    stopping: Seconds = 0.5
    # From `Accepted` to the moment after which nobody else is started.
    chain: Seconds | None = 240.0
    # Kept back from a candidate for each one that may still follow it.
    reserve: Seconds = 20.0


class Rules(Struct, frozen=True):
    """What one turn is played by. The order of `candidates` is the plan.

    `own_limits` holds the backends whose limits differ from `limits`; `windows` those of which it is known how many
    tokens they take; `hosts` those that ask one address with another of them. `empty_is_success`: a turn that ends with
    nothing shown is an answer (a slash command, say), not a failure.
    """

    candidates: tuple[Candidate, ...]
    commit_point: CommitPoint = "first_output"
    limits: Limits = Limits()
    empty_is_success: bool = False
    own_limits: dict[BackendId, Limits] = {}
    windows: dict[BackendId, int] = {}
    hosts: dict[BackendId, str] = {}

    def limits_of(self, candidate: Candidate) -> Limits:
        return self.own_limits.get(candidate.backend, self.limits)


class Miss(Struct, frozen=True):
    """One attempt that failed, on whom, and how."""

    attempt: int
    candidate: Candidate
    failure: Failure


class Run(Struct, frozen=True):
    """How far the chain has come: the failed attempts, in order, and when starting another one ends (None: never)."""

    misses: tuple[Miss, ...] = ()
    deadline: Seconds | None = None

    def is_over(self, now: Seconds) -> bool:
        return self.deadline is not None and now >= self.deadline


def next_candidate(
    candidates: Sequence[Candidate],
    misses: Sequence[Miss],
    windows: Mapping[BackendId, int] = _NO_WINDOWS,
    hosts: Mapping[BackendId, str] = _NO_HOSTS,
) -> Candidate | None:
    """The first candidate that no miss has used up, or None."""
    if not misses:  # nearly every turn: not worth asking each of them
        return candidates[0] if candidates else None
    return next((one for one in candidates if not any(_is_spent(one, miss, windows, hosts) for miss in misses)), None)


def others_left(
    candidates: Sequence[Candidate],
    misses: Sequence[Miss],
    current: Candidate,
    windows: Mapping[BackendId, int] = _NO_WINDOWS,
    hosts: Mapping[BackendId, str] = _NO_HOSTS,
) -> int:
    """How many candidates might still follow `current`, if its failure spends nothing but itself."""
    if not misses:
        return len(candidates) - candidates.count(current)
    return sum(
        one != current and not any(_is_spent(one, miss, windows, hosts) for miss in misses) for one in candidates
    )


def end_of_phase(rules: Rules, run: Run, candidate: Candidate, phase: Phase, now: Seconds) -> Seconds | None:
    """When a `phase` of `candidate` that begins now must be over; None for never.

    The chain's deadline cuts it, less the reserve of all who may follow; LEAST_CHANCE is left in any case.
    """
    limit = _limit(rules.limits_of(candidate), phase)
    length = _NEVER if limit is None else limit
    deadline = _NEVER if run.deadline is None else run.deadline
    others = others_left(rules.candidates, run.misses, candidate, rules.windows, rules.hosts)
    share = deadline - rules.limits.reserve * others
    at = max(min(now + length, share), now + min(length, LEAST_CHANCE))
    return None if at == _NEVER else at


def _limit(limits: Limits, phase: Phase) -> Seconds | None:
    match phase:
        case "leasing":
            return limits.leasing
        case "starting":
            return limits.starting
        case "opening":
            return limits.opening
        case "submitted":
            return limits.first_output
        case "retrying":
            return limits.retrying
        case _:
            assert_never(phase)


def _is_spent(
    candidate: Candidate, miss: Miss, windows: Mapping[BackendId, int], hosts: Mapping[BackendId, str]
) -> bool:
    """Whether `miss` has used up `candidate`. A backend without a profile is its own profile: it logs itself in.

    Another credential of the profile has a login and limits of its own. What was too long for one backend is tried
    on those alone that are known to take more. Where nobody took a connection, nobody at that address does.
    """
    if miss.failure.code == NO_CONNECTION and hosts.get(candidate.backend, "") == hosts.get(miss.candidate.backend):
        return True
    if miss.failure.kind is FailureKind.CONTEXT_OVERFLOW:
        window = windows.get(miss.candidate.backend)
        return window is None or windows.get(candidate.backend, 0) <= window
    same_backend = candidate.backend == miss.candidate.backend
    same_credential = candidate.credential == miss.candidate.credential
    match spends(miss.failure.kind):
        case Spends.TURN:
            return True
        case Spends.BACKEND:
            return same_backend and (same_credential or miss.failure.kind is not FailureKind.RATE_LIMITED)
        case Spends.PROFILE:
            same_profile = candidate.profile == miss.candidate.profile and same_credential
            return same_profile and (same_backend or candidate.profile is not None)
