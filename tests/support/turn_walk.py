"""A model of the runner, just big enough to tell any event that may come, and to judge what the machine answers.

`World` holds what the commands so far have brought about. `perform` plays one event and raises AssertionError, with
the law that was broken, when the answer breaks one. `walk` does that for every sequence of events.
"""

from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.names import Candidate, Phase, StopReason
from acp_broker.core.turn import step
from acp_broker.core.turnrules import Rules
from acp_broker.core.turnwords import (
    Accepted,
    Arm,
    AskCancel,
    CancelAsked,
    Command,
    Committed,
    Disarm,
    Doubted,
    DropHeld,
    Ended,
    Event,
    Failed,
    Finished,
    Hold,
    Kill,
    Noted,
    Reached,
    Refuse,
    Relay,
    RelayHeld,
    Reply,
    Spoke,
    Start,
    State,
    Stop,
    Stopped,
    Stopping,
    TimeUp,
    Trying,
    Waiting,
    Withdraw,
)

PHASES: tuple[Phase, ...] = ("leasing", "starting", "opening", "submitted", "retrying")
ENDS: tuple[StopReason, ...] = ("end_turn", "refusal", "cancelled")
# One kind for each thing that a failure can use up: the backend, the profile, the turn.
FAILURES = tuple(
    Failure(kind, kind.value) for kind in (FailureKind.CRASHED, FailureKind.BILLING, FailureKind.BAD_REQUEST)
)


class World(Struct, frozen=True):
    """What the commands so far have brought about. Attempts are numbers, 0 is none; timers are serials, 0 is none."""

    started: tuple[Candidate, ...] = ()
    alive: int = 0
    held: int = 0
    voice: int = 0
    is_committed: bool = False
    is_cancelled: bool = False
    is_asked: bool = False
    is_withdrawn: bool = False
    is_stopping: bool = False
    is_killed: bool = False
    is_answered: bool = False
    armed: int = 0
    serial: int = 0

    @property
    def attempt(self) -> int:
        return len(self.started)


def events(state: State, world: World) -> Iterator[Event]:
    """Every event that the runner may tell now, and old news with them."""
    if isinstance(state, Waiting):
        yield Accepted()
    yield CancelAsked()
    if world.armed:
        yield TimeUp(world.armed)
    if world.serial:
        yield TimeUp(world.serial - 1 if world.armed else world.serial)
    if world.attempt:
        yield from _of_attempt(world.attempt)
        if world.is_stopping or world.is_answered:
            yield Stopped(world.attempt)
    if world.attempt > 1:
        old = world.attempt - 1
        yield from (Noted(old), Spoke(old), Failed(old, FAILURES[0]), Stopped(old))


def _of_attempt(attempt: int) -> Iterator[Event]:
    yield from (Noted(attempt), Doubted(attempt), Spoke(attempt))
    yield from (Reached(attempt, phase) for phase in PHASES)
    yield from (Finished(attempt, reason) for reason in ENDS)
    yield from (Failed(attempt, failure) for failure in FAILURES)


def perform(
    rules: Rules, state: State, world: World, event: Event, now: float
) -> tuple[State, World, tuple[Command, ...]]:
    """The machine's answer, and the world after it. Raises AssertionError where the answer breaks a law."""
    after, commands = step(rules, state, event, now)
    world = _told(rules, world, event)
    for command in commands:
        assert not world.is_answered or isinstance(command, Relay), "only late notes follow the answer"
        world = _obeyed(rules, world, event, command, now)
    _check(rules, after, world)
    return after, world, commands


def _told(rules: Rules, world: World, event: Event) -> World:
    match event:
        case CancelAsked():
            return replace(world, is_cancelled=world.is_cancelled or not world.is_answered)
        case TimeUp(serial) if serial == world.armed:
            return replace(world, armed=0)
        case Stopped(attempt) if attempt == world.alive and world.is_stopping:
            return replace(world, alive=0, is_stopping=False, is_killed=False)
        case Reached(attempt, "submitted") if attempt == world.alive and rules.commit_point == "submitted":
            return replace(world, is_committed=world.is_committed or not world.is_stopping)
        case _:
            return world


def _obeyed(rules: Rules, world: World, event: Event, command: Command, now: float) -> World:
    match command:
        case Start(attempt, candidate):
            return _started(rules, world, attempt, candidate, now)
        case Stop(attempt, politely):
            assert attempt == world.alive, "only who is alive is stopped"
            assert not world.is_stopping, "an attempt is stopped once"
            assert world.is_withdrawn, "an attempt that is stopped leaves no request open"
            return replace(world, is_stopping=True, is_killed=not politely)
        case Kill(attempt):
            assert attempt == world.alive, "only who is alive is killed"
            assert world.is_stopping, "a kill comes after a stop"
            assert not world.is_killed, "an attempt is killed once"
            return replace(world, is_killed=True)
        case Arm(serial, at):
            assert serial > world.serial, "serials only grow"
            assert at > now, "a timer is in the future"
            return replace(world, armed=serial, serial=serial)
        case Disarm():
            assert world.armed, "only an armed timer is disarmed"
            return replace(world, armed=0)
        case AskCancel(attempt):
            assert attempt == world.alive, "only who is alive is asked"
            assert world.is_cancelled, "nobody is asked to cancel unless the user did"
            assert not world.is_asked, "an attempt is asked once"
            return replace(world, is_asked=True)
        case Withdraw(attempt):
            assert attempt == world.alive, "requests are withdrawn for who is alive"
            return replace(world, is_withdrawn=True)
        case Hold() | RelayHeld() | DropHeld() | Relay():
            return _spoken(world, event, command)
        case Reply() | Refuse():
            return _answered(world, event, command)


