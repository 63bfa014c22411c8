"""The end of a broker that others still work with: nothing new begins, what runs may end, the rest is interrupted."""

from typing import TYPE_CHECKING

from anyio import CancelScope, Event, create_task_group

from acp_broker.broker import story
from acp_broker.broker.limit import within
from acp_broker.core.turnwords import CancelAsked, Cancelled, Cancelling, Ended, Refusal, Stopping
from acp_broker.errors import BUSY, RpcError
from acp_broker.store import records

if TYPE_CHECKING:
    from acp_broker.broker.broker import Broker
    from acp_broker.broker.runner import Turn

# The machine ends an interrupted turn within limits of its own: this one bounds a fault of ours.
INTERRUPT_S = 30.0


def stopping() -> RpcError:
    """What is answered to who wants something new of a broker that stops."""
    return RpcError(BUSY, "acp-broker is stopping; start again in a moment")


async def drain(broker: "Broker", limit_s: float, at_once: Event | None) -> None:
    """Returns when no turn runs; what still runs after the limit, or once `at_once` is set, is interrupted."""
    for session in broker.sessions.values():
        session.prompts.refuse(stopping())
    with within(broker.clock, limit_s):
        async with create_task_group() as waiting:
            if at_once is not None:
                waiting.start_soon(_cancel_at, at_once, waiting.cancel_scope)
            await _idle(broker)
            waiting.cancel_scope.cancel()
    for session in tuple(broker.sessions.values()):
        if session.turn is not None:
            interrupt(session.turn)
    with within(broker.clock, INTERRUPT_S):
        await _idle(broker)


def interrupt(turn: "Turn") -> None:
    """End a turn like a cancelled one, but say that it was we who did. What ends already ends as it was going to."""
    state = turn.state.then if isinstance(turn.state, Stopping) else turn.state
    if isinstance(state, Cancelling | Cancelled | Refusal | Ended):
        return
    turn.is_interrupted = True
    turn.session.log.append(records.line("interrupted", turn=turn.id, at=turn.session.clock.wall()))
    turn.post(CancelAsked())


def answer(turn: "Turn") -> RpcError:
    """What an interrupted turn is answered."""
    attempt, misses = turn.attempt, turn.telling.misses
    has_failed = attempt is None or any(miss.attempt == attempt.number for miss in misses)
    backend = None if attempt is None or has_failed else attempt.candidate.backend
    return story.interrupted(backend, misses, has_spoken=turn.has_spoken, story=turn.story())


async def _idle(broker: "Broker") -> None:
    for session in tuple(broker.sessions.values()):
        await session.idle()


async def _cancel_at(event: Event, scope: CancelScope) -> None:
    await event.wait()
    scope.cancel()
