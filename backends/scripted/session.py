"""The sessions of a scripted runtime: what was shown in each, and what the client set."""

import os

from msgspec import Raw

from backends.scripted.memory import Memory, Record
from backends.scripted.script import Script
from backends.scripted.steps import Json, Object


class Session:
    """One session: the number of turns begun, the updates shown, mode and options."""

    def __init__(self, session_id: str, cwd: str, script: Script, memory: Memory | None) -> None:
        self.id = session_id
        self.cwd = cwd
        self.turns = 0
        self.history: list[Raw] = []
        self._script = script
        self._memory = memory
        self._mode: Json = (script.modes or {}).get("currentModeId")
        self._set: dict[Json, Json] = {}

    def begin(self) -> None:
        self._keep(Record(self.id, "new"))

    def begin_turn(self) -> int:
        """The number of the turn that begins, from 0."""
        self._keep(Record(self.id, "turn"))
        return self.turns - 1

    def show(self, update: Raw) -> None:
        self._keep(Record(self.id, "shown", update))

    def recall(self, record: Record) -> None:
        """Take in what was kept, by this process or an earlier one."""
        match record.what:
            case "turn":
                self.turns += 1
            case "shown":
                self.history.append(record.update)
            case "new":
                pass

    def set_mode(self, mode: str) -> bool:
        """Whether the script offers that mode; then it is the session's."""
        modes = (self._script.modes or {}).get("availableModes")
        is_known = isinstance(modes, list) and mode in [known.get("id") for known in modes if isinstance(known, dict)]
        if is_known:
            self._mode = mode
        return is_known

    def set_option(self, option_id: str, value: Json) -> bool:
        """Whether the script has that option; then `value` is its value."""
        is_known = option_id in [option.get("id") for option in self._script.config_options]
        if is_known:
            self._set[option_id] = value
        return is_known

    def state(self) -> Object:
        """`modes` and `configOptions`, as far as the script has them."""
        state: Object = {}
        if self._script.modes is not None:
            state["modes"] = self._script.modes | {"currentModeId": self._mode}
        if self._script.config_options:
            state["configOptions"] = self.options()
        return state

    def options(self) -> list[Object]:
        return [
            option | {"currentValue": self._set.get(option.get("id"), option.get("currentValue"))}
            for option in self._script.config_options
        ]

    def _keep(self, record: Record) -> None:
        self.recall(record)
        if self._memory is not None:
            self._memory.keep(record)


class Sessions:
    """Those that this runtime has open, and those that its memory knows."""

    def __init__(self, script: Script, memory: Memory | None) -> None:
        self._script = script
        self._memory = memory
        self._open: dict[str, Session] = {}
        self._begun = 0

    def begin(self, cwd: str) -> Session:
        self._begun += 1
        # Several processes share a memory, so there a count would name two sessions alike.
        name = str(self._begun) if self._memory is None else os.urandom(6).hex()
        session = self._add(f"session-{name}", cwd)
        session.begin()
        return session

    def find(self, session_id: str) -> Session | None:
        return self._open.get(session_id)

    def reopen(self, session_id: str, cwd: str) -> Session | None:
        """An open or a remembered session, from now on in `cwd`; None for one that nobody began."""
        session = self._open.get(session_id) or self._remembered(session_id, cwd)
        if session is not None:
            session.cwd = cwd
        return session

    def drop(self, session_id: str) -> None:
        self._open.pop(session_id, None)

    def _remembered(self, session_id: str, cwd: str) -> Session | None:
        records = [] if self._memory is None else self._memory.records_of(session_id)
        if not records:
            return None
        session = self._add(session_id, cwd)
        for record in records:
            session.recall(record)
        return session

    def _add(self, session_id: str, cwd: str) -> Session:
        session = self._open[session_id] = Session(session_id, cwd, self._script, self._memory)
        return session
