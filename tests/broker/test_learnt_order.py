"""What is in the file of lessons at the end: of two that are saved at the same time, and of too many."""

import threading

import msgspec
import pytest
from anyio import create_task_group
from anyio.lowlevel import checkpoint
from msgspec import Raw

from acp_broker.broker import learnt as module
from acp_broker.broker.learnt import Learnt, Lesson
from acp_broker.store.files import StateFolder
from tests.support.harness import runtime

pytestmark = pytest.mark.anyio

# How long the first write gives the second a chance to overtake it. It is waited out only where none does.
CHANCE_S = 0.1


class Overtaken(StateFolder):
    """A disk on which the first write is slow."""

    def __init__(self, path) -> None:
        super().__init__(path)
        self.writes = 0
        self.second = threading.Event()

    def write_small(self, name: str, data: bytes) -> None:
        self.writes += 1
        is_first = self.writes == 1
        if is_first:
            self.second.wait(CHANCE_S)
        super().write_small(name, data)
        if not is_first:
            self.second.set()


async def test_the_newest_lesson_is_what_stays(tmp_path):
    """initialize teaches something, session/new a moment later more: the slower write must not win."""
    folder = Overtaken(tmp_path)
    learnt = Learnt(folder, lambda *_, **__: None)
    lessons = learnt._all().lessons
    async with create_task_group() as tasks:
        lessons["a"] = Lesson(Raw(b"{}"))
        tasks.start_soon(learnt.save)
        await checkpoint()
        lessons["a"] = Lesson(Raw(b"{}"), Raw(b'{"modes":1}'))
        tasks.start_soon(learnt.save)

    kept = msgspec.json.decode(folder.read_small("learnt.json"))
    assert {"a": {"initialized": {}, "opened": {"modes": 1}}} == kept["lessons"]


def test_the_oldest_lessons_are_forgotten(tmp_path, monkeypatch):
    """Each config that ever was has its own; the file is read at each start."""
    monkeypatch.setattr(module, "MOST", 2)
    learnt = Learnt(StateFolder(tmp_path), lambda *_, **__: None)
    for name in ("a", "b", "c"):
        learnt.used(runtime(name, {"turns": [[]]}), is_present=True)

    assert ["b:b", "c:c"] == list(learnt._all().usage)
