"""Model servers on this machine: who answers on loopback, and with which models. One short look, at all at once."""

import json
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import Literal
from urllib.parse import urlsplit

import anyio
from anyio import create_task_group, move_on_after
from msgspec import Struct
from msgspec.structs import replace

from backends.http import listing
from backends.offering import talking

# A server that is there answers within milliseconds; one that is loading a model may not, and is not waited for.
LIMIT_S = 1.0
# A list of some thousand models.
_LONGEST = 1024 * 1024


class Known(Struct, frozen=True):
    """One sort of server, and where it listens unless told otherwise."""

    name: str
    port: int
    # What kind `openai` calls it.
    preset: str = ""
    # Where it tells which models are loaded; the others it would have to load first.
    loaded_path: str | None = None
    # The variable that names another place, as its own clients read it.
    variable: str | None = None


class Server(Struct, frozen=True):
    """One that answered. `url` has no path. `loaded` are the models that need not be loaded first, if it tells."""

    name: str
    url: str
    models: tuple[str, ...]
    loaded: tuple[str, ...] = ()
    preset: str = ""

    @property
    def model(self) -> str | None:
        """The one to talk to: one that is loaded, else the first."""
        return next(iter(talking(self.loaded)), None) or next(iter(talking(self.models)), None)


KNOWN = (
    Known("Ollama", 11434, "ollama", "/api/ps", "OLLAMA_HOST"),
    Known("LM Studio", 1234, preset="lmstudio", loaded_path="/api/v0/models"),
    Known("llama.cpp", 8080, preset="llamacpp"),
    Known("vLLM", 8000, preset="vllm"),
)


async def answering(environ: Mapping[str, str], known: Sequence[Known]) -> tuple[Server, ...]:
    """Those that answer now, in the order in which they are known."""
    found: dict[str, Server] = {}

    async def look(one: Known) -> None:
        host, port = _place(one, environ)
        with move_on_after(LIMIT_S):
            models = listing.names(await _get(host, port, "/v1/models"))
            if models is not None:
                url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
                found[one.name] = Server(one.name, url, models, preset=one.preset)
                if one.loaded_path is not None:
                    loaded = _loaded(await _get(host, port, one.loaded_path))
                    found[one.name] = replace(found[one.name], loaded=loaded)

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


def _loaded(body: bytes) -> tuple[str, ...]:
    """Those that are in memory: all that Ollama lists as running, those that LM Studio calls `loaded`."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return ()
    models = (said.get("data") or said.get("models")) if isinstance(said, dict) else None
    return tuple(_names(models)) if isinstance(models, list) else ()


def _names(models: list[object]) -> Iterator[str]:
    for model in models:
        match model:
            case {"state": state} if state != "loaded":
                continue
            case {"id": str(name)} | {"name": str(name)}:
                yield name
