"""The cells of the turn machine's table: what each event does in each state where it does something.

Every function is called by `turn.step` alone, through the table there, and gets the types that its cell names.
`Withdraw` comes where an attempt's voice ends: at a cancel, at a stop, at its finish.
"""

from typing import assert_never

from msgspec.structs import replace

from acp_broker.core import turnmoves as moves
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.names import Phase
from acp_broker.core.turnrules import Rules, Run, Seconds, end_of_phase, next_candidate, others_left
from acp_broker.core.turnwords import (
    Accepted,
    CancelAsked,
    Cancelled,
    Cancelling,
    Command,
    Committed,
    Doubted,
    Doubting,
    Ended,
    Failed,
    Finished,
    Hold,
    Kill,
    Next,
    Noted,
    Reached,
    Refusal,
    Refuse,
    Relay,
    RelayHeld,
    Reply,
    Spoke,
    Step,
    Stop,
    Stopped,
    Stopping,
    Timer,
    TimeUp,
    Trying,
    Waiting,
    Withdraw,
)

# Shared, so that the path of every relayed word builds nothing.
_RELAY: tuple[Command, ...] = (Relay(),)
_HOLD: tuple[Command, ...] = (Hold(),)

# A runtime that ends a turn had the prompt.
_UNASKED = "ended the turn as cancelled, which nobody asked for"
_UNASKED_CANCEL = Failure(FailureKind.CRASHED, _UNASKED, seen_at="submitted")

# An attempt reaches a phase once and only goes forward, so that no limit can be had twice.
_RANK: dict[Phase, int] = {"leasing": 0, "starting": 1, "opening": 2, "submitted": 3, "retrying": 4}


# --- Waiting


def begin(rules: Rules, _state: Waiting, _event: Accepted, now: Seconds) -> Step:
    first = next_candidate(rules.candidates, ())
    if first is None:
        return Ended(), (Refuse((), committed=False),)
    deadline = None if rules.limits.chain is None else now + rules.limits.chain
    return moves.start(rules, 1, first, Run(deadline=deadline), Timer(), now)


def call_off(_rules: Rules, _state: Waiting, _event: CancelAsked, _now: Seconds) -> Step:
    return Ended(), (Reply("cancelled"),)


# --- Trying and Doubting: nothing was shown


def reach(rules: Rules, state: Trying | Doubting, event: Reached, now: Seconds) -> Step:
    if event.phase == rules.commit_point:
        return moves.submit(rules, state, now)
    if isinstance(state, Doubting) or _RANK[event.phase] <= _RANK[state.phase]:
        return state, ()
    if event.phase == "retrying" and not _may_follow(rules, state, now):
        # Nobody else could answer instead: its own retries are the turn's last hope.
        return state, ()
    at, armed = end_of_phase(rules, state.run, state.candidate, event.phase, now), state.timer.at
    if event.phase == "retrying" and armed is not None and (at is None or armed <= at):
        return replace(state, phase=event.phase, since=now), ()
    timer, timing = moves.set_timer(state.timer, at)
    return replace(state, phase=event.phase, since=now, timer=timer), timing


def hold(_rules: Rules, state: Trying | Doubting, _event: Noted | Doubted, _now: Seconds) -> Step:
    return state, _HOLD


def doubt(rules: Rules, state: Trying, event: Doubted, now: Seconds) -> Step:
    """Doubt pays only while somebody else could answer instead; otherwise the words are shown as they are."""
    if not _may_follow(rules, state, now):
        return commit(rules, state, event, now)
    timer, timing = moves.set_timer(state.timer, now + rules.limits_of(state.candidate).doubt)
    return Doubting(state.attempt, state.candidate, state.run, timer), (Hold(), *timing)


def commit(rules: Rules, state: Trying | Doubting, _event: Spoke | Doubted, now: Seconds) -> Step:
    return moves.commit(rules, state, now, RelayHeld(), Relay())


def believe(rules: Rules, state: Doubting, _event: TimeUp, now: Seconds) -> Step:
    """Nothing has settled the doubt: what was held is taken for an answer."""
    return moves.commit(rules, replace(state, timer=moves.rung(state.timer)), now, RelayHeld())


def finish_unseen(rules: Rules, state: Trying, event: Finished, now: Seconds) -> Step:
    if event.stop_reason == "end_turn" and not rules.empty_is_success:
        failure = Failure(FailureKind.EMPTY_TURN, "ended the turn without showing anything", seen_at=state.phase)
        return moves.give_up(rules, state, failure, now)
    return finish_held(rules, state, event, now)


def finish_held(rules: Rules, state: Trying | Doubting, event: Finished, now: Seconds) -> Step:
    if event.stop_reason == "cancelled":
        return moves.give_up(rules, state, _UNASKED_CANCEL, now)
    return moves.finish(state, RelayHeld(), Withdraw(state.attempt), Reply(event.stop_reason))


