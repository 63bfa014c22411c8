"""What backends said of themselves in earlier runs, so that `initialize` is honest without starting one.

Kept in one small file of the state folder, by backend, fingerprint and what the frontend declared; a changed config
or another client is learnt anew. Losing the file costs one wait, never more.
"""

import hashlib

import anyio.to_thread
import msgspec
from anyio import Lock
from msgspec import Raw, Struct

from acp_broker.broker.runtime import Runtime
from acp_broker.errors import StoreError
from acp_broker.observe.log import Log
from acp_broker.store.files import StateFolder

FILE = "learnt.json"
# Far more than any config has; the oldest are forgotten.
MOST = 200


class Lesson(Struct):
    """The results of `initialize` and of `session/new`, without the session's id."""

    initialized: Raw
    opened: Raw = Raw(b"{}")


class Learnt:
    def __init__(self, folder: StateFolder, log: Log) -> None:
        self._folder = folder
        self._log = log
        self._lessons: dict[str, Lesson] | None = None
        # One write at a time: of two, the slower would win, and it may be the older.
        self._writing = Lock()

    def of(self, runtime: Runtime, capabilities: Raw) -> Lesson | None:
        """What is known of this backend towards such a frontend."""
        return self._all().get(_key(runtime, capabilities))

    def keep(self, runtime: Runtime, capabilities: Raw, lesson: Lesson) -> bool:
        """Remember; whether it is news and `save` is due."""
        key, lessons = _key(runtime, capabilities), self._all()
        if lessons.get(key) == lesson:
            return False
        lessons.pop(key, None)
        lessons[key] = lesson
        while len(lessons) > MOST:
            del lessons[next(iter(lessons))]
        return True

    async def save(self) -> None:
        """Write the file, in a thread. A failure is logged: it costs a wait at the next start, nothing else."""
        async with self._writing:
            data = msgspec.json.encode(self._all())
            try:
                await anyio.to_thread.run_sync(self._folder.write_small, FILE, data)
            except StoreError as error:
                self._log("not_learnt", why=str(error))

    def _all(self) -> dict[str, Lesson]:
        if self._lessons is None:
            data = self._folder.read_small(FILE)
            try:
                self._lessons = msgspec.json.decode(data, type=dict[str, Lesson]) if data else {}
            except msgspec.DecodeError as error:
                self._log("not_learnt", why=f"{FILE}: {error}; it will be written anew")
                self._lessons = {}
        return self._lessons


def _key(runtime: Runtime, capabilities: Raw) -> str:
    client = hashlib.sha256(bytes(capabilities)).hexdigest()[:16]
    return f"{runtime.candidate.backend}:{runtime.fingerprint}:{client}"
