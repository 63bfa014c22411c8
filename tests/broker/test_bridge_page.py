"""The messages in docs/bridge.md are those that the broker takes and sends, member by member."""

import json
import re

import pytest

from tests.broker.test_keys import keyed
from tests.support.architecture import TOP
from tests.support.harness import EVERYTHING, house
from tests.support.numbered import TURN

pytestmark = pytest.mark.anyio

PAGE = (TOP / "docs" / "bridge.md").read_text().split("\n## Keys and numbers")[1].split("\n## ")[0]
BLOCKS = re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
CAPABILITIES, UPDATE, LOAD, PROMPT, *TURNS = [json.loads(line) for block in BLOCKS for line in block.splitlines()]
HELLO = {"do": "say", "text": "Hello"}
SLOW = {"turns": [[HELLO, {"do": "stall", "ms": 1000}], [{"do": "fail"}]]}


def shape(value: object) -> object:
    """The members of a message, and the types of what they hold."""
    match value:
        case dict():
            return {name: shape(one) for name, one in sorted(value.items())}
        case list():
            return [shape(one) for one in value]
        case _:
            return type(value).__name__


async def test_the_messages_that_it_shows_are_sent(tmp_path):
    """Clients are written by this page."""
    async with house(tmp_path, primary=SLOW, spare={"turns": [[{"do": "fail"}]]}) as home:
        editor = await home.connected()
        answer = await editor.initialize({**EVERYTHING, **CAPABILITIES})
        session = await editor.new()
        for key in "abc":
            await editor.prompt(session, **keyed(key))
        await home.clock.advance(1)
        words = [message for message in editor.of("session/update") if "Hello" in str(message)]
        queued, started, ended = (
            [one for one in editor.of(TURN) if one["params"]["state"] == state]
            for state in ("queued", "started", "ended")
        )

    assert CAPABILITIES["_meta"]["acp-broker"]["seq"] is answer["agentCapabilities"]["_meta"]["acp-broker"]["seq"]
    assert shape(UPDATE) == shape(words[0])
    assert [shape(one) for one in TURNS] == [shape(one) for one in (queued[1], started[0], ended[0], ended[1])]


async def test_the_messages_that_it_asks_for_are_taken(tmp_path):
    """But for the ids and the numbers, which are another session's."""
    async with house(tmp_path, primary={"turns": [[HELLO]]}) as home:
        editor, other = [await home.editor({**EVERYTHING, **CAPABILITIES}) for _ in range(2)]
        session = await editor.new()
        await editor.prompt(session)
        asked = [
            json.loads(
                json.dumps(one).replace("acpb-1225", session).replace("4711", "0").replace("/src/app", str(tmp_path))
            )
            for one in (LOAD, PROMPT)
        ]
        for one in asked:
            other.write(one)
            await home.clock.advance(0)
        answers = [other.reply(one["id"]) for one in asked]

    assert [True, "end_turn"] == ["result" in answers[0], answers[1]["result"]["stopReason"]]
    assert ["Hello"] * 2 == [word.removeprefix("say ") for word in other.words if word.startswith("say")]
