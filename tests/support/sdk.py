"""The official Python SDK as a client: it answers whatever an agent asks, and keeps everything that it was sent."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import acp
from acp.connection import StreamDirection, StreamEvent
from acp.exceptions import RequestError
from acp.schema import (
    AcceptElicitationResponse,
    AllowedOutcome,
    ClientCapabilities,
    CreateTerminalResponse,
    DeclineElicitationResponse,
    DeniedOutcome,
    ElicitationCapabilities,
    ElicitationFormCapabilities,
    FileSystemCapabilities,
    Implementation,
    KillTerminalResponse,
    ReadTextFileResponse,
    ReleaseTerminalResponse,
    RequestPermissionResponse,
    TerminalOutputResponse,
    WaitForTerminalExitResponse,
    WriteTextFileResponse,
)
from acp.ws.client import create_websocket_stream

from tests.support.conversation import is_update
from tests.support.ways import Address, Way

# A test that waits this long has failed: it bounds a hang, nothing is measured by it.
DEADLINE_S = 30.0
CAPABILITIES = ClientCapabilities(
    fs=FileSystemCapabilities(read_text_file=True, write_text_file=True),
    terminal=True,
    elicitation=ElicitationCapabilities(form=ElicitationFormCapabilities()),
)


class SdkClient:
    """An editor: files are a dict, terminals are numbered, permissions go by the tool call's title."""

    def __init__(self) -> None:
        self.heard: list[dict] = []
        self.understood: list[str] = []
        self.files: dict[str, str] = {}
        self.killed: set[str] = set()
        self._terminals = 0
        self._changed = asyncio.Event()

    def observe(self, event: StreamEvent) -> None:
        if event.direction is StreamDirection.INCOMING:
            self.heard.append(event.message)
            self._changed.set()
            self._changed = asyncio.Event()

    async def until(self, is_so: Callable[["SdkClient"], bool]) -> None:
        """Wait until `is_so` holds, looking after each message."""
        async with asyncio.timeout(DEADLINE_S):
            while not is_so(self):
                await self._changed.wait()

    @property
    def kinds(self) -> list[str]:
        """The kind of every update, in order."""
        return [message["params"]["update"]["sessionUpdate"] for message in self.heard if is_update(message)]

    # acp.Client

    async def session_update(self, **_: object) -> None:
        self.understood.append("session_update")

    async def request_permission(self, tool_call: object, **_: object) -> RequestPermissionResponse:
        self.understood.append("request_permission")
        match tool_call.title:
            case "Reject":
                return RequestPermissionResponse(outcome=AllowedOutcome(option_id="reject", outcome="selected"))
            case "Cancel":
                return RequestPermissionResponse(outcome=DeniedOutcome(outcome="cancelled"))
            case _:
                return RequestPermissionResponse(outcome=AllowedOutcome(option_id="allow", outcome="selected"))

    async def read_text_file(self, path: str, **_: object) -> ReadTextFileResponse:
        self.understood.append("read_text_file")
        if path not in self.files:
            raise RequestError.resource_not_found(path)
        return ReadTextFileResponse(content=self.files[path])

    async def write_text_file(self, path: str, content: str, **_: object) -> WriteTextFileResponse:
        self.understood.append("write_text_file")
        self.files[path] = content
        return WriteTextFileResponse()

    async def create_terminal(self, command: str, **_: object) -> CreateTerminalResponse:
        self.understood.append(f"create_terminal {command}")
        self._terminals += 1
        return CreateTerminalResponse(terminal_id=f"terminal-{self._terminals}")

    async def terminal_output(self, terminal_id: str, **_: object) -> TerminalOutputResponse:
        self.understood.append(f"terminal_output {terminal_id}")
        return TerminalOutputResponse(output=f"output of {terminal_id}\n", truncated=False)

    async def wait_for_terminal_exit(self, terminal_id: str, **_: object) -> WaitForTerminalExitResponse:
        self.understood.append(f"wait_for_terminal_exit {terminal_id}")
        if terminal_id in self.killed:
            return WaitForTerminalExitResponse(signal="SIGKILL")
        return WaitForTerminalExitResponse(exit_code=0)

    async def kill_terminal(self, terminal_id: str, **_: object) -> KillTerminalResponse:
        self.understood.append(f"kill_terminal {terminal_id}")
        self.killed.add(terminal_id)
        return KillTerminalResponse()

    async def release_terminal(self, terminal_id: str, **_: object) -> ReleaseTerminalResponse:
        self.understood.append(f"release_terminal {terminal_id}")
        return ReleaseTerminalResponse()

    async def create_elicitation(
        self, message: str, **_: object
    ) -> AcceptElicitationResponse | DeclineElicitationResponse:
        self.understood.append(f"create_elicitation {message}")
        if message == "Decline":
            return DeclineElicitationResponse(action="decline")
        return AcceptElicitationResponse(action="accept", content={"name": "Ada", "age": 36})

    async def ext_method(self, method: str, params: dict) -> dict:
        self.understood.append(f"ext_method {method}")
        return {"echo": params}

    async def ext_notification(self, method: str, params: dict) -> None:
        self.understood.append(f"ext_notification {method}")

    def on_connect(self, conn: acp.Agent) -> None:
        """The connection is held by whoever made it."""


@asynccontextmanager
async def connected(client: SdkClient, way: Way) -> AsyncIterator[acp.Agent]:
    """The SDK's connection, initialized. Of a command it expects exit status 0 when its stdin closes."""
    async with _opened(client, way) as agent:
        await agent.initialize(
            protocol_version=acp.PROTOCOL_VERSION,
            client_capabilities=CAPABILITIES,
            client_info=Implementation(name="sdk", version="1"),
        )
        yield agent


@asynccontextmanager
async def _opened(client: SdkClient, way: Way) -> AsyncIterator[acp.Agent]:
    members = {"use_unstable_protocol": True, "observers": [client.observe]}
    if isinstance(way, Address):
        assert way.protocols == (), "this SDK can set headers, and names no subprotocols"
        stream = await create_websocket_stream(way.url, headers=dict(way.headers))
        async with acp.connect_to_agent(client, stream, **members) as agent:
            yield agent
        return
    transport = {"stderr": asyncio.subprocess.DEVNULL, "shutdown_timeout": DEADLINE_S}
    async with acp.spawn_agent_process(client, *way.argv, env=dict(way.env), transport_kwargs=transport, **members) as (
        agent,
        process,
    ):
        yield agent
    assert process.returncode == 0
