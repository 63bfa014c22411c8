"""Sessions as a frontend knows them: new, list, load, resume, close, delete."""

import asyncio
import os
from pathlib import Path

import anyio
import pytest

from tests.support.harness import house

pytestmark = pytest.mark.anyio

SAYS = {"turns": [[{"do": "say", "text": "one", "messageId": "m"}, {"do": "say", "text": " two", "messageId": "m"}]]}
STALLS = {"turns": [[{"do": "say", "text": "wait"}, {"do": "stall"}]]}
HANGS_OPEN = {"new": [{"do": "stall"}]}
EARLY = {"new": [{"do": "note", "info": {"title": "Early"}}], **SAYS}


async def test_session_ids_are_ours(tmp_path):
    """Several agents stand behind one session, each with an id of its own."""
    async with house(tmp_path, primary=SAYS) as home:
        session = await (await home.editor()).new()

    assert session.startswith("acpb-")


async def test_a_relative_cwd_is_refused(tmp_path):
    """ACP v1, session setup: `cwd` MUST be an absolute path."""
    async with house(tmp_path, primary=SAYS) as home:
        answer = await (await home.editor()).call("session/new", cwd="here", mcpServers=[])

    assert {"code": -32602, "message": "'here' is not an absolute path"} == answer["error"]


async def test_a_folder_that_is_not_there_is_refused(tmp_path):
    """Every agent of the chain would fail in it, one after the other."""
    async with house(tmp_path, primary=SAYS) as home:
        answer = await (await home.editor()).call("session/new", cwd=str(tmp_path / "gone"), mcpServers=[])

    assert {"code": -32602, "message": f"there is no folder {str(tmp_path / 'gone')!r}"} == answer["error"]


async def test_what_an_agent_says_before_its_session_is_named_comes_after_our_answer(tmp_path):
    """Clients drop updates of sessions that they do not know."""
    async with house(tmp_path, primary=EARLY) as home:
        editor = await home.editor()
        await editor.new()
        kinds = ["update" if "method" in message else "answer" for message in editor.heard[-2:]]

    assert ["answer", "update"] == kinds


async def test_session_new_waits_three_seconds_for_a_primary_that_hangs(tmp_path):
    """An editor shows nothing until it has its session; the turn joins the opening."""
    async with house(tmp_path, primary=HANGS_OPEN, spare=SAYS) as home:
        editor = await home.editor()
        request = editor.request("session/new", cwd="/", mcpServers=[])
        await home.clock.advance(2.9)
        before = editor.replies(request)
        await home.clock.advance(0.2)

    assert ([], True) == (before, "sessionId" in editor.reply(request)["result"])


async def test_a_primary_that_cannot_open_does_not_hold_session_new_up(tmp_path):
    """Only turns walk the chain: the session is there, and its first prompt is answered by the spare."""
    primary = {"new": [{"do": "fail", "code": -32000, "message": "Authentication required"}]}
    async with house(tmp_path, primary=primary, spare=SAYS) as home:
        editor = await home.editor()
        turn = await editor.prompt(await editor.new())

    assert ["primary auth_missing", "spare"] == turn.attempts


async def test_the_list_names_every_session_with_its_folder_and_time(tmp_path):
    """ACP v1, session list: the one written last comes first."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        one, two = await editor.new(cwd="/usr"), await editor.new(cwd="/etc")
        for at, session in enumerate((one, two)):
            os.utime(home.session(session).log.path, (at, at))
        listed = await editor.result("session/list")

    older = {"sessionId": one, "cwd": "/usr", "updatedAt": "1970-01-01T00:00:00+00:00"}
    newer = {"sessionId": two, "cwd": "/etc", "updatedAt": "1970-01-01T00:00:01+00:00"}
    assert {"sessions": [newer, older]} == listed


async def test_the_list_can_be_of_one_folder(tmp_path):
    """ACP v1, session list: `cwd` filters."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        await editor.new(cwd="/usr")
        two = await editor.new(cwd="/etc")
        listed = await editor.result("session/list", cwd="/etc")

    assert [two] == [session["sessionId"] for session in listed["sessions"]]


