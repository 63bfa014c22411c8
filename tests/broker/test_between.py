"""What an agent says outside of any turn, and who hears it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from acp_broker.contract import About, Client, Finished, Tools, TurnRequest
from acp_broker.wire.acp import message, update
from tests.support.harness import EVERYTHING, house

pytestmark = pytest.mark.anyio

SPARE = {"turns": [[{"do": "say", "text": "spare"}]]}
READ = {"do": "readFile", "path": "a"}


def late(*steps: dict) -> dict:
    return {"do": "lateUpdates", "steps": list(steps)}


def later(*steps: dict) -> dict:
    """Played once the session is open and its frontend knows it."""
    return {"new": [late({"do": "stall", "ms": 100}, *steps)]}


async def opened(home, capabilities: object = EVERYTHING):
    editor = await home.editor(capabilities)
    session = await editor.new()
    await home.clock.advance(0.1)
    return editor, session


async def test_an_extension_behind_the_answer_comes_behind_the_reply(tmp_path):
    """It speaks of a turn that is over."""
    steps = [{"do": "say", "text": "x"}, late({"do": "ext", "method": "_late"})]
    async with house(tmp_path, primary={"turns": [steps]}) as home:
        editor = await home.editor()
        await editor.prompt(await editor.new())

    assert ["session/update", None, "_late"] == [message.get("method") for message in editor.heard[-3:]]


class SaysMoreAtOnce:
    """Its title stands in the very read that brings its answer."""

    about = About()

    @asynccontextmanager
    async def open(self, tools: Tools) -> AsyncIterator["SaysMoreAtOnce"]:
        self.between = tools.between
        yield self

    async def run(self, turn: TurnRequest, client: Client) -> Finished:
        client.show([message("x")])
        self.between.show([update("session_info_update", title="T")])
        return Finished("end_turn")

    async def gone(self) -> str:
        await anyio.sleep_forever()
        return ""


async def test_what_comes_in_one_read_with_the_answer_comes_behind_the_reply(tmp_path):
    """It is no part of the turn, and must not be lost either."""
    async with house(tmp_path, primary=SaysMoreAtOnce().open) as home:
        editor = await home.editor()
        await editor.prompt(await editor.new())

    kinds = [message.get("params", {}).get("update", {}).get("sessionUpdate") for message in editor.heard[-3:]]
    assert ["agent_message_chunk", None, "session_info_update"] == kinds


async def test_an_extension_between_turns_reaches_who_opened_the_session(tmp_path):
    """There is nobody else."""
    async with house(tmp_path, primary=later({"do": "ext", "method": "_x"})) as home:
        editor, _ = await opened(home)

    assert 1 == len(editor.of("_x"))


async def test_words_outside_of_any_turn_are_not_shown(tmp_path):
    """They would stand under no prompt; the log has them."""
    async with house(tmp_path, primary=later({"do": "say", "text": "hello?"})) as home:
        editor, _ = await opened(home)

    assert ([], [["agent_message_chunk"]]) == (
        editor.words,
        [line["kinds"] for line in home.log.of("words_outside_a_turn")],
    )


async def test_a_file_may_be_read_between_turns(tmp_path):
    """It changes nothing."""
    ask = {**READ, "branches": {"ok": [{"do": "note", "info": {"title": "read"}}]}}
    async with house(tmp_path, primary=later(ask)) as home:
        editor, _ = await opened(home)
        editor.answer(editor.of("fs/read_text_file")[0], {"content": "x"})
        await home.clock.advance(0)

    assert ["session_info_update"] == editor.words


async def test_a_client_that_reads_no_files_is_not_asked_between_turns_either(tmp_path):
    """ACP v1, initialization."""
    async with house(tmp_path, primary=later(READ)) as home:
        editor, _ = await opened(home, {})

    assert [] == editor.of("fs/read_text_file")


@pytest.mark.parametrize(
    "step",
    [{"do": "writeFile", "path": "a", "text": "b"}, {"do": "terminal", "command": "rm"}, {"do": "askPermission"}],
)
async def test_nothing_acts_between_turns(tmp_path, step):
    """Nobody has prompted."""
    async with house(tmp_path, primary=later(step)) as home:
        editor, _ = await opened(home)

    assert [] == [message for message in editor.heard if "method" in message and "id" in message]


async def test_a_question_between_turns_may_be_taken_back(tmp_path):
    """`$/cancel_request`."""
    async with house(tmp_path, primary=later({**READ, "withdrawMs": 100})) as home:
        editor, _ = await opened(home)
        await home.clock.advance(0.1)

    asked, told = editor.of("fs/read_text_file")[0], editor.of("$/cancel_request")
    assert [{"requestId": asked["id"]}] == [message["params"] for message in told]


async def test_a_question_that_was_answered_at_once_may_be_taken_back_too(tmp_path):
    """The agent does not know yet that it has its answer."""
    steps = [{"do": "elicit", "message": "who?", "mode": "form", "withdrawMs": 0}]
    async with house(tmp_path, primary=later(*steps)) as home:
        editor, _ = await opened(home)

    assert ([], []) == (editor.of("elicitation/create"), home.log.of("broker_fault"))


async def test_a_fallback_that_is_only_being_opened_shows_nothing(tmp_path):
    """It may fail yet."""
    opens = {"do": "commands", "availableCommands": [{"name": "x", "description": "x"}]}
    spare = {"new": [late(opens, {"do": "usage", "used": 1, "size": 2})], "turns": [[{"do": "die"}]]}
    async with house(tmp_path, primary={"turns": [[{"do": "die"}]]}, spare=spare) as home:
        editor = await home.editor()
        await editor.prompt(await editor.new())

    assert [] == editor.words


async def test_what_a_new_life_says_is_no_late_word_of_the_old_one(tmp_path):
    """It has answered nothing yet."""
    steps = [{"do": "say", "text": "x"}]
    call = {"do": "toolCallUpdate", "toolCallId": "c", "status": "completed"}
    async with house(tmp_path, primary={"new": [late(call)], "turns": [steps]}) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session)
        await editor.result("session/close", sessionId=session)
        await editor.result("session/resume", sessionId=session, cwd=str(tmp_path), mcpServers=[])
        await home.clock.advance(0)

    assert ["say x"] == editor.words


@pytest.mark.parametrize("mode", ["form", "url"])
async def test_an_agent_that_asks_a_person_and_then_does_not_open_lacks_a_login(tmp_path, mode):
    """Nobody can answer during a warm start; the editor can offer the login, the chain move on."""
    primary = {"new": [{"do": "elicit", "message": "Log in", "mode": mode}, {"do": "fail", "message": "no"}]}
    async with house(tmp_path, primary=primary, spare=SPARE) as home:
        editor = await home.editor()
        turn = await editor.prompt(await editor.new())

    assert ["primary auth_missing", "spare"] == turn.attempts


async def test_an_agent_that_asks_a_person_and_opens_all_the_same_is_well(tmp_path):
    """It wanted a name, say, and does without."""
    async with house(tmp_path, primary={"new": [{"do": "elicit", "message": "Who?"}], **SPARE}) as home:
        editor = await home.editor()
        turn = await editor.prompt(await editor.new())

    assert ["primary"] == turn.attempts
