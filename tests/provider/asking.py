"""A client that sees every byte: it asks the fault server over a plain socket, and tells how the answer ended."""

import json
import re
import socket
from typing import Any, NamedTuple

import anyio.to_thread

from tests.support.provider import Provider

APIS = ("anthropic", "chat", "responses", "gemini")
TOOL = "run_shell"
_SCHEMA = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}
_FUNCTION = {"name": TOOL, "description": "Run a command", "parameters": _SCHEMA}
_TOOLS: dict[str, list[dict[str, Any]]] = {
    "anthropic": [{"name": TOOL, "input_schema": _SCHEMA}],
    "chat": [{"type": "function", "function": _FUNCTION}],
    "responses": [{"type": "function", **_FUNCTION}],
    "gemini": [{"functionDeclarations": [_FUNCTION]}],
}
_QUESTION: dict[str, dict[str, Any]] = {
    "anthropic": {"messages": [{"role": "user", "content": "hi"}]},
    "chat": {"messages": [{"role": "user", "content": "hi"}]},
    "responses": {"input": [{"type": "message", "role": "user", "content": "hi"}]},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
}
_RESULT: dict[str, dict[str, Any]] = {
    "anthropic": {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1"}]}]},
    "chat": {"messages": [{"role": "tool", "tool_call_id": "1", "content": "done"}]},
    "responses": {"input": [{"type": "function_call_output", "call_id": "1", "output": "done"}]},
    "gemini": {"contents": [{"role": "user", "parts": [{"functionResponse": {"name": TOOL}}]}]},
}
_PATHS = {"anthropic": "/v1/messages", "chat": "/v1/chat/completions", "responses": "/v1/responses"}


class Heard(NamedTuple):
    """`ended`: `whole`, `short` (the connection closed inside a body), `reset`, or `silent`."""

    status: int
    headers: dict[str, str]
    body: bytes
    ended: str

    @property
    def events(self) -> list[dict[str, Any]]:
        lines = re.findall(r"^data: (\{.*)$", self.body.decode(), re.MULTILINE)
        return [json.loads(line) for line in lines]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def request(api: str, *, stream: bool = True, tools: bool = False, result: bool = False) -> bytes:
    body = {"model": "m", "stream": stream} | (_RESULT if result else _QUESTION)[api]
    if api == "chat" and stream:
        body["stream_options"] = {"include_usage": True}
    if tools:
        body["tools"] = _TOOLS[api]
    verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
    return post(_PATHS.get(api, f"/v1beta/models/m:{verb}"), json.dumps(body).encode())


def post(path: str, body: bytes, method: str = "POST") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def ask(server: Provider, asked: bytes) -> Heard:
    """One request on a connection of its own."""
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall(asked)
        if server.fault.startswith("stall"):
            with anyio.fail_after(5):
                await server.silent()
            sock.setblocking(False)
            return _heard(sock)
        sock.settimeout(5)
        return await anyio.to_thread.run_sync(_heard, sock)


def _heard(sock: socket.socket) -> Heard:
    raw, ended = b"", None
    while ended is None:
        try:
            data = sock.recv(1 << 16)
        except ConnectionResetError:
            ended = "reset"
        except BlockingIOError:
            ended = "silent"
        else:
            raw += data
            ended = "whole" if _is_whole(raw) else None if data else "short"
    head, _, body = raw.partition(b"\r\n\r\n")
    if not head:
        return Heard(0, {}, b"", ended)
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    is_chunked = "transfer-encoding" in headers
    return Heard(int(status.split()[1]), headers, _joined(body) if is_chunked else body, ended)


def _is_whole(raw: bytes) -> bool:
    head, gap, body = raw.partition(b"\r\n\r\n")
    if not gap:
        return False
    if length := re.search(rb"content-length: (\d+)", head):
        return len(body) == int(length[1])
    return (gap + body).endswith(b"\r\n0\r\n\r\n")


def _joined(body: bytes) -> bytes:
    joined = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        joined, body = joined + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return joined