async def test_a_load_replays_prompts_and_words_and_then_answers(tmp_path):
    """ACP v1, session setup, "Loading Sessions"."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session, "hello")
        other = await home.editor()
        since = len(other.heard)
        await other.result("session/load", sessionId=session, cwd=str(tmp_path), mcpServers=[])

    assert ["echo hello", "say one", "say  two"] == other.words
    assert "result" in other.heard[-1]
    assert 4 == len(other.heard) - since


async def test_a_load_keeps_message_ids(tmp_path):
    """A client that kept the messages recognises them."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session)
        other = await home.editor()
        await other.result("session/load", sessionId=session, cwd=str(tmp_path), mcpServers=[])

    ids = [[update.get("messageId") for update in one.updates] for one in (editor, other)]
    assert ids[0] == ids[1][1:] == ["m", "m"]


async def test_who_loaded_a_session_may_prompt_in_it(tmp_path):
    """The session is the same one; the agent goes on counting its turns."""
    counts = {"turns": [[{"do": "say", "text": "first"}], [{"do": "say", "text": "second"}]]}
    async with house(tmp_path, primary=counts) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session)
        other = await home.editor()
        await other.result("session/load", sessionId=session, cwd=str(tmp_path), mcpServers=[])
        turn = await other.prompt(session)

    assert ["say second"] == turn.words


async def test_a_resume_replays_nothing(tmp_path):
    """ACP v1, session resume."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session)
        other = await home.editor()
        await other.result("session/resume", sessionId=session, cwd=str(tmp_path), mcpServers=[])

    assert [] == other.words


async def test_another_folder_than_the_sessions_is_refused(tmp_path):
    """An agent has the session's folder open: it cannot move."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        session = await editor.new(cwd="/usr")
        answer = await editor.call("session/resume", sessionId=session, cwd="/etc", mcpServers=[])

    message = f"session {session} works in '/usr', not in '/etc'"
    assert {"code": -32602, "message": message} == answer["error"]


@pytest.mark.parametrize("method", ["session/load", "session/resume"])
async def test_a_reopening_without_a_session_is_a_bad_request(tmp_path, method):
    """JSON-RPC 2.0: invalid params."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        answer = await editor.call(method, cwd="/", mcpServers=[])

    assert -32602 == answer["error"]["code"]


@pytest.mark.parametrize("method", ["session/prompt", "session/load", "session/resume", "session/close"])
async def test_an_unknown_session_is_not_found(tmp_path, method):
    """ACP v1 schema: -32002, resource not found."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        answer = await editor.call(method, sessionId="nowhere", prompt=[], cwd="/", mcpServers=[])

    expected = {"code": -32002, "message": "no session is called 'nowhere'", "data": {"sessionId": "nowhere"}}
    assert expected == answer["error"]


async def test_what_looks_like_our_own_word_is_taken_off_an_opening(tmp_path):
    """An agent's `_meta` passes; by our name a client would take it for the broker's."""
    opened = {"sessionId": "theirs", "_meta": {"mine": 1, "acp-broker": {"seq": 3}}}
    async with house(tmp_path, primary={"new": [{"do": "answer", "result": opened}]}) as home:
        answer = await (await home.editor()).result("session/new", cwd="/", mcpServers=[])

    assert {"mine": 1} == answer["_meta"]


@pytest.mark.parametrize("method", ["session/load", "session/resume"])
async def test_a_session_that_is_reopened_with_other_servers_gets_an_agent_that_has_them(tmp_path, method):
    """Load and resume: the request's list is the whole list; a running agent keeps the old one."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        session = await editor.new()
        first = home.session(session).serving().life
        server = {"name": "files", "command": "files", "args": [], "env": []}
        await editor.result(method, sessionId=session, cwd=str(tmp_path), mcpServers=[server])
        turn = await editor.prompt(session)
        serving = home.session(session).serving()

    assert (["primary"], True, 1) == (turn.attempts, serving.life != first, len(serving.setup.mcp_servers))


async def test_a_session_that_is_reopened_with_other_servers_during_a_turn_has_them_for_the_next(tmp_path):
    """The turn runs on; its agent does not serve another."""
    primary = {"turns": [[{"do": "stall", "ms": 1000}, *SAYS["turns"][0]]]}
    async with house(tmp_path, primary=primary) as home:
        editor = await home.editor()
        session = await editor.new()
        turn = await editor.prompt(session)
        first = home.session(session).serving().life
        server = {"name": "files", "command": "files", "args": [], "env": []}
        await editor.result("session/resume", sessionId=session, cwd=str(tmp_path), mcpServers=[server])
        during = home.session(session).serving().life
        await home.clock.advance(1)
        after = home.session(session).serving()

        assert (first, True, True) == (during, after.life != first, after.backend is not None)
    assert ["primary"] == turn.attempts


async def test_what_else_a_reopening_says_is_for_the_agent_that_opens_next(tmp_path):
    """`_meta`, and members that we do not know."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        session = await editor.new(_meta={"from": "new"})
        await editor.result("session/resume", sessionId=session, cwd=str(tmp_path), mcpServers=[], _meta={"from": "it"})
        rest = home.session(session).serving().setup.rest

    assert {"_meta": b'{"from": "it"}'} == {name: bytes(value) for name, value in rest.items()}


