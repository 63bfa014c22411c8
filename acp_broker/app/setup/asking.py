"""Asking a provider for its models before there is a config.json: its kind's backend is opened without a session."""

from collections.abc import Mapping

from msgspec import Raw

from acp_broker.app.kinds import kind
from acp_broker.backend_config import BackendConfig
from acp_broker.broker.whom import Nobody
from acp_broker.clock import Clock, SystemClock
from acp_broker.contract import Child, Client, Looks, SessionSetup, Spawn
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.names import BackendId, Phase, Projects
from acp_broker.errors import BackendFailure
from acp_broker.wire.framing import MAX_LINE_BYTES


async def models_of(
    settings: BackendConfig, name: str, secret: str | None, environ: Mapping[str, str]
) -> tuple[str, ...]:
    """All that it lists, by one request with this key that costs nothing. Raises BackendFailure."""
    tools = _Tools(name, secret, environ)
    async with kind(str(settings.__struct_config__.tag)).open(settings, tools) as backend:
        if not isinstance(backend, Looks):
            raise BackendFailure(Failure(FailureKind.UNSUPPORTED, "it lists no models"))
        return await backend.models()


class _Tools:
    """contract.Tools of somebody who only asks."""

    def __init__(self, name: str, secret: str | None, environ: Mapping[str, str]) -> None:
        self.backend = BackendId(name)
        self.clock: Clock = SystemClock()
        self.setup: SessionSetup | None = None
        self.client_capabilities = Raw(b"{}")
        self.client_info: Raw | None = None
        self.authenticated_by: str | None = None
        self.credential = secret
        self.is_token = False
        self.projects = Projects()
        self.environment = environ
        self.is_followed = False
        self.max_message_bytes = MAX_LINE_BYTES
        self.between: Client = Nobody()
        self.spawn: Spawn = _none_is_started

    def reached(self, phase: Phase) -> None:
        """Nobody waits for it."""

    def remember(self, runtime_session: str) -> None:
        """There is no session."""

    def remembered(self) -> str | None:
        return None

    def log(self, event: str, **fields: str | float | None) -> None:
        """Nobody reads it."""


async def _none_is_started(*_: object, **__: object) -> Child:
    raise AssertionError("nothing is started to find out")
