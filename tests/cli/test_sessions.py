"""`acp-broker sessions`: what is kept, to be seen, taken away and deleted by its owner."""

import json
import os
import sqlite3
from pathlib import Path

import anyio
import pytest

from acp_broker.cli import sessions, terminal
from acp_broker.cli.main import main
from tests.support.broker import BrokerProcess, chain
from tests.support.harness import house

EDITS = {"do": "toolCall", "toolCallId": "t", "title": "Edit", "status": "completed", "locations": [{"path": "/a.py"}]}
SCRIPT = {"turns": [[EDITS, {"do": "say", "text": "a duck"}]]}
DOWN = {"turns": [[{"do": "fail"}]]}
NOW = 1_700_000_000.0


def kept(folder: Path, *prompts: str, cwd: Path | None = None, **backends: object) -> list[str]:
    """One session for each of these prompts; their ids."""

    async def play() -> list[str]:
        async with house(folder, **(backends or {"claude": SCRIPT})) as home:
            editor = await home.editor()
            opened = []
            for prompt in prompts:
                opened.append(await editor.new(cwd=str(cwd or folder)))
                await editor.prompt(opened[-1], prompt)
            return opened

    return anyio.run(play)


def run(folder: Path, *words: str) -> int | None:
    return sessions.run({"ACP_BROKER_HOME": str(folder / "state")}, list(words), lambda: NOW)


def log(folder: Path, session: str) -> Path:
    return folder / "state" / "sessions" / f"{session}.jsonl"


def test_the_list_names_each_session_the_latest_first(tmp_path, capsys):
    """With its folder, so that one knows it again."""
    first, second = kept(tmp_path, "one", "two")
    os.utime(log(tmp_path, first), (NOW, NOW))
    os.utime(log(tmp_path, second), (NOW - 1, NOW - 1))
    status = run(tmp_path, "list")
    lines = capsys.readouterr().out.splitlines()

    assert (0, [first, second]) == (status, [line.split()[0] for line in lines if line.startswith("acpb-")])


def test_a_session_is_one_line_of_the_list(tmp_path, capsys):
    """In a pipe all of it, for `grep`; its folder has more letters than a terminal has columns."""
    deep = tmp_path / "/".join(["deep"] * 20)
    deep.mkdir(parents=True)
    [session] = kept(tmp_path, "what a long prompt may be", cwd=deep)
    run(tmp_path, "list")
    _, row = capsys.readouterr().out.splitlines()

    assert (session, f"{deep}  what a long prompt may be") == (row.split()[0], row[row.index("/") :].rstrip())


@pytest.mark.parametrize("columns", [80, 100])
def test_a_terminal_that_is_narrow_cuts_folders_and_titles(tmp_path, capsys, monkeypatch, columns):
    """A list that is folded cannot be read; what is cut, --json has."""
    monkeypatch.setattr(terminal, "_UNBOUNDED", columns)
    ids = kept(tmp_path, "one " * 30, "two " * 30)
    run(tmp_path, "list")
    _, *rows = capsys.readouterr().out.splitlines()

    assert sorted(ids) == sorted(row.split()[0] for row in rows)
    assert [True, True] == ["\N{HORIZONTAL ELLIPSIS}" in row and len(row) <= columns for row in rows]


def test_an_empty_list_says_so(tmp_path, capsys):
    """Not a table of nothing; a state folder that was never made is no error."""
    assert (0, "no sessions are kept yet\n") == (run(tmp_path, "list"), capsys.readouterr().out)


def test_the_list_is_to_be_had_as_json(tmp_path, capsys):
    """For programs."""
    (session,) = kept(tmp_path, "one")
    run(tmp_path, "list", "--json")
    (one,) = json.loads(capsys.readouterr().out)

    assert (session, str(tmp_path), log(tmp_path, session).stat().st_size) == (one["session"], one["cwd"], one["size"])


def test_show_prints_what_was_said_and_by_whom(tmp_path, capsys):
    """A failover is no secret."""
    (session,) = kept(tmp_path, "what is it?", claude=DOWN, codex=SCRIPT)
    status = run(tmp_path, "show", session)

    assert (0, "\n> what is it?\n[Edit (/a.py): completed]\na duck\ncodex, after claude (unclassified)\n") == (
        status,
        capsys.readouterr().out,
    )


def test_show_says_why_nobody_answered(tmp_path, capsys):
    """Whoever looks into an old session looks for that."""
    (session,) = kept(tmp_path, "x", claude=DOWN)
    run(tmp_path, "show", session)
    run(tmp_path, "export", session)

    shown, _, exported = capsys.readouterr().out.partition("# Session")

    assert (True, True) == (
        shown.endswith("claude, failed: claude: Internal error\n"),
        exported.endswith("*This turn ended: failed.*\n\nclaude: Internal error\n"),
    )


def test_show_carries_out_nothing_that_an_agent_wrote(tmp_path, capsys):
    """A terminal obeys escape sequences: title, clipboard, colours."""
    (session,) = kept(tmp_path, "x", claude={"turns": [[{"do": "say", "text": "\x1b]0;owned\x07\x1b[2J"}]]})
    run(tmp_path, "show", session)

    assert not {"\x1b", "\x07"} & set(capsys.readouterr().out)


