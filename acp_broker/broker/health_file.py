"""What the brokers of a state folder have found out about backends, for the next one and for those that start beside.

A client that starts a broker for each prompt would pay for a dead primary each time. Read once, at the start; written
in a thread when something has changed, so that a healthy turn never touches it, and a moment later or at the end, so
that a failover is not held up by it. Of two that know different things of one backend, the last one to learn is right.
That a turn tries a backend again is not kept: who is killed meanwhile would keep everybody from that backend for
minutes. Losing the file, or the last moment of it, costs one failed attempt, never more.
"""

from collections.abc import Mapping

import anyio.to_thread
import msgspec
from anyio import Lock
from msgspec import Struct

from acp_broker.core.health import Health, Key, Login, Profile, Scope, without_probes
from acp_broker.core.names import BackendId
from acp_broker.errors import StoreError
from acp_broker.observe.log import Log
from acp_broker.store.files import StateFolder

FILE = "health.json"
# Long enough for the next backend to have been asked: what writes would take the processor from it.
LATER_S = 0.05


class _Kept(Struct):
    """`fingerprints`: of the backends as they were. One that was changed since has another health."""

    health: Health = Health()
    fingerprints: dict[BackendId, str] = {}


class HealthFile:
    def __init__(self, folder: StateFolder, log: Log) -> None:
        self._folder = folder
        self._log = log
        # What is to be written, with the fingerprints of that moment.
        self._due: tuple[Health, Mapping[BackendId, str]] | None = None
        # What this process has learnt, or seen repaired: of all else the file is right.
        self._touched: set[Scope] = set()
        self._writing = Lock()

    def read(self, fingerprints: Mapping[BackendId, str]) -> Health:
        """What is known of backends with these fingerprints."""
        kept = self._read()
        known = without_probes(kept.health).records
        ours = [record for record in known if _is_of(record.scope, kept.fingerprints, fingerprints)]
        return Health(tuple(ours))

    def changed(self, before: Health, after: Health) -> bool:
        """Note what is news; whether anything is, and is to be kept."""
        old, new = ({record.scope: record for record in without_probes(one).records} for one in (before, after))
        touched = {scope for scope in old | new if old.get(scope) != new.get(scope)}
        self._touched |= touched
        return bool(touched)

    def keep(self, health: Health, fingerprints: Mapping[BackendId, str]) -> bool:
        """To be written with the next `flush`; whether that is news. It is best done LATER_S from now."""
        is_news, self._due = self._due is None, (health, fingerprints)
        return is_news

    async def flush(self) -> None:
        """Write what is to be written, in a thread. A failure is logged: the next broker finds out for itself."""
        async with self._writing:
            if self._due is None:
                return
            due, self._due = self._due, None
            try:
                await anyio.to_thread.run_sync(self._write, *due)
            except StoreError as error:
                self._log("health_not_kept", why=str(error))

    def _write(self, health: Health, fingerprints: Mapping[BackendId, str]) -> None:
        theirs = [record for record in self.read(fingerprints).records if record.scope not in self._touched]
        ours = [record for record in health.records if record.scope in self._touched]
        kept = _Kept(without_probes(Health((*theirs, *ours))), dict(fingerprints))
        self._folder.write_small(FILE, msgspec.json.encode(kept))

    def _read(self) -> _Kept:
        data = self._folder.read_small(FILE)
        try:
            return msgspec.json.decode(data, type=_Kept) if data else _Kept()
        except msgspec.DecodeError as error:
            self._log("health_not_kept", why=f"{FILE}: {error}; it will be written anew")
            return _Kept()


def _is_of(scope: Scope, then: Mapping[BackendId, str], now: Mapping[BackendId, str]) -> bool:
    match scope:
        case Key(backend) | Login(backend):
            return backend in now and then.get(backend) == now[backend]
        case Profile():
            return True
