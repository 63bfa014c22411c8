"""Play a turn again from its log: a turn is nothing but its rules and its events."""

from collections.abc import Iterable

from acp_broker.core.turn import step
from acp_broker.core.turnrules import Rules, Seconds
from acp_broker.core.turnwords import Event, State, Step, Waiting


def replay(rules: Rules, records: Iterable[tuple[Seconds, Event]]) -> list[Step]:
    """What the machine answered to each record: its stopwatch, then its event. Raises Impossible."""
    state: State = Waiting()
    steps = []
    for now, event in records:
        state, commands = step(rules, state, event, now)
        steps.append((state, commands))
    return steps
