"""The official Python SDK talks to an agent directly and through the broker, and cannot tell which is which.

It holds one long conversation with the same agent both ways; what it receives must be equal but for ids, for the order
of set-up updates around `session/new`, and for what is the broker's own by its protocol.
"""

import logging
from pathlib import Path

import acp
import anyio
import pytest
from acp.exceptions import RequestError

from tests.support.broker import agent, chain
from tests.support.conversation import (
    DIES_IN_THE_MIDDLE,
    SAME_MODES,
    SETTINGS,
    TAKES_OVER_THERE,
    Told,
    answered,
    attempts,
    is_update,
    shows,
    titles,
    transcript,
    words,
)
from tests.support.sdk import SdkClient, connected
from tests.support.sdk_agent import SCRIPT
from tests.support.ways import Kind, Way, brokered, direct, way_in

WAYS: list[Kind] = ["stdio", "relay", "websocket"]
# What the agent says that it was answered, question by question.
ANSWERS = [
    "allow",
    "reject",
    "cancelled",
    "<work>/new.txt",
    "line 1\nline 2\n",
    "Resource not found (-32002)",
    "output of terminal-1\n",
    "output of terminal-2\n",
    '{"content":{"name":"Ada","age":36},"action":"accept"}',
    '{"action":"decline"}',
    '{"echo":{"sessionId":"<session>","a":[1,null,1.5]}}',
    "",
    "",
]


