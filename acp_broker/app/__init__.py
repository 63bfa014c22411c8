"""The composition root: a Config becomes a running broker. The only package that imports backends."""

from acp_broker.app.kinds import ENTRY_POINTS, kind, kinds
from acp_broker.app.policy import missing, policy
from acp_broker.app.running import running, running_and_following

__all__ = ["ENTRY_POINTS", "kind", "kinds", "missing", "policy", "running", "running_and_following"]
