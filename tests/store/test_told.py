"""The turns of a log, as another agent is told of them, read from what real turns leave."""

import pytest

from acp_broker.core.handoff import Said, Tool
from acp_broker.core.names import BackendId
from acp_broker.store.told import told
from tests.support.harness import house

pytestmark = pytest.mark.anyio

A, B = BackendId("a"), BackendId("b")


async def read(tmp_path, *prompts: str, **backends: object) -> list[Said]:
    """What is read of a session with these prompts; its turn ids are left out."""
    options = backends.pop("options", {})
    async with house(tmp_path, **options, **backends) as home:
        editor = await home.editor()
        session = await editor.new()
        for prompt in prompts:
            await editor.prompt(session, prompt)
        return [
            Said("", one.prompt, one.answer, one.tools, one.by, one.end)
            for one in told(home.session(session).log.records())
        ]


async def test_a_turn_is_its_prompt_its_words_and_who_said_them(tmp_path):
    """Chunks are joined."""
    turns = [[{"do": "say", "text": "a "}, {"do": "say", "text": "duck"}]]

    assert [Said("", "what?", "a duck", by=A)] == await read(tmp_path, "what?", a={"turns": turns})


async def test_two_messages_are_two_paragraphs(tmp_path):
    """Between them a tool may have run."""
    turns = [[{"do": "say", "text": "one", "messageId": "1"}, {"do": "say", "text": "two", "messageId": "2"}]]

    assert ["one\n\ntwo"] == [one.answer for one in await read(tmp_path, "x", a={"turns": turns})]


async def test_words_of_a_backend_that_failed_first_are_not_there(tmp_path):
    """The log shows only what was shown; the turn is the one's that answered."""
    said = await read(tmp_path, "x", a={"turns": [[{"do": "fail"}]]}, b={"turns": [[{"do": "say", "text": "here"}]]})

    assert [Said("", "x", "here", by=B)] == said


async def test_a_tool_call_is_its_last_state(tmp_path):
    """Title and files from the call, status from its update."""
    call = {"do": "toolCall", "toolCallId": "t", "title": "Edit", "locations": [{"path": "/a.py"}]}
    turns = [[call, {"do": "toolCallUpdate", "toolCallId": "t", "status": "completed"}]]

    assert [(Tool("Edit", "completed", ("/a.py",)),)] == [
        one.tools for one in await read(tmp_path, "x", a={"turns": turns})
    ]


async def test_thoughts_are_not_told(tmp_path):
    """They are the agent's own."""
    turns = [[{"do": "think", "text": "hm"}, {"do": "say", "text": "duck"}]]

    assert ["duck"] == [one.answer for one in await read(tmp_path, "x", a={"turns": turns})]


async def test_a_notice_of_ours_is_not_told(tmp_path):
    """It is the broker's word, and no part of the conversation."""
    backends = {"a": {"turns": [[{"do": "fail"}]]}, "b": {"turns": [[{"do": "say", "text": "here"}]]}}
    said = await read(tmp_path, "x", options={"policy": {"notice": "message"}}, **backends)

    assert ["here"] == [one.answer for one in said]


async def test_a_refusal_is_known_as_one(tmp_path):
    """What was refused is told nobody."""
    turns = [[{"do": "say", "text": "no"}, {"do": "end", "stopReason": "refusal"}]]

    assert [("refusal", False)] == [(one.end, one.is_told) for one in await read(tmp_path, "x", a={"turns": turns})]


async def test_a_turn_that_failed_after_its_first_words_is_known_as_failed(tmp_path):
    """Its words were seen."""
    turns = [[{"do": "say", "text": "half"}, {"do": "fail"}]]

    assert [("half", "failed")] == [(one.answer, one.end) for one in await read(tmp_path, "x", a={"turns": turns})]


async def test_turns_come_in_their_order(tmp_path):
    """Oldest first."""
    assert ["one", "two"] == [one.prompt for one in await read(tmp_path, "one", "two", a={})]
