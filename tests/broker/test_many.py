"""Many clients and many sessions: what one client may have, and what it costs the others."""

import pytest

from acp_broker.broker.terms import Terms
from tests.support.harness import house

pytestmark = pytest.mark.anyio

ECHO = {"turns": [[{"do": "echo", "chunks": 1}]]}
TWO = Terms("bridge", turns_go_on=True, most_sessions=2)
FULL = (-33003, "this client has 2 sessions open, all that limits.sessionsPerClient allows; close one first")


def error(answer):
    return answer["error"]["code"], answer["error"]["message"]


async def opening(editor):
    return await editor.call("session/new", cwd=str(editor.home.path), mcpServers=[])


async def test_a_client_has_no_more_sessions_than_it_may(tmp_path):
    """Each of them has an agent."""
    async with house(tmp_path, primary=ECHO) as home:
        editor = await home.editor(terms=TWO)
        await editor.new()
        await editor.new()
        answer = await opening(editor)

        assert (FULL, 2) == (error(answer), len(home.broker.sessions))


async def test_another_client_has_as_many(tmp_path):
    """The limit is for one connection."""
    async with house(tmp_path, primary=ECHO) as home:
        one, two = await home.editor(terms=TWO), await home.editor(terms=TWO)
        for editor in (one, two, one, two):
            await editor.new()

        assert 4 == len(home.broker.sessions)


@pytest.mark.parametrize("method", ["session/close", "session/delete"])
async def test_a_session_that_was_closed_makes_room(tmp_path, method):
    """Its agent is gone."""
    async with house(tmp_path, primary=ECHO) as home:
        editor = await home.editor(terms=TWO)
        first, _ = await editor.new(), await editor.new()
        await editor.result(method, sessionId=first)

        assert "result" in await opening(editor)


@pytest.mark.parametrize("method", ["session/load", "session/resume", "session/prompt"])
async def test_taking_up_a_session_counts_as_well(tmp_path, method):
    """Its agent is started, too: open and close by turns must not be a way around the limit."""
    async with house(tmp_path, primary=ECHO) as home:
        editor = await home.editor(terms=TWO)
        first, _ = await editor.new(), await editor.new()
        await editor.result("session/close", sessionId=first)
        await editor.new()
        members = {"prompt": [{"type": "text", "text": "x"}]} if method == "session/prompt" else {}
        answer = await editor.call(method, sessionId=first, cwd=str(tmp_path), mcpServers=[], **members)

    assert FULL == error(answer)


async def test_a_session_that_it_has_already_is_not_counted_twice(tmp_path):
    """A client may load what it has open, to see it again."""
    async with house(tmp_path, primary=ECHO) as home:
        editor = await home.editor(terms=TWO)
        first, _ = await editor.new(), await editor.new()

        assert "result" in await editor.call("session/load", sessionId=first, cwd=str(tmp_path), mcpServers=[])
