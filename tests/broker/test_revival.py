"""A session is taken up again by another broker: after a restart, after kill -9, beside one that still has it."""

import errno
import json
import os
from pathlib import Path

import pytest

from acp_broker.broker import revival
from tests.support.harness import house, runtime

pytestmark = pytest.mark.anyio

SAYS = {"turns": [[{"do": "say", "text": "one"}, {"do": "say", "text": "two"}]]}
STALLS = {"turns": [[{"do": "say", "text": "half"}, {"do": "stall"}]]}
MODES = {
    "currentModeId": "code",
    "availableModes": [{"id": "code", "name": "Code"}, {"id": "plan", "name": "Plan"}],
}
NOTE = "[acp-broker] interrupted: the broker ended before this turn had its answer; nothing ran it again\n\n"


def reopen(tmp_path: Path, session: str) -> dict:
    return {"sessionId": session, "cwd": str(tmp_path), "mcpServers": []}


async def said(tmp_path: Path, script: dict = SAYS, *prompts: str) -> str:
    """A broker that runs these prompts and ends; the session's id."""
    async with house(tmp_path, primary=script) as home:
        editor = await home.editor()
        session = await editor.new()
        for prompt in prompts or ("hello",):
            await editor.prompt(session, prompt)
    return session


def forget(tmp_path: Path, session: str, after: str) -> Path:
    """The log as kill -9 leaves it: everything behind the last record of this kind was never written."""
    path = tmp_path / "state" / "sessions" / f"{session}.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    last = max(index for index, line in enumerate(lines) if json.loads(line)["record"] == after)
    path.write_bytes(b"".join(lines[: last + 1]))
    return path


async def test_a_session_is_loaded_by_the_next_broker(tmp_path):
    """Its prompt and its words, in order, once."""
    session = await said(tmp_path)
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        await editor.result("session/load", **reopen(tmp_path, session))

    assert ["echo hello", "say one", "say two"] == editor.words


async def test_a_prompt_after_a_load_is_answered(tmp_path):
    """The session goes on where it was, in the same log."""
    session = await said(tmp_path)
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        await editor.result("session/resume", **reopen(tmp_path, session))
        turn = await editor.prompt(session, "again")

    assert (["say one", "say two"], "end_turn") == (turn.words, turn.outcome)


async def test_a_third_broker_replays_what_the_first_two_had_shown(tmp_path):
    """One log, however many lives."""
    session = await said(tmp_path)
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        await editor.result("session/resume", **reopen(tmp_path, session))
        await editor.prompt(session, "again")
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        await editor.result("session/load", **reopen(tmp_path, session))

    assert ["echo hello", "say one", "say two", "echo again", "say one", "say two"] == editor.words


async def test_a_turn_without_an_answer_is_interrupted_and_says_so(tmp_path):
    """Its words stay; a person who comes back is told why there are no more."""
    session = await said(tmp_path, STALLS)
    forget(tmp_path, session, "step")
    async with house(tmp_path, primary=SAYS, is_whole=False) as home:
        editor = await home.editor()
        await editor.result("session/load", **reopen(tmp_path, session))
        records = [record["record"] for record in home.records(session)]

    assert (["echo hello", "say half", f"say {NOTE}"], 1) == (editor.words, records.count("interrupted"))


async def test_an_interrupted_turn_is_said_to_be_so_once(tmp_path):
    """However often the session is taken up."""
    session = await said(tmp_path, STALLS)
    forget(tmp_path, session, "step")
    for _ in range(3):
        async with house(tmp_path, primary=SAYS, is_whole=False) as home:
            editor = await home.editor()
            await editor.result("session/load", **reopen(tmp_path, session))

    assert ["echo hello", "say half", f"say {NOTE}"] == editor.words


