"""A provider that speaks HTTP/2 alone, over TLS, and fails as only HTTP/2 can: Chat Completions, by the package h2."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import h2.config
import h2.connection
import h2.events
from h2.errors import ErrorCodes

from tests.support.certificates import issued
from tests.support.chat_player import ended, said

_WORDS = (said(role="assistant", content=""), said(content="alpha "), said(content="beta "))
# What is sent before the stream or the connection ends; the rest is an answer, or silence.
FAULTS = ("good", "reset-first", "reset-mid", "goaway-first", "goaway-mid", "stall-headers", "stall-mid")


class Http2Provider:
    """`fault` is of every request from now on; `cancelled` are the streams that the client has given up."""

    def __init__(self, url: str, trust: Path) -> None:
        self.url = url
        self.trust = trust
        self.fault = "good"
        self.connections = 0
        self.streams = 0
        self.cancelled: list[ErrorCodes] = []
        self.was_cancelled = anyio.Event()
        self.stalled = anyio.Event()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        state.initiate_connection()
        writer.write(state.data_to_send())
        while data := await reader.read(65_536):
            for event in state.receive_data(data):
                match event:
                    case h2.events.DataReceived(stream_id=stream, flow_controlled_length=size):
                        state.acknowledge_received_data(size or 0, stream or 0)
                    case h2.events.StreamEnded(stream_id=stream):
                        self.streams += 1
                        self._answer(state, stream or 0)
                    case h2.events.StreamReset(error_code=code):
                        self.cancelled.append(ErrorCodes(code or 0))
                        self.was_cancelled.set()
            writer.write(state.data_to_send())
            if state.state_machine.state is h2.connection.ConnectionState.CLOSED:
                break
        writer.close()

    def _answer(self, state: h2.connection.H2Connection, stream: int) -> None:
        how, _, where = self.fault.partition("-")
        if where != "first" and where != "headers":
            state.send_headers(stream, [(":status", "200"), ("content-type", "text/event-stream")])
            for piece in _WORDS:
                state.send_data(stream, piece)
        match how:
            case "good":
                state.send_data(stream, ended("stop"), end_stream=True)
            case "reset":
                state.reset_stream(stream, ErrorCodes.INTERNAL_ERROR)
            case "goaway":
                state.close_connection(ErrorCodes.ENHANCE_YOUR_CALM, last_stream_id=stream)
            case "stall":
                self.stalled.set()


@asynccontextmanager
async def http2_provider(folder: Path) -> AsyncIterator[Http2Provider]:
    """It runs in this process, and ends with the block."""
    made, key = issued(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made, key)
    context.set_alpn_protocols(["h2"])
    found: list[Http2Provider] = []
    server = await asyncio.start_server(lambda *ends: found[0].talk(*ends), "127.0.0.1", 0, ssl=context)
    found.append(Http2Provider(f"https://localhost:{server.sockets[0].getsockname()[1]}/v1", made))
    try:
        yield found[0]
    finally:
        server.close()
