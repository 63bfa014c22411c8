"""The deeds that the machine commands of a turn, one function per command. Words are the runner's own.

They run after the step's record was appended, in the order of the commands. `event` is what the step answered.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Raw

from acp_broker.broker import drain, story
from acp_broker.broker.attempt import Attempt
from acp_broker.core.turnwords import (
    Arm,
    AskCancel,
    Disarm,
    Event,
    Finished,
    Kill,
    Refuse,
    Reply,
    Start,
    Stop,
    Stopped,
    TimeUp,
    Withdraw,
)

if TYPE_CHECKING:
    from acp_broker.broker.runner import Turn


def _start(turn: "Turn", command: Start, _event: Event) -> None:
    session = turn.session
    standby = session.standby(command.candidate.backend)
    standby.use(command.candidate.credential)
    session.broker.chain.started(command.candidate)
    session.ids.new_message()
    turn.attempt = Attempt(turn, command.attempt, command.candidate, standby)
    session.attempts.put_nowait(turn.attempt)


def _stop(turn: "Turn", command: Stop, _event: Event) -> None:
    attempt = turn.current
    attempt.stop(politely=command.politely)
    if attempt.is_over:
        turn.then(Stopped(attempt.number))


def _kill(turn: "Turn", _command: Kill, _event: Event) -> None:
    turn.current.kill()


def _ask_cancel(turn: "Turn", _command: AskCancel, _event: Event) -> None:
    turn.current.ask_cancel()


def _arm(turn: "Turn", command: Arm, _event: Event) -> None:
    serial = command.serial
    turn.watch.arm(command.at, lambda: turn.post(TimeUp(serial)))


def _disarm(turn: "Turn", _command: Disarm, _event: Event) -> None:
    turn.watch.disarm()


def _withdraw(turn: "Turn", _command: Withdraw, event: Event) -> None:
    """End what is open between the agent and the frontend. A clean end leaves tools and terminals as they are."""
    attempt = turn.current
    for ask in tuple(attempt.asks):
        turn.session.desk.withdraw(ask)
    if not isinstance(event, Finished):
        turn.show(turn.session.desk.abort(attempt.open_tools))
        attempt.open_tools.clear()


def _reply(turn: "Turn", command: Reply, _event: Event) -> None:
    attempt = turn.attempt
    answer = attempt.finished.answer if attempt is not None and attempt.finished is not None else Raw(b"{}")
    if turn.is_interrupted:
        turn.close(drain.answer(turn), command.stop_reason)
        return
    told = None if turn.session.policy.notice == "off" else turn.story()
    turn.close(story.answered(answer, command.stop_reason, told), command.stop_reason)


def _refuse(turn: "Turn", command: Refuse, _event: Event) -> None:
    told = turn.story()
    if command.misses:
        spoken = turn.has_spoken
        error = story.refused(command.misses, committed=command.committed, has_spoken=spoken, story=told)
    else:
        error = story.nobody(told)
    turn.close(error, None)


DEEDS: dict[type, Callable[..., None]] = {
    Start: _start,
    Stop: _stop,
    Kill: _kill,
    AskCancel: _ask_cancel,
    Arm: _arm,
    Disarm: _disarm,
    Withdraw: _withdraw,
    Reply: _reply,
    Refuse: _refuse,
}
