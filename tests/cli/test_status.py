"""`acp-broker status`: what a person sees, what a program gets, and what is said when nobody answers."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from acp_broker.app.status import ConfigState, Refused, Status
from acp_broker.broker.status import Backend, Client, Process, Session, Turn
from acp_broker.cli import status
from acp_broker.errors import Problem
from tests.support.broker import chain
from tests.support.daemon import WEBSOCKET, Daemon

NOW = 1_000_000.0
IDLE = Status(
    version="0.1.0",
    pid=7,
    state="running",
    since=NOW - 90,
    home="/state",
    socket="/run/7.sock",
    websocket="ws://127.0.0.1:8765/acp",
    config=ConfigState("/config.json", NOW - 7200),
    backends=(Backend("claude", "acp", "ready", sessions=2), Backend("codex", "acp", "ready")),
)
ASKS = {"turns": [[{"do": "askPermission", "title": "?"}]]}


def seen(shown: Status) -> str:
    """As a terminal shows it, without its colours."""
    console = Console(width=200, highlight=False, markup=False, no_color=True)
    with console.capture() as captured:
        console.print(status.told(shown, NOW))
    return "\n".join(line.rstrip() for line in captured.get().splitlines()).strip()


def test_an_idle_daemon_takes_few_lines() -> None:
    """What is empty is left out."""
    expected = """\
daemon     running, version 0.1.0, pid 7, for 90 s
socket     /run/7.sock
websocket  ws://127.0.0.1:8765/acp
config     /config.json, loaded 2 h ago

backends
id      kind  health  why  sessions
claude  acp   ready        2
codex   acp   ready        0"""

    assert expected == seen(IDLE)


def test_a_resting_backend_says_why_and_for_how_long() -> None:
    """What a person wants to know when a fallback answers."""
    rests = Backend("claude", "acp", "resting", why="rate_limited", until=NOW + 240, model="opus")
    shown = seen(msgspec.structs.replace(IDLE, backends=(rests,)))

    assert "claude  acp opus  resting, for 4 min more  rate_limited  0" in shown


def test_a_refused_edit_is_shown_with_its_problems() -> None:
    """It looks as if it held, and does not."""
    refused = Refused(NOW - 5, (Problem("acp.backend", "no backend is called x"),))
    shown = seen(msgspec.structs.replace(IDLE, config=ConfigState("/config.json", NOW - 60, refused)))

    expected = """\
config     /config.json, loaded 60 s ago
           an edit was refused 5 s ago, and the one before it holds:
             acp.backend  no backend is called x"""
    assert expected in shown


def test_what_runs_is_shown() -> None:
    """Turns first, the longest of them on top; then for whom, and by which processes."""
    busy = msgspec.structs.replace(
        IDLE,
        turns=(
            Turn("t-1", "s-1", "unix 5", "claude", 1, "trying", 3.0),
            Turn("t-2", "s-2", None, "codex", 2, "committed", 130.0),
        ),
        sessions=(
            Session("s-1", "/proj/of/mine", "claude", "unix 5", 2, ("claude",), is_closed=False),
            Session("s-2", "/proj/of/mine", "claude", None, 0, (), is_closed=True),
        ),
        clients=(Client("unix 5", "zed", "1.2", 1, 4096),),
        processes=(Process(99, "claude", "s-1"), Process(98, "claude", None)),
    )
    expected = """\
running turns
session  backend  attempt  state      for      client
s-2      codex    2        committed  2.2 min  gone
s-1      claude   1        trying     3 s      unix 5

sessions
id   folder         open    waiting  client
s-1  /proj/of/mine  claude  2        unix 5
s-2  /proj/of/mine  closed           gone

clients
name    program  sessions  unread
unix 5  zed 1.2  1         4096 bytes

