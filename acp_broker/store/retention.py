"""Which kept sessions are to go: by age, and the oldest ones first where all together are too large. Blocks."""

from collections.abc import Collection, Iterator, Sequence

from msgspec import Struct

from acp_broker.core.names import SessionId
from acp_broker.errors import SessionInUse, StoreError
from acp_broker.store import owned
from acp_broker.store.files import StateFolder
from acp_broker.store.past import Listed


class Keep(Struct, frozen=True):
    """How long after its last word a session is kept, in seconds, and how many bytes all of them may take."""

    seconds: float | None = None
    size: int | None = None


def due(sessions: Sequence[Listed], keep: Keep, now: float) -> Iterator[Listed]:
    """Those that are to go; `sessions` come with the one written last first."""
    taken = 0
    for one in sessions:
        taken += one.size
        is_old = keep.seconds is not None and now - one.at > keep.seconds
        if is_old or (keep.size is not None and taken > keep.size):
            yield one


def sweep(
    folder: StateFolder, keep: Keep, now: float, spared: Collection[SessionId] = ()
) -> tuple[list[SessionId], list[str]]:
    """Delete what is due, is not `spared`, and in no other process attended or running a turn; what was deleted, and
    why others could not be. Raises StoreError."""
    gone: list[SessionId] = []
    faults: list[str] = []
    for one in due(folder.sessions(), keep, now):
        if one.session in spared or folder.attended.is_elsewhere(one.session):
            continue
        path = folder.log_path(one.session)
        if path is None:
            continue
        try:
            owned.remove(path)
        except SessionInUse:
            continue
        except StoreError as error:
            faults.append(str(error))
        else:
            gone.append(one.session)
    return gone, faults
