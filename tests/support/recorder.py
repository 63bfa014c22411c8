"""A kind of backend from outside the package, within the broker: it writes down every prompt that it is given.

    {"kind": "recorder", "file": "given.jsonl"}

It answers `<word>` with `[word]`, a moment later, and now and then gives its session a title when the turn is over.
"""

import json
import os
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec

from acp_broker.backend_config import BackendConfig
from acp_broker.contract import About, Client, Finished, Tools, TurnRequest
from acp_broker.wire.acp import Update, message

# How a package says that it has a kind: a folder on PYTHONPATH with this in it is enough.
_ENTRY = "[acp_broker.backends]\nrecorder = tests.support.recorder\n"
_METADATA = "Metadata-Version: 2.1\nName: recorder\nVersion: 1\n"


class Config(BackendConfig, frozen=True, kw_only=True, tag="recorder"):
    file: str


config = Config


def install(folder: Path) -> Path:
    """Make the kind known to who has the folder, and the top of the repository, on PYTHONPATH."""
    info = folder / "recorder-1.dist-info"
    info.mkdir(parents=True)
    (info / "entry_points.txt").write_text(_ENTRY)
    (info / "METADATA").write_text(_METADATA)
    return folder


def check(config: Config, environment: Mapping[str, str]) -> None:
    """It can always be played."""


@asynccontextmanager
async def open(config: Config, tools: Tools) -> AsyncIterator["Recorder"]:  # noqa: A001 - the contract's name
    async with anyio.create_task_group() as tasks:
        yield Recorder(config.file, tools, tasks)
        tasks.cancel_scope.cancel()


class Recorder:
    about = About()

    def __init__(self, file: str, tools: Tools, tasks: anyio.abc.TaskGroup) -> None:
        self._file = file
        self._tools = tools
        self._tasks = tasks
        # One of these has one memory.
        self._me = os.urandom(4).hex()
        self._count = 0

    async def run(self, turn: TurnRequest, client: Client) -> Finished:
        client.reached("submitted")
        blocks = [_text(block) for block in msgspec.json.decode(turn.prompt)]
        self._keep({"by": self._me, "session": self._tools.setup.session, "blocks": blocks})
        word = blocks[-1].strip("<>")
        self._count += 1
        dice = zlib.crc32(word.encode())
        client.show([message(f"[{word}]", messageId=f"{self._me}-{self._count}")])
        with anyio.move_on_after(dice % 20 / 1000):
            await turn.cancel_asked.wait()
        if turn.cancel_asked.is_set():
            return Finished("cancelled")
        if dice % 3 == 0:
            self._tasks.start_soon(self._entitle, word)
        return Finished("end_turn")

    async def _entitle(self, word: str) -> None:
        await anyio.sleep(zlib.crc32(word[::-1].encode()) % 300 / 1000)
        info = {"sessionUpdate": "session_info_update", "title": f"about {word}"}
        self._tools.between.show([Update("session_info_update", {"update": msgspec.Raw(json.dumps(info).encode())})])

    def _keep(self, given: Mapping[str, object]) -> None:
        fd = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(fd, json.dumps(given).encode() + b"\n")
        os.close(fd)

    async def gone(self) -> str:
        await anyio.sleep_forever()
        return ""

    def tell(self, method: str, params: object) -> None:
        """It hears nothing."""


def _text(block: dict) -> str:
    return block["text"] if block["type"] == "text" else block["resource"]["text"]