def test_an_export_is_markdown(tmp_path, capsys):
    """Readable as it is."""
    (session,) = kept(tmp_path, "what is it?")
    status = run(tmp_path, "export", session)
    text = capsys.readouterr().out
    turn = "## You\n\nwhat is it?\n\n## claude\n\n- Edit (`/a.py`): completed\n\na duck\n"

    assert (0, True, True) == (status, text.startswith(f"# Session {session}\n"), text.endswith(turn))


def test_a_json_export_holds_every_block_and_update(tmp_path, capsys):
    """What was asked and shown, as ACP has it."""
    (session,) = kept(tmp_path, "what is it?")
    run(tmp_path, "export", session, "--json")
    (turn,) = json.loads(capsys.readouterr().out)["turns"]

    assert ("claude", "end_turn", [{"type": "text", "text": "what is it?"}]) == (
        turn["backend"],
        turn["end"],
        turn["prompt"],
    )
    assert ["tool_call", "agent_message_chunk"] == [update["sessionUpdate"] for update in turn["updates"]]


def test_deleted_sessions_are_gone(tmp_path, capsys):
    """Those that were named, and no other."""
    first, second, third = kept(tmp_path, "one", "two", "three")
    status = run(tmp_path, "delete", first, third)

    assert (0, [second]) == (status, [path.stem for path in (tmp_path / "state" / "sessions").iterdir()])


def test_sessions_are_deleted_by_their_age(tmp_path, capsys):
    """Those that nobody wrote to for so many days."""
    old, young = kept(tmp_path, "one", "two")
    for session, days in ((old, 31), (young, 29)):
        at = NOW - days * 86_400
        os.utime(log(tmp_path, session), (at, at))
    run(tmp_path, "delete", "--older-than", "30")

    assert [young] == [path.stem for path in (tmp_path / "state" / "sessions").iterdir()]


def test_a_session_in_which_a_turn_runs_is_not_deleted(tmp_path, capsys):
    """Its words would go into a file without a name. The others go."""

    async def play() -> tuple[int | None, list[str]]:
        async with house(tmp_path, claude={"turns": [[{"do": "stall"}]]}) as home:
            editor = await home.editor()
            busy, idle = await editor.new(), await editor.new()
            await editor.prompt(busy)
            status = run(tmp_path, "delete", busy, idle)
            left = [path.stem for path in (tmp_path / "state" / "sessions").iterdir()]
        return status, [busy, *left]

    status, (busy, *left) = anyio.run(play)
    said = capsys.readouterr().err

    assert (1, [busy], True) == (status, left, said.startswith(f"acp-broker: {busy}: a turn of this session runs in"))


@pytest.mark.parametrize("words", [("show", "acpb-" + "0" * 24), ("export", "../../x"), ("delete", "nobody")])
def test_a_session_that_is_not_there_is_named(tmp_path, capsys, words):
    """With how to find the right one."""
    status = run(tmp_path, *words)

    assert (1, True) == (status, f"no session is called {words[1]!r}" in capsys.readouterr().err)


def test_a_session_that_an_editor_has_open_is_not_deleted_by_its_age(tmp_path, capsys):
    """It may have been open for weeks without a word. Whoever names it knows what it is."""
    with BrokerProcess(tmp_path, chain(main={})) as broker:
        opened = broker.open()
        environ, path = {"ACP_BROKER_HOME": str(broker.home)}, broker.home / "sessions" / f"{opened}.jsonl"
        os.utime(path, (0, 0))
        status = sessions.run(environ, ["delete", "--older-than", "30"], lambda: NOW), path.exists()
        told = capsys.readouterr().out
        named = sessions.run(environ, ["delete", opened], lambda: NOW), path.exists()

    assert ((0, True), (0, False)) == (status, named)
    assert f"kept {opened}: a client has it open; to delete it all the same, name it\n" == told


def test_a_session_that_an_editor_had_open_is_deleted_by_its_age(tmp_path):
    """The editor has left, and its broker with it."""
    with BrokerProcess(tmp_path, chain(main={})) as broker:
        path = broker.home / "sessions" / f"{broker.open()}.jsonl"
    os.utime(path, (0, 0))
    sessions.run({"ACP_BROKER_HOME": str(broker.home)}, ["delete", "--older-than", "30"], lambda: NOW)

    assert not path.exists()


def test_an_age_that_is_no_number_deletes_nothing(tmp_path, capsys):
    """`--older-than 30d` must not be read as 30 of something else."""
    (session,) = kept(tmp_path, "one")
    status = run(tmp_path, "delete", "--older-than", "30d")

    assert (1, True) == (status, log(tmp_path, session).exists())


def test_reindex_reads_all_logs_again(tmp_path, capsys):
    """Whatever the index had become."""
    kept(tmp_path, "one", "two")
    run(tmp_path, "list")
    database = sqlite3.connect(tmp_path / "state" / "index.db")
    with database:
        database.execute("UPDATE sessions SET turns = 99")
    database.close()
    status = run(tmp_path, "reindex")
    capsys.readouterr()
    run(tmp_path, "list", "--json")

    assert (0, [1, 1]) == (status, [one["turns"] for one in json.loads(capsys.readouterr().out)])


@pytest.mark.parametrize("words", [(), ("remove",), ("delete",), ("show",), ("list", "x"), ("delete", "--all")])
def test_other_words_are_a_wrong_command_line(capsys, words):
    """2, and how it is used."""
    assert (2, True) == (main(["sessions", *words]), "sessions takes one of" in capsys.readouterr().err)