async def test_another_trace_costs_no_agent_its_memory(tmp_path):
    """A client may send another `_meta` with each request."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        session = await editor.new(_meta={"traceparent": "one"})
        first = home.session(session).serving().life
        meta = {"traceparent": "two"}
        await editor.result("session/resume", sessionId=session, cwd=str(tmp_path), mcpServers=[], _meta=meta)
        life = home.session(session).serving().life

    assert first == life


async def test_a_session_that_is_taken_up_again_is_warm(tmp_path):
    """Its first prompt should not wait for a process."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.result("session/close", sessionId=session)
        await editor.result("session/resume", sessionId=session, cwd=str(tmp_path), mcpServers=[])
        backend = home.session(session).serving().backend

    assert backend is not None


async def test_a_prompt_right_behind_a_resume_with_other_servers_is_answered(tmp_path):
    """Both in one read: the agent that is being closed must not be given the prompt."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        session = await editor.new()
        server = {"name": "files", "command": "files", "args": [], "env": []}
        editor.request("session/resume", sessionId=session, cwd=str(tmp_path), mcpServers=[server])
        turn = await editor.prompt(session)

    assert ["primary"] == turn.attempts


async def test_closing_a_session_cancels_its_turn(tmp_path):
    """ACP v1, session close: ongoing work is cancelled."""
    async with house(tmp_path, primary=STALLS) as home:
        editor = await home.editor()
        session = await editor.new()
        turn = await editor.prompt(session)
        await editor.result("session/close", sessionId=session)

    assert "cancelled" == turn.outcome


async def test_closing_a_session_closes_its_agents(tmp_path):
    """That is what it is for."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.result("session/close", sessionId=session)
        backend = home.session(session).serving().backend

    assert backend is None


async def test_a_prompt_right_behind_a_close_is_answered(tmp_path):
    """Both in one read: the close is about what came before it."""
    async with house(tmp_path, primary=SAYS, spare=SAYS) as home:
        editor = await home.editor()
        session = await editor.new()
        closing = editor.request("session/close", sessionId=session)
        turn = await editor.prompt(session)

    assert ({}, ["primary"], ["say one", "say  two"]) == (editor.reply(closing)["result"], turn.attempts, turn.words)


async def test_a_prompt_that_comes_while_a_close_waits_for_an_agent_is_answered(tmp_path):
    """Neither its answer is lost, nor its agent killed under it."""
    deaf = [{"do": "ignoreCancel"}, {"do": "say", "text": "x"}, {"do": "stall"}]
    stubborn = {"turns": [[{"do": "ifText", "contains": "wait", "steps": deaf, "else": SAYS["turns"][0]}]]}
    async with house(tmp_path, primary=stubborn, spare=SAYS) as home:
        editor = await home.editor()
        session = await editor.new()
        cancelled = await editor.prompt(session, "wait")
        closing = editor.request("session/close", sessionId=session)
        turn = await editor.prompt(session)
        await home.clock.advance(6)

    assert ("cancelled", {}) == (cancelled.outcome, editor.reply(closing)["result"])
    assert (["primary"], ["say one", "say  two"]) == (turn.attempts, turn.words[-2:])


async def test_a_session_that_is_taken_up_right_behind_a_close_is_warm_and_attended(tmp_path):
    """Both in one read: the close must not close what the resume wants."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        session = await editor.new()
        editor.request("session/close", sessionId=session)
        await editor.result("session/resume", sessionId=session, cwd=str(tmp_path), mcpServers=[])
        await home.clock.advance(0)
        is_attended = next(iter(home.broker.frontends.values())).outbox.is_attached(session)
        backend = home.session(session).serving().backend

    assert (True, True) == (is_attended, backend is not None)


def held(log: Path) -> list[str]:
    """The descriptors of a log, and the tasks that run attempts."""
    files = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    tasks = [task.get_name() for task in asyncio.all_tasks()]
    return [name for name in files if name == str(log)] + [name for name in tasks if "Attempts._run" in name]


async def test_a_closed_session_keeps_no_descriptor_and_no_task(tmp_path):
    """An editor opens and closes one after another, for weeks."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session)
        log = home.session(session).log.path
        before = len(held(log))
        await editor.result("session/close", sessionId=session)

        assert (2, []) == (before, held(log))