async def test_an_interrupted_turn_is_not_run_again(tmp_path):
    """Nobody knows what its agent had done already."""
    session = await said(tmp_path, STALLS)
    forget(tmp_path, session, "step")
    async with house(tmp_path, primary=SAYS, is_whole=False) as home:
        editor = await home.editor()
        await editor.result("session/load", **reopen(tmp_path, session))
        is_running = home.session(session).turn is not None

    assert not is_running


async def test_a_torn_last_record_is_cut_off(tmp_path):
    """What kill -9 left half written was shown to nobody."""
    session = await said(tmp_path)
    path = forget(tmp_path, session, "answer")
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"record":"shown","updates":[{"sess')
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        await editor.result("session/load", **reopen(tmp_path, session))

    assert (["echo hello", "say one", "say two"], True) == (editor.words, path.read_bytes().startswith(whole + b'{"r'))


async def test_ids_of_an_earlier_life_are_not_given_again(tmp_path):
    """A frontend that loaded the session would take a new message for the end of an old one."""
    script = {"turns": [[{"do": "say", "text": "x", "messageId": "m1"}]]}
    session = await said(tmp_path, script)
    async with house(tmp_path, primary=script) as home:
        editor = await home.editor()
        await editor.result("session/load", **reopen(tmp_path, session))
        await editor.prompt(session)
    ids = [update["messageId"] for update in editor.updates if update["sessionUpdate"] == "agent_message_chunk"]

    assert ("m1", 2) == (ids[0], len(set(ids)))


async def test_the_mode_that_a_user_chose_holds_in_the_next_life(tmp_path):
    """A mode is a permission boundary: a restart must not take it down."""
    script = {**SAYS, "modes": MODES}
    async with house(tmp_path, primary=script) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.result("session/set_mode", sessionId=session, modeId="plan")
    async with house(tmp_path, primary=script) as home:
        editor = await home.editor()
        await editor.result("session/load", **reopen(tmp_path, session))
        await home.clock.advance(0)
        chosen = home.session(session).settings.chosen_mode

    assert "plan" == chosen


async def test_a_mode_holds_in_a_next_life_that_has_another_primary(tmp_path):
    """Config was edited in between: the new one is passed over, as if it had been edited while the session lived."""
    old, new = {**SAYS, "modes": MODES}, {"turns": [[{"do": "say", "text": "new"}]]}
    async with house(tmp_path, old=old) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.result("session/set_mode", sessionId=session, modeId="plan")
    async with house(tmp_path, new=new, old=old) as home:
        editor = await home.editor()
        await editor.result("session/load", **reopen(tmp_path, session))
        turn = await editor.prompt(session)

    assert ["old"] == turn.attempts


async def test_a_mode_that_went_over_to_another_primary_holds_in_the_next_life(tmp_path):
    """The log says whose mode it is."""
    old = {**SAYS, "modes": MODES}
    new = runtime("new", {**SAYS, "modes": {"currentModeId": "x", "availableModes": []}}, modes={"plan": "ro"})
    async with house(tmp_path, old=old) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.result("session/set_mode", sessionId=session, modeId="plan")
        await home.adopt(new=new, old=old)
    async with house(tmp_path, new=new, old=old) as home:
        editor = await home.editor()
        await editor.result("session/load", **reopen(tmp_path, session))
        settings = home.session(session).settings

    assert ("new", "ro") == (settings.drawn_by, settings.chosen_mode)


async def test_the_next_life_is_told_the_mode_by_load(tmp_path):
    """What the frontend shows is what holds."""
    script = {**SAYS, "modes": MODES}
    async with house(tmp_path, primary=script) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.result("session/set_mode", sessionId=session, modeId="plan")
    async with house(tmp_path, primary=script) as home:
        editor = await home.editor()
        loaded = await editor.result("session/load", **reopen(tmp_path, session))

    assert "plan" == loaded["modes"]["currentModeId"]


async def test_another_folder_than_the_session_had_is_refused(tmp_path):
    """protocol: another cwd than the session's is -32602, in the next life too."""
    session = await said(tmp_path)
    async with house(tmp_path, primary=SAYS) as home:
        answer = await (await home.editor()).call("session/load", **{**reopen(tmp_path, session), "cwd": "/elsewhere"})

    assert -32602 == answer["error"]["code"]


@pytest.mark.parametrize("name", ["acpb-" + "0" * 24, "../../etc/passwd", "", "acpb-../../../../x"])
async def test_a_session_that_is_nowhere_is_unknown(tmp_path, name):
    """-32002; a name of another form becomes no path."""
    async with house(tmp_path, primary=SAYS) as home:
        answer = await (await home.editor()).call("session/load", **reopen(tmp_path, name))

    assert -32002 == answer["error"]["code"]


async def test_a_file_that_is_no_log_is_named(tmp_path):
    """And nothing of it is changed."""
    session = await said(tmp_path)
    path = tmp_path / "state" / "sessions" / f"{session}.jsonl"
    path.write_bytes(b'{"record":"shown"}\n')
    async with house(tmp_path, primary=SAYS, is_whole=False) as home:
        answer = await (await home.editor()).call("session/load", **reopen(tmp_path, session))

    assert (-33004, b'{"record":"shown"}\n') == (answer["error"]["code"], path.read_bytes())
    assert "no session log" in answer["error"]["message"]


async def test_sessions_of_earlier_brokers_are_listed(tmp_path):
    """ACP v1, session list."""
    session = await said(tmp_path)
    async with house(tmp_path, primary=SAYS) as home:
        listed = await (await home.editor()).result("session/list")

    assert [session] == [one["sessionId"] for one in listed["sessions"]]


async def test_a_long_list_comes_in_pages(tmp_path, monkeypatch):
    """Each session once, whatever the page."""
    monkeypatch.setattr(revival, "PAGE", 2)
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        sessions = {await editor.new() for _ in range(5)}
        pages, cursor = [], {}
        while not pages or cursor:
            page = await editor.result("session/list", **cursor)
            pages.append([one["sessionId"] for one in page["sessions"]])
            cursor = {"cursor": page["nextCursor"]} if "nextCursor" in page else {}

    assert ([2, 2, 1], sessions) == ([len(page) for page in pages], {one for page in pages for one in page})


async def test_a_session_of_an_earlier_broker_is_deleted(tmp_path):
    """Its log is gone from the disk."""
    session = await said(tmp_path)
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        await editor.result("session/delete", sessionId=session)
        listed = await editor.result("session/list")

    assert ([], []) == (listed["sessions"], list((tmp_path / "state" / "sessions").iterdir()))


@pytest.mark.parametrize("is_open", [True, False])
async def test_a_log_that_cannot_be_deleted_is_named(tmp_path, monkeypatch, is_open):
    """And its session can be found again: it is still there."""
    session = await said(tmp_path)
    path = tmp_path / "state" / "sessions" / f"{session}.jsonl"
    async with house(tmp_path, is_whole=False, primary=SAYS) as home:
        editor = await home.editor()
        if is_open:
            await editor.result("session/load", **reopen(tmp_path, session))
        monkeypatch.setattr(Path, "unlink", _read_only)
        refused = await editor.call("session/delete", sessionId=session)
        found = await editor.call("session/load", **reopen(tmp_path, session))

    why = f"cannot delete the session log {path}: Read-only file system"
    assert (why, True) == (refused["error"]["message"], "result" in found)


def _read_only(*_: object, **__: object) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


async def test_two_loads_at_once_make_one_session(tmp_path):
    """Two windows of one editor come back after a restart."""
    session = await said(tmp_path)
    async with house(tmp_path, primary=SAYS) as home:
        editors = [await home.editor() for _ in range(2)]
        for editor in editors:
            editor.request("session/load", **reopen(tmp_path, session))
        await home.clock.advance(0)

    assert [["echo hello", "say one", "say two"]] * 2 == [editor.words for editor in editors]
