"""Toad in tmux, with an agent alone and with a broker whose primary fails in the middle: do they look the same?

    python -m tests.support.toad [--toad PROGRAM] [--show]

Compares what the terminal shows after each step of one conversation, and the messages of all of it. Needs `toad`
(batrachian-toad on PyPI, Python 3.14) and `tmux` on $PATH. Toad draws when it likes: a screen is taken when it has not
changed for a while. A machine with nothing else to do is best: on a busy one Toad's timers race each other.
"""

import argparse
import difflib
import json
import os
import re
import select
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tests.support import processes
from tests.support.broker import ROLE
from tests.support.conversation import plain
from tests.support.failing import FAULTS, alone, failing
from tests.support.run import ENVIRONMENT, RUN
from tests.support.ways import brokered

DEADLINE_S = 90.0
# Longer than Toad takes between two drawings of one change.
STILL_S = 1.0
# tmux without the user's settings; a pane whose program has ended shows why.
SETTINGS = "set -g remain-on-exit on\nset -g status off\n"
# Beside what every program needs: where this package is, and colours.
KEPT = ("PATH", "PYTHONPATH", "LANG", "SHELL")
TOP = Path(__file__).parents[2]


class Talk(NamedTuple):
    """What the terminal showed after each step, by its name; what was said on the wire; who answered; what was left."""

    screens: dict[str, str]
    told: list[str]
    answers: list[str]
    served: list[str]
    left: list[str]


