"""What the operator decided, as plain values: made from config.json by `app`, read by the broker."""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from acp_broker.broker.runtime import Runtime
from acp_broker.core.names import BackendId, CommitPoint
from acp_broker.core.turnrules import Limits


class Policy(Struct, frozen=True):
    """`order` is the primary, then the fallbacks. Times in seconds."""

    order: tuple[BackendId, ...]
    runtimes: Mapping[BackendId, Runtime]
    commit_point: CommitPoint = "first_output"
    notice: Literal["off", "meta", "message"] = "meta"
    limits: Limits = Limits()
    queued_prompts: int = 16
    # How long `session/new` and a setting wait for the primary, and `initialize` for it to say what it can do.
    session_new_s: float = 3.0
    learn_s: float = 2.0
    # How long a running turn may take to end by itself once its frontend is gone from stdio.
    leave_s: float = 10.0
    # How long a prompt waits for a turn that another process runs in its session.
    session_busy_s: float = 60.0
    # How long a permission waits for somebody to attend its session, once its frontend is gone.
    unattended_s: float = 60.0

    @property
    def fingerprints(self) -> dict[BackendId, str]:
        return {name: runtime.fingerprint for name, runtime in self.runtimes.items()}