class Mishaps(logging.Handler):
    """What the SDK could not make sense of: it logs that and goes on."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def told(way: Way, work: Path, *, settings: bool = True) -> Told:
    mishaps = Mishaps()
    logging.getLogger().addHandler(mishaps)
    try:
        return Told(*anyio.run(talk, way, work, settings), mishaps.texts)
    finally:
        logging.getLogger().removeHandler(mishaps)


async def talk(way: Way, work: Path, settings: bool) -> tuple:
    """The conversation: `settings` says whether modes, options and extensions are part of it."""
    client = SdkClient()
    async with connected(client, way) as to:
        session = (await to.new_session(cwd=str(work), mcp_servers=[])).session_id
        # The usage before the answer and the commands after it: then the set-up is over.
        await client.until(lambda heard: len(heard.kinds) == 2)
        set_up = len(client.heard)

        await prompt(to, session, "show me")
        await prompt(to, session, "ask me")
        if settings:
            await to.set_session_mode(session_id=session, mode_id="code")
            await to.set_config_option(config_id="model", session_id=session, value="large")
            await to.ext_method("x/ask", {"sessionId": session, "n": 1.5})
            await to.ext_method("x/ask", {"n": 2})
        await cancelled(to, client, session)
        with pytest.raises(RequestError) as failed:
            await prompt(to, session, "fail")
        await prompt(to, session, "bye")
        await client.until(lambda heard: heard.kinds[-1] == "usage_update")
    return transcript(client.heard, session, set_up), client.heard, client.understood, str(failed.value)


async def prompt(to: acp.Agent, session: str, text: str) -> object:
    return await to.prompt(session_id=session, prompt=[acp.text_block(text)])


async def cancelled(to: acp.Agent, client: SdkClient, session: str) -> None:
    """A prompt that is cancelled once its first word is there."""
    before = len(client.kinds)

    async def cancel() -> None:
        await client.until(lambda heard: len(heard.kinds) > before)
        await to.cancel(session_id=session)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cancel)
        await prompt(to, session, "work")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def alone(work: Path) -> Told:
    return told(direct(SCRIPT), work)


@pytest.fixture(scope="module", params=WAYS)
def behind(request: pytest.FixtureRequest, work: Path, tmp_path_factory: pytest.TempPathFactory) -> Told:
    with way_in(request.param, tmp_path_factory.mktemp("behind"), chain(main=agent(SCRIPT))) as way:
        return told(way, work)


def test_the_conversation_has_all_kinds_of_traffic_in_it(alone: Told) -> None:
    """Two transcripts without a permission in them would be equal too."""
    kinds = {shows(message)["sessionUpdate"] for message in alone.heard if is_update(message)}
    methods = {str(message.get("method")) for message in alone.heard if "method" in message}

    assert {
        "agent_message_chunk", "agent_thought_chunk", "tool_call", "tool_call_update", "plan", "usage_update", *SETTINGS
    } == kinds  # fmt: skip
    assert {
        "session/update", "session/request_permission", "fs/read_text_file", "fs/write_text_file", "terminal/create",
        "terminal/output", "terminal/wait_for_exit", "terminal/kill", "terminal/release", "elicitation/create",
        "_ask/something", "_say/something", "_say/more",
    } == methods  # fmt: skip


def test_the_session_is_set_up_with_the_same_words(alone: Told, behind: Told) -> None:
    """Modes, options, commands and usage; their order around the answer to session/new is free."""
    assert alone.transcript.set_up == behind.transcript.set_up


def test_every_message_of_the_conversation_is_the_same(alone: Told, behind: Told) -> None:
    """The broker is worth nothing if an editor gets less behind it than in front of it."""
    assert answered(alone.transcript.talk) == answered(behind.transcript.talk)


def test_the_sdk_understood_all_of_it(alone: Told, behind: Told) -> None:
    """What it cannot parse it logs and drops, so equal messages alone would prove too little."""
    assert (alone.understood, [], []) == (behind.understood, alone.mishaps, behind.mishaps)


def test_every_answer_of_the_editor_reaches_the_agent(behind: Told, work: Path) -> None:
    """The agent says back what it was answered: permissions, files, terminals, forms, extensions, errors."""
    methods = [message.get("method") for message in behind.heard]
    first, last = methods.index("session/request_permission"), methods.index("_say/more")
    talk = [message for message in behind.heard[first : last + 2] if is_update(message)]
    session = talk[0]["params"]["sessionId"]
    said = [shows(message)["content"]["text"] for message in talk]

    assert ANSWERS == [text.replace(str(work), "<work>").replace(session, "<session>") for text in said]


def test_an_error_after_the_first_word_names_the_backend_and_what_it_said(alone: Told, behind: Told) -> None:
    """The words are shown, so nobody else may be tried; the editor is told once, and clearly."""
    assert "out of ideas" == alone.error
    assert (
        "main failed after it had begun to answer: out of ideas. "
        "Nobody else was tried: its words were already shown"
    ) == behind.error  # fmt: skip


def test_a_failover_looks_like_the_spare_alone(work: Path, tmp_path: Path) -> None:
    """The primary dies before it has said a word; nobody but `_meta` and the log can tell."""
    dies = [{"do": "usage", "used": 666, "size": 667}, {"do": "note", "info": {"title": "Mine"}}, {"do": "die"}]

    spare = told(direct(SCRIPT), work, settings=False)
    failover = told(brokered(tmp_path, chain(primary={**SCRIPT, "turns": [dies]}, spare=SCRIPT)), work, settings=False)

    assert spare.transcript.set_up == failover.transcript.set_up
    assert words(spare.transcript.talk) == words(failover.transcript.talk)
    assert not {"Mine", "A talk"} & titles(failover)
    assert ["primary crashed", "spare"] == attempts(failover.heard)[0]


@pytest.mark.parametrize("kind", WAYS)
def test_a_failover_in_the_middle_looks_like_one_agent(kind: Kind, work: Path, tmp_path: Path) -> None:
    """The primary is killed before the first word of the second turn; the spare goes on, with all its questions."""
    primary, spare = agent(DIES_IN_THE_MIDDLE), agent(TAKES_OVER_THERE, **SAME_MODES)

    alone = told(direct(SCRIPT), work, settings=False)
    with way_in(kind, tmp_path, chain(primary=primary, spare=spare)) as way:
        behind = told(way, work, settings=False)

    assert words(alone.transcript.talk) == words(behind.transcript.talk)
    assert "Mine" not in titles(behind)
    assert ["primary"] == attempts(behind.heard)[0]
    assert ["primary crashed", "spare"] == attempts(behind.heard)[1]


@pytest.mark.anyio
async def test_the_sdk_takes_up_a_session_again(tmp_path: Path) -> None:
    """List, close, load and resume are ours whatever the agent can do; the SDK checks each answer by the schema."""
    config = chain(main=agent({"capabilities": {}, "turns": [[{"do": "say", "text": "hello"}]]}))
    client = SdkClient()
    async with connected(client, brokered(tmp_path, config)) as to:
        session = (await to.new_session(cwd=str(tmp_path), mcp_servers=[])).session_id
        await prompt(to, session, "hi")
        await to.close_session(session_id=session)
        listed = (await to.list_sessions(cwd=str(tmp_path))).sessions
        await to.load_session(cwd=str(tmp_path), session_id=session, mcp_servers=[])
        await to.resume_session(cwd=str(tmp_path), session_id=session, mcp_servers=[])
        await prompt(to, session, "hi again")
    said = [shows(message)["content"]["text"] for message in client.heard if is_update(message)]

    assert [(session, str(tmp_path))] == [(one.session_id, one.cwd) for one in listed]
    assert ["hello", "hi", "hello", "hello"] == said
