"""Model servers on this machine: who answers on loopback, and with which models. One short look, at all at once."""

import json
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Literal
from urllib.parse import urlsplit

import anyio
from anyio import create_task_group, move_on_after
from msgspec import Struct

# A server that is there answers within milliseconds; one that is loading a model may not, and is not waited for.
LIMIT_S = 1.0
# A list of some thousand models.
_LONGEST = 1024 * 1024


class Known(Struct, frozen=True):
    """One sort of server: where it listens unless told otherwise, and where it lists its models."""

    name: str
    port: int
    path: str = "/v1/models"
    # The variable that names another place, as its own clients read it.
    variable: str | None = None


class Server(Struct, frozen=True):
    """One that answered. `url` has no path."""

    name: str
    url: str
    models: tuple[str, ...]


KNOWN = (
    Known("Ollama", 11434, "/api/tags", "OLLAMA_HOST"),
    Known("LM Studio", 1234),
    Known("llama.cpp", 8080),
    Known("vLLM", 8000),
)


async def answering(environ: Mapping[str, str], known: Sequence[Known]) -> tuple[Server, ...]:
    """Those that answer now, in the order in which they are known."""
    found: dict[str, Server] = {}

    async def look(one: Known) -> None:
        host, port = _place(one, environ)
        with move_on_after(LIMIT_S):
            models = _models(await _get(host, port, one.path))
            if models is not None:
                found[one.name] = Server(one.name, f"http://{f'[{host}]' if ':' in host else host}:{port}", models)

    async with create_task_group() as group:
        for one in known:
            group.start_soon(look, one)
    return tuple(found[one.name] for one in known if one.name in found)


def _place(known: Known, environ: Mapping[str, str]) -> tuple[str, int]:
    """Where to look; a variable that leads to another machine is not followed."""
    named = environ.get(known.variable, "") if known.variable is not None else ""
    try:
        parts = urlsplit(named if "://" in named else f"//{named}")
        host, port = parts.hostname or "127.0.0.1", parts.port or known.port
    except ValueError:
        return "127.0.0.1", known.port
    if _means(host, "is_unspecified"):  # it listens everywhere: here, too
        return "127.0.0.1", port
    return (host, port) if host == "localhost" or _means(host, "is_loopback") else ("127.0.0.1", known.port)


def _means(host: str, what: Literal["is_loopback", "is_unspecified"]) -> bool:
    try:
        return bool(getattr(ip_address(host), what))
    except ValueError:
        return False


async def _get(host: str, port: int, path: str) -> bytes:
    """The body of the answer with status 200, else nothing."""
    try:
        async with await anyio.connect_tcp(host, port, happy_eyeballs_delay=LIMIT_S) as stream:
            # RFC 9112, section 9.3: an HTTP/1.0 server closes the connection behind its answer, and sends no chunks.
            await stream.send(
                f"GET {path} HTTP/1.0\r\nHost: {host}:{port}\r\nAccept: application/json\r\n\r\n".encode()
            )
            answer = b""
            while len(answer) < _LONGEST and not _is_whole(answer):
                answer += await stream.receive()
    except anyio.EndOfStream:
        pass
    except (OSError, anyio.BrokenResourceError):
        return b""
    head, _, body = answer.partition(b"\r\n\r\n")
    return body if head.split(b" ", 2)[1:2] == [b"200"] else b""


def _is_whole(answer: bytes) -> bool:
    """Some keep the connection open all the same, and say how long the body is."""
    head, end, body = answer.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n") if end else ():
        name, _, value = line.partition(b":")
        if name == b"content-length" and value.strip().isdigit():
            return len(body) >= int(value)
    return False


def _models(body: bytes) -> tuple[str, ...] | None:
    """Names of models, as OpenAI (`data[].id`) and Ollama (`models[].name`) list them; None: it is no such list."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    for listed, key in (("data", "id"), ("models", "name")):
        match said.get(listed) if isinstance(said, dict) else None:
            case list(models):
                return tuple(_names(models, key))
    return None


def _names(models: list[object], key: str) -> Iterator[str]:
    for model in models:
        match model.get(key) if isinstance(model, dict) else None:
            case str(name):
                yield name
