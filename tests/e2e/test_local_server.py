"""OpenFang #1003: a model server on this machine goes away between two turns; another provider answers, and nothing is
forgotten; when the server is back it serves again, and nobody has knocked at its door meanwhile."""

from functools import partial

import msgspec
import pytest

import backends.openai as kind
from backends import gemini
from backends.openai import OpenAIConfig
from tests.support.answered import listening
from tests.support.broker import BrokerProcess, chain
from tests.support.harness import house
from tests.support.provider import Pace, provider
from tests.support.served_provider import asked_of, fails, served

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


def remembered(server) -> list[tuple[str, str]]:
    """What the latest request in Gemini's shape was told."""
    contents = msgspec.json.decode(server.asked("gemini")[-1].body)["contents"]
    return [(one["role"], "".join(part["text"] for part in one["parts"])) for one in contents]


async def test_a_server_that_is_killed_comes_back_to_its_conversation(tmp_path):
    """OpenFang #1003, whole: its process is killed between two turns, and in a third it breaks off in mid-headers. Both
    times Gemini answers, and is told all that was said, by each side; then the server serves again, and is told too."""
    far_kind = partial(msgspec.convert, type=gemini.config)
    async with provider(REMOTE, pace=FAST) as far:
        spare = partial(gemini.open, far_kind({"kind": "gemini", "baseUrl": far.url, "model": "drill-model"}))
        with served(LOCAL) as (url, _, process):
            async with house(tmp_path, primary=local(url), spare=spare) as home:
                editor = await listening(home)
                session = await editor.new()
                turns = [await editor.prompted(session, "one")]
                process.kill()
                process.wait()
                turns.append(await editor.prompted(session, "two"))
                told_second = remembered(far)
                with served(LOCAL, port=int(url.rpartition(":")[2])) as (_, control, _):
                    fails(control, "eof-headers")
                    await home.clock.advance(30)
                    turns.append(await editor.prompted(session, "three"))
                    told_third = remembered(far)
                    fails(control, "good")
                    await home.clock.advance(30)
                    turns.append(await editor.prompted(session, "four"))
                    asked = asked_of(control)

    away = ["primary unreachable", "spare"]
    assert [["primary"], away, away, ["primary"]] == [turn.attempts for turn in turns]
    first = [("user", "one"), ("model", LOCAL), ("user", "two")]
    assert (first, [*first, ("model", REMOTE), ("user", "three")]) == (told_second, told_third)
    assert (2, 2) == (asked, len(far.asked()))


# The first reset may be that of an idle connection: the next turn asks once more.
@pytest.mark.parametrize(("fault", "times"), [("refused", 20), ("reset-headers", 21), ("eof-headers", 20), ("503", 20)])
async def test_however_long_it_was_away_it_is_back_within_thirty_seconds(tmp_path, fault, times):
    """And while it was, it was asked once in half a minute, for whoever prompts each few seconds."""
    async with (
        provider(LOCAL, pace=FAST) as near,
        provider(REMOTE, pace=FAST) as far,
        house(tmp_path, primary=local(near.url), spare=chat(far.url)) as home,
    ):
        editor = await listening(home)
        session = await editor.new()
        await editor.prompted(session)
        before = near.connections
        near.fault, turns = fault, []
        for _ in range(120):
            turns.append(await editor.prompted(session))
            await home.clock.advance(5)
        knocks = sum(len(turn.attempts) > 1 for turn in turns)
        near.fault = "good"
        await home.clock.advance(25)
        back = await editor.prompted(session)

    assert (times, {"end_turn"}, ["primary"]) == (knocks, {turn.outcome for turn in turns}, back.attempts)
    # One more when it is back.
    assert near.connections - before <= knocks + 1


def test_a_fallback_that_is_the_same_server_is_not_asked_again(tmp_path):
    """Under another name, by its address instead of a preset; and the log says so as well as the reply."""
    with served(LOCAL) as (url, control, _):
        same = {"kind": "openai", "baseUrl": f"{url}/v1", "model": "drill-model"}
        far = {"turns": [[{"do": "say", "text": REMOTE}]] * 2}
        fails(control, "503")
        with BrokerProcess(tmp_path, chain(primary={**same, "preset": "lmstudio"}, again=same, far=far)) as broker:
            session = broker.open()
            turns = [broker.prompt(session), broker.prompt(session)]
            logged = [line["passed"] for line in broker.log("turn_over")]
        asked = asked_of(control)

    why = "asks the same of the same provider as primary, which is tried"
    assert [["primary overloaded", "far"], ["far"]] == [turn.attempts for turn in turns]
    assert (1, {"backend": "again", "why": why}) == (asked, turns[0].told["skipped"][0])
    assert ([f"again: {why}"], True) == (logged[0], f"again: {why}" in logged[1])