def _started(rules: Rules, world: World, attempt: int, candidate: Candidate, now: float) -> World:
    assert not world.alive, "one attempt is alive at most"
    assert not world.is_committed, "nobody is started after the commit point"
    assert not world.is_cancelled, "nobody is started after a cancel"
    assert not world.held, "nothing of a lost attempt is held"
    assert attempt == world.attempt + 1, "attempts are numbered one by one"
    assert candidate in rules.candidates, "only candidates are started"
    assert candidate not in world.started, "a candidate is tried once"
    chain = rules.limits.chain
    assert not world.started or chain is None or now < chain, "nobody is started after the chain's deadline"
    return replace(world, started=(*world.started, candidate), alive=attempt, is_withdrawn=False)


def _spoken(world: World, event: Event, command: Hold | RelayHeld | DropHeld | Relay) -> World:
    match command:
        case Hold():
            assert event.attempt == world.alive, "only words of who is alive are held"
            assert not world.is_committed, "words are held before the commit point only"
            return replace(world, held=world.alive)
        case DropHeld():
            assert not world.is_committed, "what may be shown is not dropped"
            return replace(world, held=0)
        case RelayHeld():
            assert world.held in (0, world.alive), "only words of who is alive are shown"
            return replace(world, held=0, voice=world.alive, is_committed=True)
        case Relay():
            assert not world.held, "words are shown in order"
            assert world.is_committed, "nothing is shown before the commit point"
            assert event.attempt is not None, "words come from an attempt"
            assert world.voice in (0, event.attempt), "all words that are shown come from one attempt"
            return replace(world, voice=event.attempt)


def _answered(world: World, event: Event, command: Reply | Refuse) -> World:
    finished = isinstance(event, Finished) and event.attempt == world.alive and not world.is_stopping
    assert finished or not world.alive, "the answer waits until nothing runs any more"
    assert world.is_withdrawn or not world.started, "no request is open when the turn is answered"
    assert not world.armed, "no timer rings after the answer"
    assert not world.held, "nothing is held when the turn is answered"
    match command:
        case Reply(reason):
            assert (reason == "cancelled") == world.is_cancelled, "`cancelled` is the answer to a cancel, and no other"
        case Refuse(misses, committed):
            assert [miss.attempt for miss in misses] == [*range(1, world.attempt + 1)], "a refusal tells every attempt"
            assert tuple(miss.candidate for miss in misses) == world.started, "a refusal tells who was tried"
            assert committed == world.is_committed, "a refusal tells whether words were shown"
    return replace(world, is_answered=True, alive=0)


def _check(rules: Rules, state: State, world: World) -> None:
    """What holds between any two events."""
    assert isinstance(state, Ended) == world.is_answered, "a turn ends with its answer"
    assert state.attempt == world.attempt, "the state knows the latest attempt"
    assert isinstance(state, Stopping) == world.is_stopping, "who is being stopped is waited for"
    if isinstance(state, Waiting | Ended):
        return
    assert world.alive == world.attempt, "somebody is at work"
    assert (state.timer.at is not None) == (world.armed != 0), "the state knows whether the timer is armed"
    assert state.timer.serial == world.serial, "the state knows the timer's serial"
    assert world.armed or world.is_killed or _may_last(rules, state), "a turn that waits has a timer"


def _may_last(rules: Rules, state: State) -> bool:
    """Whether config lets this go on without a limit."""
    match state:
        case Committed():
            limits = rules.limits_of(state.candidate)
            return (limits.idle if state.silent_since is None else limits.first_output) is None
        case Trying():
            return rules.limits.chain is None
        case _:
            return False


def run_down(rules: Rules, state: State, world: World, now: float) -> State:
    """Where the turn ends if everybody falls silent: timers ring, and who is being killed is gone at last."""
    while not isinstance(state, Ended):
        if world.armed:
            event: Event = TimeUp(world.armed)
        elif world.is_stopping:
            event = Stopped(world.attempt)
        else:
            break
        state, world, _ = perform(rules, state, world, event, now)
    return state


Node = tuple[State, World, bool]
Edge = tuple[Node, Event, float, Node, tuple[Command, ...]]

# Later than the deadline of any chain.
LATE = 1000.0


def walk(rules: Rules, depth: int = 1000) -> Iterator[Edge]:
    """Every step that any sequence of events can lead to, `depth` events long at most; equal places are met once.

    The stopwatch shows 0 until the turn is accepted, and from some later moment on LATE. Without an idle limit the
    places are finitely many, so that the walk is complete for sequences of any length.
    """
    start: Node = (Waiting(), World(), False)
    seen, frontier = {start}, [start]
    for _ in range(depth):
        found = []
        for node in frontier:
            for edge in _edges(rules, node):
                yield edge
                if edge[3] not in seen:
                    seen.add(edge[3])
                    found.append(edge[3])
        frontier = found
        if not frontier:
            break


def _edges(rules: Rules, node: Node) -> Iterator[Edge]:
    state, world, is_late = node
    times = (0.0,) if isinstance(state, Waiting) else (LATE,) if is_late else (0.0, LATE)
    for now in times:
        for event in events(state, world):
            after, changed, commands = perform(rules, state, world, event, now)
            yield node, event, now, (after, changed, now == LATE), commands
