"""What backends said of themselves in earlier runs, so that `initialize` is honest without starting one.

Kept in one small file of the state folder, by backend, fingerprint and what the frontend declared; a changed config
or another client is learnt anew. Losing the file costs one wait, never more. Beside it, by backend and fingerprint,
whether its good answers say what they used (`core.witness`).
"""

import hashlib
from typing import TypeVar

import anyio.to_thread
import msgspec
from anyio import Lock
from msgspec import Raw, Struct

from acp_broker.broker.runtime import Runtime
from acp_broker.core import witness
from acp_broker.errors import StoreError
from acp_broker.observe.log import Log
from acp_broker.store.files import StateFolder

T = TypeVar("T")

FILE = "learnt.json"
# Far more than any config has; the oldest are forgotten.
MOST = 200


class Lesson(Struct):
    """The results of `initialize` and of `session/new`, without the session's id."""

    initialized: Raw
    opened: Raw = Raw(b"{}")


class _Kept(Struct):
    """The whole file. `usage` counts answers in a row that had it."""

    lessons: dict[str, Lesson] = {}
    usage: dict[str, int] = {}


class Learnt:
    def __init__(self, folder: StateFolder, log: Log) -> None:
        self._folder = folder
        self._log = log
        self._kept: _Kept | None = None
        # One write at a time: of two, the slower would win, and it may be the older.
        self._writing = Lock()

    def of(self, runtime: Runtime, capabilities: Raw) -> Lesson | None:
        """What is known of this backend towards such a frontend."""
        return self._all().lessons.get(_key(runtime, capabilities))

    def keep(self, runtime: Runtime, capabilities: Raw, lesson: Lesson) -> bool:
        """Remember; whether it is news and `save` is due."""
        return _put(self._all().lessons, _key(runtime, capabilities), lesson)

    def reports_usage(self, runtime: Runtime) -> bool | None:
        """Whether good answers of this backend say what they used; None while too few have been seen."""
        return witness.habit(self._all().usage.get(_own_key(runtime)))

    def used(self, runtime: Runtime, *, is_present: bool) -> bool:
        """A turn beyond doubt ended with or without `usage`; whether it is news and `save` is due."""
        key, usage = _own_key(runtime), self._all().usage
        before = usage.get(key)
        after = witness.seen(before or 0, is_present=is_present)
        return after != before and _put(usage, key, after)

    async def save(self) -> None:
        """Write the file, in a thread. A failure is logged: it costs a wait at the next start, nothing else."""
        async with self._writing:
            data = msgspec.json.encode(self._all())
            try:
                await anyio.to_thread.run_sync(self._folder.write_small, FILE, data)
            except StoreError as error:
                self._log("not_learnt", why=str(error))

    def _all(self) -> _Kept:
        if self._kept is None:
            data = self._folder.read_small(FILE)
            try:
                self._kept = msgspec.json.decode(data, type=_Kept) if data else _Kept()
            except msgspec.DecodeError as error:
                self._log("not_learnt", why=f"{FILE}: {error}; it will be written anew")
                self._kept = _Kept()
        return self._kept


def _put(kept: dict[str, T], key: str, value: T) -> bool:
    """Keep it as the latest; False if it is known already. Past MOST the oldest is forgotten."""
    if kept.get(key) == value:
        return False
    kept.pop(key, None)
    kept[key] = value
    while len(kept) > MOST:
        del kept[next(iter(kept))]
    return True


def _own_key(runtime: Runtime) -> str:
    return f"{runtime.candidate.backend}:{runtime.fingerprint}"


def _key(runtime: Runtime, capabilities: Raw) -> str:
    client = hashlib.sha256(bytes(capabilities)).hexdigest()[:16]
    return f"{runtime.candidate.backend}:{runtime.fingerprint}:{client}"