class Toad:
    """One Toad in a terminal of its own; use as a context manager."""

    def __init__(self, folder: Path, program: str, agent: list[str]) -> None:
        self.work, self.home, self.kept = folder / "project", folder / "home", folder / "messages"
        self.work.mkdir(parents=True)
        self.home.mkdir()
        (self.work / "notes.txt").write_text("notes\n")
        (settings := folder / "tmux.conf").write_text(SETTINGS)
        self._tmux = ["tmux", "-S", str(folder / "tmux"), "-f", str(settings)]
        self._program, self._agent = program, agent
        self.run = os.urandom(8).hex()

    def __enter__(self) -> "Toad":
        agent = shlex.join([sys.executable, "-m", "tests.support.tee", str(self.kept), *self._agent])
        kept = {name: ENVIRONMENT[name] for name in KEPT if name in ENVIRONMENT}
        path = os.pathsep.join(filter(None, [str(TOP), kept.get("PYTHONPATH")]))
        environ = {**kept, "PYTHONPATH": path, "HOME": str(self.home), "TERM": "xterm-256color", RUN: self.run}
        command = [self._program, "acp", "--title", "Agent", agent, str(self.work)]
        setting = [f"{name}={value}" for name, value in environ.items()]
        self._ask("new-session", "-d", "-s", "toad", "-x", "110", "-y", "60", "env", "-i", *setting, *command)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(subprocess.CalledProcessError):
            self._ask("kill-server")

    def type(self, text: str) -> None:
        self._ask("send-keys", "-t", "toad", "-l", text)
        self.still()

    def press(self, *keys: str) -> None:
        self._ask("send-keys", "-t", "toad", *keys)

    def say(self, text: str) -> None:
        self.type(text)
        self.press("Enter")

    def until(self, *texts: str) -> None:
        """Wait until the terminal shows them, one below the other."""
        wanted = re.compile(".*".join(map(re.escape, texts)), re.DOTALL)
        self._until(lambda: wanted.search(self.screen()) is not None, f"{' ... '.join(texts)!r} on the screen")

    def still(self) -> str:
        """What the terminal shows when it has not changed for a while."""
        seen, since = self.screen(), time.monotonic()

        def is_still() -> bool:
            nonlocal seen, since
            now = self.screen()
            if now != seen:
                seen, since = now, time.monotonic()
            return time.monotonic() - since > STILL_S

        self._until(is_still, "a screen that stays as it is")
        return seen

    def screen(self) -> str:
        shown = self._ask("capture-pane", "-p", "-t", "toad").rstrip()
        # The line beneath the tabs moves for as long as it likes; the last one names the keys of what has the focus.
        return re.sub("[╸━╺]+", "━", shown).rpartition("\n")[0]

    def messages(self) -> list[tuple[str, dict]]:
        """Who spoke, `<` is the agent, and what was said."""
        return [(line[0], json.loads(line[2:])) for line in self.kept.read_text().splitlines()]

    def kill(self, role: str) -> None:
        """SIGKILL for the agents of one backend."""
        ours = set(processes.carrying(f"{RUN}={self.run}"))
        for seen in processes.carrying(f"{ROLE}={role}"):
            if seen in ours:
                os.kill(seen.pid, 9)

    def _until(self, is_so: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not is_so():
            if time.monotonic() > deadline:
                raise SystemExit(f"not {what} within {DEADLINE_S:g} s:\n{self.screen()}")
            select.select([], [], [], 0.1)

    def _ask(self, *words: str) -> str:
        return subprocess.run([*self._tmux, *words], check=True, capture_output=True, text=True, cwd=self.work).stdout


def held(folder: Path, program: str, fault: str | None) -> Talk:
    """The conversation; without a fault with the agent alone."""
    script = folder.with_name("broker") / "primary.json"
    script.parent.mkdir()
    agent = alone(script.parent) if fault is None else brokered(script.parent, failing(fault, script)).argv
    screens = {}
    with Toad(folder, program, agent) as toad:

        def take(name: str) -> None:
            screens[name] = toad.still()

        toad.until("Ask")
        toad.say("hello")
        toad.until("hello you")
        take("a first answer")
        if fault == "killed":
            script.unlink()
            toad.kill("primary")
        toad.say("now act")
        # In the conversation, and in the question, which takes its time.
        toad.until("Read notes.txt", "Read notes.txt", "a Allow")
        take("asked for leave to read")
        toad.press("a")
        toad.until("Write new.txt", "Write new.txt", "a Allow")
        take("asked for leave to write")
        toad.press("a")
        toad.until("that is done")
        take("a second answer, with a file and a terminal")
        toad.type("hello to @")
        toad.type("note")
        toad.press("Enter")
        take("a file is picked")
        toad.press("Enter")
        toad.until("hello to @", "hello you")
        take("a third answer, with a file")
        toad.say("please wait")
        toad.until("waiting")
        toad.press("Escape")
        toad.press("Escape")
        toad.until("stopped")
        take("a cancel")
    left = processes.still_there(f"{RUN}={toad.run}", within_s=processes.GONE_WITHIN_S)
    return Talk(screens, *_wire(toad.messages()), [seen.command for seen in left])


def _wire(messages: list[tuple[str, dict]]) -> tuple[list[str], list[str], list[str]]:
    """What the agent told and asked, with Toad's complaints of it; its answers; and who gave them, behind a broker.

    Without the ids of what it asked, and without what is under `acp-broker`.
    """
    results = {id(one): one.get("result") or {} for _, one in messages}
    session = next(result["sessionId"] for result in results.values() if "sessionId" in result)
    told, answers, served = [], [], []
    for who, one in messages:
        result = results[id(one)]
        if "acp-broker" in result.get("_meta", {}):
            served.append(result["_meta"]["acp-broker"]["backend"])
        line = json.dumps(plain({**one, "id": "asked"} if "id" in one and "method" in one else one, {session: "-"}))
        if (who == "<" and "method" in one) or (who == ">" and "error" in one):
            told.append(line)
        elif who == "<" and "agentCapabilities" not in result:
            answers.append(line)
    return told, answers, served


def _in_the_same_place(program: str, fault: str | None) -> Talk:
    """Its name is on the screen."""
    place = Path(tempfile.gettempdir()) / f"toad-{os.getpid()}"
    place.mkdir(mode=0o700)
    try:
        return held(place / "toad", program, fault)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def differences(before: Talk, behind: Talk) -> list[str]:
    """Line by line, as a person would look for them."""
    found: list[str] = []
    pairs: Mapping[str, tuple[list[str], list[str]]] = {
        **{name: (screen.splitlines(), behind.screens[name].splitlines()) for name, screen in before.screens.items()},
        "what was told": (before.told, behind.told),
        "what was answered": (before.answers, behind.answers),
        # The primary comes back when it has rested, which may be before the end.
        "who answered": (["primary", "spare"], behind.served[:2]),
        "what was left": (before.left, behind.left),
    }
    for name, (one, other) in pairs.items():
        lines = list(difflib.unified_diff(one, other, "alone", "behind the broker", lineterm="", n=0))
        found += [f"--- {name}", *lines] if lines else []
    return found


def main() -> int:
    asked = argparse.ArgumentParser(prog="scripts/toad", description=__doc__.partition("\n")[0])
    asked.add_argument("--toad", default=shutil.which("toad"), help="the program, if it is not on $PATH")
    asked.add_argument("--show", action="store_true", help="print each screen of the agent alone")
    options = asked.parse_args()
    if options.toad is None or shutil.which("tmux") is None:
        print("toad and tmux are needed on $PATH: uv tool install -p 3.14 batrachian-toad", file=sys.stderr)
        return 2
    before = _in_the_same_place(options.toad, None)
    if options.show:
        print(*(f"{name}:\n{screen}" for name, screen in before.screens.items()), sep="\n")
    is_alike = True
    for fault in FAULTS:
        found = differences(before, _in_the_same_place(options.toad, fault))
        is_alike = is_alike and found == []
        print(f"{fault}:", "\n".join(found) or f"{len(before.screens)} screens and all messages are the same")
    return 0 if is_alike else 1


if __name__ == "__main__":
    sys.exit(main())