async def test_a_session_does_not_keep_its_last_prompt(tmp_path):
    """It may hold images of many megabytes, and the log has it."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session)
        last = home.session(session).last

    assert (b"[]", b"[]") == (bytes(last.prompt), bytes(last.order.prompt))


async def test_a_closed_session_answers_again_and_again(tmp_path):
    """It is taken up with a prompt alone, too."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        session = await editor.new()
        turns = []
        for _ in range(3):
            turns.append(await editor.prompt(session))
            await editor.result("session/close", sessionId=session)

    assert [["say one", "say  two"]] * 3 == [turn.words for turn in turns]


async def test_a_closed_session_can_be_loaded(tmp_path):
    """Close ends the work, not the memory of it."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session, "hello")
        await editor.result("session/close", sessionId=session)
        since = len(editor.words)
        await editor.result("session/load", sessionId=session, cwd=str(tmp_path), mcpServers=[])

    assert ["echo hello", "say one", "say  two"] == editor.words[since:]


async def test_deleting_a_session_removes_its_log(tmp_path):
    """A person who deletes means it."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        session = await editor.new()
        path = home.session(session).log.path
        await editor.result("session/delete", sessionId=session)
        listed = await editor.result("session/list")

    assert (False, {"sessions": []}) == (path.exists(), listed)


async def test_deleting_an_unknown_session_succeeds(tmp_path):
    """ACP v1, session delete: what is not there is deleted."""
    async with house(tmp_path, primary=SAYS) as home:
        answer = await (await home.editor()).call("session/delete", sessionId="nowhere")

    assert {} == answer["result"]


async def test_deleting_twice_at_once_succeeds_twice(tmp_path):
    """Both are on their way when the first takes effect."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        session = await editor.new()
        requests = [editor.request("session/delete", sessionId=session) for _ in range(2)]
        await anyio.lowlevel.checkpoint()
        await editor.call("session/list")

    assert [{}, {}] == [editor.reply(request).get("result") for request in requests]


async def test_a_prompt_that_runs_while_its_session_is_deleted_is_answered(tmp_path):
    """JSON-RPC 2.0: every request gets its one answer."""
    async with house(tmp_path, primary=STALLS) as home:
        editor = await home.editor()
        session = await editor.new()
        turn = await editor.prompt(session)
        await editor.call("session/delete", sessionId=session)

    assert "cancelled" == turn.outcome


async def test_a_deleted_session_is_unknown_at_once(tmp_path):
    """A prompt behind the deletion finds nothing."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        session = await editor.new()
        editor.request("session/delete", sessionId=session)
        turn = await editor.prompt(session)

    assert -32002 == turn.outcome


async def test_a_deleted_session_is_nobodys_any_more(tmp_path):
    """Another frontend that had it open must not go on reading a log that is gone."""
    async with house(tmp_path, primary=SAYS) as home:
        one, two = await home.editor(), await home.editor()
        session = await one.new()
        await two.result("session/resume", sessionId=session, cwd=str(tmp_path), mcpServers=[])
        await one.result("session/delete", sessionId=session)
        attached = [frontend.outbox.is_attached(session) for frontend in home.broker.frontends.values()]

    assert [False, False] == attached


async def test_a_load_whose_log_is_gone_says_so(tmp_path):
    """A local fault: named, with the file, and no fault of the broker's code."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        session = await editor.new()
        path = home.session(session).log.path
        path.unlink()
        answer = await editor.call("session/load", sessionId=session, cwd=str(tmp_path), mcpServers=[])

    message = f"cannot read the session log {path}: No such file or directory"
    assert {"code": -33004, "message": message} == answer["error"]


@pytest.mark.parametrize("cwd", ["/" + "x" * 5000, "/a\0b"], ids=["too long", "with a null"])
async def test_a_folder_that_no_system_has_is_no_folder(tmp_path, cwd):
    """A mistake of the client's is not a fault of ours."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        answer = await editor.call("session/new", cwd=cwd, mcpServers=[])

    assert -32602 == answer["error"]["code"]