def fail(rules: Rules, state: Trying | Doubting, event: Failed, now: Seconds) -> Step:
    return moves.give_up(rules, state, event.failure, now)


def time_out(rules: Rules, state: Trying, _event: TimeUp, now: Seconds) -> Step:
    return moves.give_up(rules, state, moves.unheard(state.timer, state.since, state.phase, now), now)


def cancel(rules: Rules, state: Trying | Doubting, _event: CancelAsked, now: Seconds) -> Step:
    return moves.ask(rules, state, now, RelayHeld())


# --- Committed: its words are relayed


def relay(rules: Rules, state: Committed, event: Noted | Doubted | Spoke, now: Seconds) -> Step:
    """The hot path: without an idle limit the state is the same object and nothing is built."""
    if state.silent_since is None and state.timer.at is None:
        return state, _RELAY
    if state.silent_since is not None and isinstance(event, Noted):
        # A note is no word: it must not end the wait for the first one.
        return state, _RELAY
    timer, timing = moves.set_timer(state.timer, moves.idle_end(rules, state.candidate, now))
    return replace(state, timer=timer, silent_since=None), (Relay(), *timing)


def finish(rules: Rules, state: Committed, event: Finished, now: Seconds) -> Step:
    if event.stop_reason == "cancelled":
        return moves.break_off(rules, state, _UNASKED_CANCEL, now)
    return moves.finish(state, Withdraw(state.attempt), Reply(event.stop_reason))


def fail_late(rules: Rules, state: Committed, event: Failed, now: Seconds) -> Step:
    return moves.break_off(rules, state, event.failure, now)


def idle_out(rules: Rules, state: Committed, _event: TimeUp, now: Seconds) -> Step:
    if state.silent_since is not None:
        return moves.break_off(rules, state, moves.unheard(state.timer, state.silent_since, "submitted", now), now)
    limit = rules.limits_of(state.candidate).idle or 0.0
    failure = Failure(FailureKind.SILENT, f"nothing for {limit:g} s", seen_at="submitted")
    return moves.break_off(rules, state, failure, now)


def cancel_late(rules: Rules, state: Committed, _event: CancelAsked, now: Seconds) -> Step:
    return moves.ask(rules, state, now)


# --- Cancelling: asked to end by itself


def relay_last(_rules: Rules, state: Cancelling, _event: Noted | Doubted | Spoke, _now: Seconds) -> Step:
    return state, _RELAY


def let_end(_rules: Rules, state: Cancelling, _event: Finished, _now: Seconds) -> Step:
    """ACP v1, prompt-turn: a cancelled prompt is answered `cancelled`, whatever reason its agent gives."""
    return moves.finish(state, Withdraw(state.attempt), Reply("cancelled"))


def stop_failed(rules: Rules, state: Cancelling, _event: Failed, now: Seconds) -> Step:
    return moves.stop(rules, state, Cancelled(committed=True), now)


def force_stop(_rules: Rules, state: Cancelling, _event: TimeUp, _now: Seconds) -> Step:
    """It was asked politely already."""
    stopping = Stopping(state.attempt, Cancelled(committed=True), moves.rung(state.timer))
    return stopping, (Stop(state.attempt, politely=False),)


# --- Stopping: nothing else happens until it is gone


def kill(_rules: Rules, state: Stopping, _event: TimeUp, _now: Seconds) -> Step:
    return replace(state, timer=moves.rung(state.timer)), (Kill(state.attempt),)


def cancel_next(_rules: Rules, state: Stopping, _event: CancelAsked, _now: Seconds) -> Step:
    committed = not isinstance(state.then, Next) and state.then.committed
    return replace(state, then=Cancelled(committed)), ()


def move_on(rules: Rules, state: Stopping, _event: Stopped, now: Seconds) -> Step:
    timer, disarm = moves.set_timer(state.timer, None)
    match state.then:
        case Next(candidate, run) if not run.is_over(now):
            trying, commands = moves.start(rules, state.attempt + 1, candidate, run, timer, now)
            return trying, (*disarm, *commands)
        case Next(_, run):
            return Ended(state.attempt), (*disarm, Refuse(run.misses, committed=False))
        case Refusal(misses, committed):
            return Ended(state.attempt, state.attempt if committed else None), (*disarm, Refuse(misses, committed))
        case Cancelled(committed):
            return Ended(state.attempt, state.attempt if committed else None), (*disarm, Reply("cancelled"))
        case _:
            assert_never(state.then)


# --- Ended


def relay_late(_rules: Rules, state: Ended, event: Noted, _now: Seconds) -> Step:
    """Titles and usage may come after the answer; those of a lost attempt never count."""
    return state, _RELAY if event.attempt == state.serving else ()


# --- what the cells ask


def _may_follow(rules: Rules, state: Trying, now: Seconds) -> bool:
    """Whether somebody else could still answer instead of the current candidate."""
    left = others_left(rules.candidates, state.run.misses, state.candidate, rules.windows, rules.hosts)
    return left > 0 and not state.run.is_over(now)