processes
pid  backend  session
99   claude   s-1
98   claude   none: it is asked what it can do"""

    assert expected == seen(busy).partition("codex   acp   ready        0")[2].strip()


def test_a_session_that_cannot_be_written_says_why() -> None:
    """Its next prompt will be refused."""
    session = Session("s-1", "/w", "claude", "unix 1", 0, ("claude",), is_closed=False, fault="the disk is full")

    assert "s-1  /w      claude the disk is full" in seen(msgspec.structs.replace(IDLE, sessions=(session,)))


def test_what_a_client_says_of_itself_is_not_carried_out() -> None:
    """A terminal would obey it."""
    shown = msgspec.structs.replace(IDLE, clients=(Client("websocket ::1", "\x1b[2J", "\x9b2J", 0, 0),))

    assert "websocket ::1  \ufffd[2J \ufffd2J  0" in seen(shown)


def test_more_than_a_person_reads_is_counted() -> None:
    """Two thousand sessions are for programs."""
    many = tuple(Process(pid, "claude", None) for pid in range(status.MOST_ROWS + 5))

    assert seen(msgspec.structs.replace(IDLE, processes=many)).endswith("\nand 5 more; --json has them all")


def test_an_id_can_be_copied_from_a_narrow_terminal() -> None:
    """Whatever else has to be folded."""
    session = Session("acpb-317d61c68a36e3c9681febf0", "/a/long/way/to/work" * 5, "claude", "unix 1", 0, (), False)
    console = Console(width=80, highlight=False, markup=False)
    with console.capture() as captured:
        console.print(status.told(msgspec.structs.replace(IDLE, sessions=(session,)), NOW))

    assert session.id in captured.get()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (0.4, "0 s"), (119, "119 s"), (150, "2.5 min"), (7200, "2 h"), (259_200, "3 d")],
)
def test_a_length_is_as_exact_as_a_person_wants_it(seconds: float, text: str) -> None:
    """A clock that was set back makes nothing negative."""
    shown = seen(msgspec.structs.replace(IDLE, since=NOW - seconds))

    assert f"for {text}\n" in shown


# --- asking


def test_a_real_daemon_is_shown_with_its_processes(tmp_path: Path) -> None:
    """In JSON, for programs: every key is one that docs/daemon.md explains."""
    with Daemon(tmp_path, chain(primary=ASKS, frontends=WEBSOCKET)) as daemon:
        bridge = daemon.websocket()
        session = bridge.open()
        running = bridge.start(session)
        question = bridge.until_method("session/request_permission")
        shown, table = daemon.status(), daemon.ask("status")
        (agent,) = daemon.agents("primary")
        bridge.answer(question, {"outcome": {"outcome": "cancelled"}})
        bridge.until_reply(running)
        socket_path = daemon.ready["socket"]

    head = {name: value for name, value in shown.items() if not isinstance(value, list)}
    since, loaded = head.pop("since"), head["config"].pop("loadedAt")
    assert {
        "version": "0.1.0",
        "pid": daemon.process.pid,
        "state": "running",
        "home": str(daemon.home),
        "socket": socket_path,
        "websocket": daemon.url,
        "config": {"file": str(daemon.config), "refused": None, "needsRestart": []},
    } == head
    assert since == loaded
    assert [{"pid": agent.pid, "backend": "primary", "session": session}] == shown["processes"]
    assert [("primary", session)] == [(turn["backend"], turn["session"]) for turn in shown["turns"]]
    assert (0, True) == (table.returncode, session in table.stdout)


def test_a_status_is_one_of_any_config_and_version(tmp_path: Path) -> None:
    """Who wants to know why the relay does not fit must not be sent away for the same reason."""
    with Daemon(tmp_path, chain(primary={"kind": "scripted"})) as daemon:
        answer = daemon.greeted(asks="status", version="9", config="/other.json")

    assert ["status"] == list(answer)


@pytest.fixture
def wedged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder whose daemon takes connections and says nothing, with no time to wait for it."""
    home = tmp_path / "state"
    home.mkdir()
    monkeypatch.setattr(status, "LIMIT_S", 0.05)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        (home / "daemon.json").write_text(json.dumps({"socket": str(tmp_path / "s"), "pid": 99}))
        yield home


def asked(home: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = status.run(None, {"ACP_BROKER_HOME": str(home), "HOME": "/"}, as_json=False)
    captured = capsys.readouterr()
    assert "" == captured.out
    return code, captured.err


def test_a_wedged_daemon_is_named(wedged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With its pid: whoever reads it knows whom to look at."""
    why = "acp-broker serve (pid 99) cannot be asked: it did not answer within 0.05 s"
    assert (1, f"acp-broker: {why}\n") == asked(wedged, capsys)


def test_no_daemon_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the folder: it may be another one than its daemon has."""
    assert (1, f"acp-broker: no acp-broker serve runs for {tmp_path}\n") == asked(tmp_path, capsys)


def test_what_a_killed_daemon_left_is_no_daemon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same sentence."""
    (tmp_path / "daemon.json").write_text(json.dumps({"socket": str(tmp_path / "s"), "pid": 99}))
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "s"))

    assert (1, f"acp-broker: no acp-broker serve runs for {tmp_path}\n") == asked(tmp_path, capsys)


def test_a_status_of_another_version_is_not_guessed(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON shows it all the same."""
    monkeypatch.setattr(status, "asked", lambda *_: {"version": "9.0", "pid": "?"})
    why = "acp-broker serve is version 9.0, this is 0.1.0; --json shows it"

    assert (1, f"acp-broker: {why}\n") == asked(Path("/"), capsys)
