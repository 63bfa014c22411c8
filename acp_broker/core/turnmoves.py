"""The moves of the turn machine: how an attempt is started, committed to, asked to end, stopped and finished.

Each gives the next state, with its timer, and the commands that lead there, timing among them. Which move is made
when is the cells' to say.
"""

from msgspec.structs import replace

from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.names import Candidate, Phase
from acp_broker.core.turnrules import Miss, Rules, Run, Seconds, end_of_phase, next_candidate
from acp_broker.core.turnwords import (
    Arm,
    AskCancel,
    Cancelling,
    Command,
    Committed,
    Disarm,
    Doubting,
    DropHeld,
    Ended,
    Live,
    Next,
    Refusal,
    RelayHeld,
    Start,
    Step,
    Stop,
    Stopping,
    Then,
    Timer,
    Trying,
    Withdraw,
)

# What did not come in time, by phase.
_MISSED: dict[Phase, str] = {
    "leasing": "had no credential",
    "starting": "did not start",
    "opening": "did not open the session",
    "submitted": "no first output",
    "retrying": "no first output after its own retry",
}


def set_timer(timer: Timer, at: Seconds | None) -> tuple[Timer, tuple[Command, ...]]:
    """The timer armed for `at`, or not armed; and the command that makes it so, if any is needed."""
    if at is not None:
        return Timer(timer.serial + 1, at), (Arm(timer.serial + 1, at),)
    return rung(timer), () if timer.at is None else (Disarm(),)


def rung(timer: Timer) -> Timer:
    return Timer(timer.serial)


def idle_end(rules: Rules, candidate: Candidate, now: Seconds) -> Seconds | None:
    idle = rules.limits_of(candidate).idle
    return None if idle is None else now + idle


def start(rules: Rules, attempt: int, candidate: Candidate, run: Run, timer: Timer, now: Seconds) -> Step:
    timer, timing = set_timer(timer, end_of_phase(rules, run, candidate, "leasing", now))
    return Trying(attempt, candidate, run, timer, "leasing", now), (Start(attempt, candidate), *timing)


def commit(rules: Rules, state: Trying | Doubting, now: Seconds, *words: Command) -> Step:
    timer, timing = set_timer(state.timer, idle_end(rules, state.candidate, now))
    return Committed(state.attempt, state.candidate, state.run.misses, timer), (*timing, *words)


def submit(rules: Rules, state: Trying | Doubting, now: Seconds) -> Step:
    """The commit point `submitted`: nobody re-runs a prompt that an agent may have accepted. Notes may be held.

    One that stays silent must still end: the limit of its first word holds until it comes.
    """
    if isinstance(state, Doubting):
        return commit(rules, state, now, RelayHeld())
    limit = rules.limits_of(state.candidate).first_output
    timer, timing = set_timer(state.timer, None if limit is None else now + limit)
    return Committed(state.attempt, state.candidate, state.run.misses, timer, now), (*timing, RelayHeld())


def unheard(timer: Timer, since: Seconds, phase: Phase, now: Seconds) -> Failure:
    until = now if timer.at is None else timer.at
    text = f"{_MISSED[phase]} within {round(until - since, 3):g} s (phase {phase})"
    return Failure(FailureKind.SILENT, text, seen_at=phase)


def ask(rules: Rules, state: Trying | Doubting | Committed, now: Seconds, *words: Command) -> Step:
    timer, timing = set_timer(state.timer, now + rules.limits_of(state.candidate).cancelling)
    asking = (*words, AskCancel(state.attempt), Withdraw(state.attempt))
    return Cancelling(state.attempt, state.candidate, timer), (*asking, *timing)


def give_up(rules: Rules, state: Trying | Doubting, failure: Failure, now: Seconds) -> Step:
    """Nothing was shown: whoever the misses leave may try, until the chain's deadline."""
    misses = (*state.run.misses, Miss(state.attempt, state.candidate, failure))
    following = None if state.run.is_over(now) else next_candidate(rules.candidates, misses, rules.windows, rules.hosts)
    then = Refusal(misses, committed=False) if following is None else Next(following, replace(state.run, misses=misses))
    return stop(rules, state, then, now, DropHeld(), Withdraw(state.attempt))


def break_off(rules: Rules, state: Committed, failure: Failure, now: Seconds) -> Step:
    misses = (*state.misses, Miss(state.attempt, state.candidate, failure))
    return stop(rules, state, Refusal(misses, committed=True), now, Withdraw(state.attempt))


def stop(rules: Rules, state: Live, then: Then, now: Seconds, *before: Command) -> Step:
    timer, timing = set_timer(state.timer, now + rules.limits_of(state.candidate).stopping)
    return Stopping(state.attempt, then, timer), (*before, Stop(state.attempt, politely=True), *timing)


def finish(state: Live, *commands: Command) -> Step:
    _, disarm = set_timer(state.timer, None)
    return Ended(state.attempt, state.attempt), (*disarm, *commands)
