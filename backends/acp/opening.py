"""How an agent is met: introduced, and its session opened, or taken up again where it has one."""

import msgspec
from msgspec import Raw, Struct

from acp_broker.contract import Tools
from acp_broker.core import redact
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.habits import UNKNOWN, Habits
from acp_broker.core.names import Phase
from acp_broker.errors import BackendFailure, RpcError
from acp_broker.wire import agent, jsonrpc
from backends.acp import AcpConfig, failing, fitting, numbering, rows
from backends.acp.peer import Peer
from backends.acp.row import Leaves, Row

PROTOCOL_VERSION = 1
_NO_BROKER = "the broker that had the prompt is there no longer: who answers in its place does not know it"


class _Named(Struct):
    session: str = msgspec.field(name="sessionId")


class Opening:
    """What is said before the first prompt. `capabilities` are the client's, as this agent gets them."""

    def __init__(self, peer: Peer, tools: Tools, settings: AcpConfig, row: Row | None, capabilities: Raw) -> None:
        self.phase: Phase = "starting"
        self.said = agent.Initialized()
        # What was changed in what opened the session.
        self.adapted: tuple[str, ...] = ()
        self.leaves: Leaves = row.leaves if row is not None else "eof"
        self._peer = peer
        self._tools = tools
        self._settings = settings
        self._row = row
        self._capabilities = capabilities
        if settings.cwd is not None:
            # An agent may ask for what it was not offered.
            peer.withheld = tuple(f"{name}/" for name in fitting.OF_THIS_MACHINE)

    async def introduced(self) -> Raw:
        """initialize, and log in again where that was done before. Raises BackendFailure."""
        info = self._tools.client_info
        params = {"protocolVersion": PROTOCOL_VERSION, "clientCapabilities": self._capabilities}
        result = await self.asked("initialize", params if info is None else {**params, "clientInfo": info})
        try:
            self.said = agent.initialized(result)
        except msgspec.DecodeError as error:
            raise BackendFailure(self.garbled(f"answered initialize with something else: {error}")) from error
        version = self.said.version
        if version is not None and version != PROTOCOL_VERSION:
            text = f"speaks ACP version {version}; acp-broker speaks version {PROTOCOL_VERSION}"
            raise BackendFailure(Failure(FailureKind.GARBLED, text, code=str(version), seen_at="starting"))
        if self._tools.authenticated_by is not None:
            await self.asked("authenticate", {"methodId": self._tools.authenticated_by})
        is_broker = self._settings.url is not None and numbering.is_broker(result)
        if self._peer.numbers is not None and not is_broker:
            # An agent like any other would run the prompt once more.
            raise BackendFailure(Failure(FailureKind.CRASHED, _NO_BROKER, seen_at=self.phase))
        if is_broker and self._peer.numbers is None:
            self._peer.numbers = numbering.Numbers()
        return result

    async def open(self) -> Raw:
        """The result of the session's opening: the runtime's own session again where it has one, else a new one."""
        params = self.params()
        known = self._tools.remembered()
        if known is not None and self.said.can_come_back:
            try:
                return await self._come_back(known, params)
            except BackendFailure as error:
                if self._peer.is_gone:
                    raise
                self._tools.log("session_not_taken_up", why=error.failure.text)
        self._peer.listener, self._peer.session = self._tools.between, None
        opened = await self.asked("session/new", params)
        try:
            session = msgspec.json.decode(opened, type=_Named).session
        except msgspec.DecodeError as error:
            raise BackendFailure(self.garbled(f"answered session/new without a session id: {error}")) from error
        self._tools.remember(session)
        self._peer.named(jsonrpc.encode(session))
        return opened

    async def _come_back(self, session: str, params: dict[str, object]) -> Raw:
        method = "session/resume" if self.said.can.session.resume is not None else "session/load"
        # What is replayed was shown before: it is swallowed.
        self._peer.listener, self._peer.session = None, jsonrpc.encode(session)
        result = await self.asked(method, {**params, "sessionId": session})
        if method == "session/load" and not self._peer.swallowed:
            # Some answer so to an id that they do not know. What a load does not replay, the agent does not remember.
            self._tools.remember(session)
        self._peer.listener = self._tools.between
        if self._peer.numbers is not None:
            self._peer.numbers = numbering.known(result)
            # A turn that nobody waits for any more: it was lost with an earlier connection.
            self._peer.tell("session/cancel", {"sessionId": self._peer.session})
        return result if result != jsonrpc.NULL else Raw(b"{}")

    def habits(self, info_name: str | None) -> Habits:
        """Its own words; what it calls itself says more than its command."""
        found = rows.find(self._settings.agent, self._settings.command or (), info_name)
        if found is None:
            return UNKNOWN
        if found.row.env and self._row is None and self._tools.is_followed:
            text = f'it was started as a stranger; to have its retries off write "agent": "{found.name}"'
            self._tools.log("agent_recognised", agent=found.name, why=text)
        self.leaves = found.row.leaves
        return rows.habits(found.row)

    def params(self) -> dict[str, object]:
        assert self._tools.setup is not None
        params, self.adapted = fitting.session(self._tools.setup, self.said.can, self._settings.cwd)
        return params

    async def asked(self, method: str, params: object) -> Raw:
        try:
            return await self._peer.ask(method, params)
        except RpcError as error:
            raise BackendFailure(self.classified(error)) from error

    def classified(self, error: RpcError) -> Failure:
        return failing.of_reply(error, self.phase, is_broker=self._peer.numbers is not None)

    def garbled(self, text: str) -> Failure:
        # msgspec quotes what it did not expect, which may be anything.
        return Failure(FailureKind.GARBLED, redact.plain(text), seen_at=self.phase)
