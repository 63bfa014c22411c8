"""OpenFang #1003: a model server on this machine goes away between two turns; another provider answers, and nothing is
forgotten; when the server is back it serves again, and nobody has knocked at its door meanwhile."""

from functools import partial

import msgspec
import pytest

import backends.openai as kind
from backends.openai import OpenAIConfig
from tests.support.answered import listening
from tests.support.harness import house
from tests.support.provider import Pace, provider

pytestmark = pytest.mark.anyio

FAST = Pace(0.002, 0.02)
LOCAL, REMOTE = "the local server says", "the other one says"


def chat(url: str, **members: object):
    entry = {"kind": "openai", "baseUrl": f"{url}/v1", "model": "drill-model", **members}
    return partial(kind.open, msgspec.convert(entry, OpenAIConfig))


def local(url: str):
    return chat(url, preset="lmstudio")


def conversation(server) -> list[tuple[str, str]]:
    """What the latest request to a server was told."""
    return [(one["role"], one["content"]) for one in msgspec.json.decode(server.asked("chat")[-1].body)["messages"]]


async def test_another_provider_answers_with_the_conversation_kept(tmp_path):
    """It is told what the server has said, as its own words, and the new prompt."""
    async with (
        provider(LOCAL, pace=FAST) as near,
        provider(REMOTE, pace=FAST) as far,
        house(tmp_path, primary=local(near.url), spare=chat(far.url)) as home,
    ):
        editor = await listening(home)
        session = await editor.new()
        await editor.prompted(session, "one")
        near.fault = "refused"
        turn = await editor.prompted(session, "two")

    assert ["primary unreachable", "spare"] == turn.attempts
    assert [("user", "one"), ("assistant", LOCAL), ("user", "two")] == conversation(far)


async def test_it_serves_again_thirty_seconds_after_it_was_missed(tmp_path):
    """With all that was said while it was away."""
    async with (
        provider(LOCAL, pace=FAST) as near,
        provider(REMOTE, pace=FAST) as far,
        house(tmp_path, primary=local(near.url), spare=chat(far.url)) as home,
    ):
        editor = await listening(home)
        session = await editor.new()
        await editor.prompted(session, "one")
        near.fault = "refused"
        await editor.prompted(session, "two")
        near.fault = "good"
        await home.clock.advance(30)
        turn = await editor.prompted(session, "three")

    told = [("user", "one"), ("assistant", LOCAL), ("user", "two"), ("assistant", REMOTE), ("user", "three")]
    assert (["primary"], told) == (turn.attempts, conversation(near))


async def test_it_is_left_alone_while_it_is_away(tmp_path):
    """Ten turns of a busy person are no reason to knock ten times."""
    async with (
        provider(LOCAL, pace=FAST) as near,
        provider(REMOTE, pace=FAST) as far,
        house(tmp_path, primary=local(near.url), spare=chat(far.url)) as home,
    ):
        editor = await listening(home)
        session = await editor.new()
        await editor.prompted(session)
        near.fault = "503"
        turns = [await editor.prompted(session) for _ in range(10)]

    assert (2, 10, {"end_turn"}) == (len(near.asked()), len(far.asked()), {turn.outcome for turn in turns})


async def test_one_that_dies_in_the_middle_of_its_headers_is_no_answer(tmp_path):
    """It had the prompt, and nothing of it was shown: the other provider answers, once."""
    async with (
        provider(LOCAL, pace=FAST) as near,
        provider(REMOTE, pace=FAST) as far,
        house(tmp_path, primary=local(near.url), spare=chat(far.url)) as home,
    ):
        editor = await listening(home)
        session = await editor.new()
        await editor.prompted(session, "one")
        near.fault = "reset-headers"
        turn = await editor.prompted(session, "two")

    said = "".join(words.removeprefix("say ") for words in turn.words)
    assert (REMOTE, ["primary unreachable", "spare"], 1) == (said, turn.attempts, len(far.asked()))
