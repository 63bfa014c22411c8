"""Each API as the primary of a whole broker, against every fault of the fault server; a script follows it."""

from collections.abc import Mapping
from functools import partial
from types import ModuleType
from typing import NamedTuple

import msgspec
import pytest

from acp_broker.core.turnrules import Limits
from backends import anthropic, anthropic_vertex, gemini, openai
from tests.support import responses_speech
from tests.support.answered import listening
from tests.support.chat_player import CHAT, Speech, playing
from tests.support.gemini_speech import GEMINI
from tests.support.harness import house
from tests.support.messages_speech import MESSAGES, event
from tests.support.provider import Pace, provider
from tests.support.responses_speech import RESPONSES

pytestmark = pytest.mark.anyio

SPARE = {"turns": [[{"do": "say", "text": "spare here"}]]}
SAYS = "alpha beta gamma delta"
SWITCHED = ["say spare here"]
FAST = Pace(0.005, 0.02)
# What app/policy.py gives a provider kind.
PROVIDER = Limits(first_output=60.0, idle=300.0)

# Fault -> what the primary is said to have failed by, before its first word.
BEFORE = {
    "429": "rate_limited",
    "429;ra=2": "rate_limited",
    "503": "overloaded",
    "529": "overloaded",
    "500": "server_error",
    "401": "auth_rejected",
    "402": "billing",
    "404": "model_not_found",
    "refused": "unreachable",
    "reset-headers": "unreachable",
    "garbage": "garbled",
    "err-first": "server_error",
    "eof-first": "server_error",
    "empty": "empty_turn",
}
# Faults behind three words.
BEHIND = {"err-mid": "server_error", "reset-mid": "server_error", "eof-mid": "server_error"}


class Api(NamedTuple):
    """A kind, what the fault server calls its API, and where it differs from BEFORE and BEHIND."""

    kind: ModuleType
    name: str
    differs: Mapping[str, str]
    speech: Speech
    keep_alive: str
    members: Mapping[str, object] = {}

    def primary(self, url: str, **members: object):
        tag = self.kind.config.__struct_config__.tag
        entry = {"kind": tag, "baseUrl": f"{url}/v1", "model": "drill-model", **self.members, **members}
        return partial(self.kind.open, msgspec.convert(entry, self.kind.config))


APIS = [
    Api(openai, "chat", {}, CHAT, ": OPENROUTER PROCESSING\n\n"),
    Api(
        openai,
        "responses",
        {"err-first": "overloaded", "err-mid": "overloaded"},
        RESPONSES,
        responses_speech.event("response.queued").decode(),
        {"api": "responses"},
    ),
    Api(
        anthropic,
        "anthropic",
        {"503": "server_error", "err-first": "overloaded", "err-mid": "overloaded"},
        MESSAGES,
        event("ping").decode(),
    ),
    Api(gemini, "gemini", {"err-first": "overloaded", "err-mid": "overloaded"}, GEMINI, ": waiting\n\n"),
    Api(
        anthropic_vertex,
        "anthropic-vertex",
        {"err-first": "overloaded", "err-mid": "overloaded"},
        MESSAGES,
        event("ping").decode(),
        {"project": "drill", "location": "us-east5"},
    ),
    Api(
        gemini,
        "gemini-vertex",
        {"err-first": "overloaded", "err-mid": "overloaded"},
        GEMINI,
        ": waiting\n\n",
        {"vertex": {"project": "drill"}},
    ),
]


@pytest.fixture(params=APIS, ids=[api.name for api in APIS])
def api(request) -> Api:
    return request.param


async def one_turn(tmp_path, api: Api, fault: str, **members: object):
    async with (
        provider(SAYS, fault, pace=FAST) as server,
        house(tmp_path, primary=api.primary(server.url, **members), spare=SPARE) as home,
    ):
        editor = await listening(home)
        turn = await editor.prompted(await editor.new())
    return turn, server


async def test_a_healthy_answer_is_shown_as_it_came(tmp_path, api):
    """The main job."""
    turn, _ = await one_turn(tmp_path, api, "good")
    said = "".join(words.removeprefix("say ") for words in turn.words)

    assert (SAYS, "end_turn", ["primary"]) == (said, turn.outcome, turn.attempts)


@pytest.mark.parametrize("fault", BEFORE)
async def test_what_fails_before_its_first_word_is_answered_by_the_spare(tmp_path, api, fault):
    """Nothing was shown: the person gets one whole answer."""
    turn, _ = await one_turn(tmp_path, api, fault)
    failed = api.differs.get(fault, BEFORE[fault])

    assert (SWITCHED, "end_turn", [f"primary {failed}", "spare"]) == (turn.words, turn.outcome, turn.attempts)


@pytest.mark.parametrize("fault", BEHIND)
async def test_what_fails_behind_words_keeps_them_and_is_an_error(tmp_path, api, fault):
    """A stream that was cut is never a finished answer, and another one behind its words would be a riddle."""
    turn, _ = await one_turn(tmp_path, api, fault)
    failed = api.differs.get(fault, BEHIND[fault])
    said = "".join(words.removeprefix("say ") for words in turn.words)

    assert ("alpha beta gamma ", -33002, [f"primary {failed}"]) == (said, turn.outcome, turn.attempts)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([], (SWITCHED, "end_turn", ["primary guardrail", "spare"])),
        ([{"do": "say", "text": "I cannot"}], (["say I cannot"], "refusal", ["primary"])),
        ([{"do": "think", "text": "hm"}], (["think hm"], "refusal", ["primary"])),
    ],
    ids=["at-once", "behind-words", "behind-thoughts"],
)
async def test_a_refusal_is_alike_everywhere(tmp_path, api, steps, expected):
    """Before a word somebody else may answer, and the answer says who refused; behind it the model has answered so."""
    async with (
        playing([[*steps, {"do": "end", "stopReason": "refusal"}]], api.speech) as server,
        house(tmp_path, primary=api.primary(server.url.removesuffix("/v1")), spare=SPARE) as home,
    ):
        editor = await listening(home)
        turn = await editor.prompted(await editor.new())

    assert expected == (turn.words, turn.outcome, turn.attempts)


async def test_thoughts_are_output(tmp_path, api):
    """A person has read them: a reset behind them is an error, not a switch."""
    turn, _ = await one_turn(tmp_path, api, "think-reset")

    assert (-33002, {"think"}) == (turn.outcome, {words.split()[0] for words in turn.words})


async def test_a_malformed_request_ends_the_turn(tmp_path, api):
    """Whoever got it next would refuse it too: the chain is not walked, and nobody is left alone for it."""
    turn, server = await one_turn(tmp_path, api, "400")

    assert ([], -33001, ["primary bad_request"], 1) == (turn.words, turn.outcome, turn.attempts, len(server.asked()))


@pytest.mark.parametrize("fault", ["503", "429", "reset-headers", "eof-first", "err-mid"])
async def test_nothing_is_asked_twice(tmp_path, api, fault):
    """A provider in trouble is not helped by more requests; the person pays for each."""
    _, server = await one_turn(tmp_path, api, fault)

    assert 1 == len(server.asked(api.name))


async def test_the_wait_that_was_asked_for_is_kept(tmp_path, api):
    """`retry-after` says when there is room again."""
    async with (
        provider(SAYS, "429;ra=2", pace=FAST) as server,
        house(tmp_path, primary=api.primary(server.url), spare=SPARE) as home,
    ):
        editor = await listening(home)
        session = await editor.new()
        await editor.prompted(session)
        server.fault = "good"
        meanwhile = await editor.prompted(session)
        await home.clock.advance(2.5)
        after = await editor.prompted(session)

    assert (["spare"], ["primary"]) == (meanwhile.attempts, after.attempts)


@pytest.mark.parametrize(("fault", "after_s"), [("stall-headers", 45.0), ("stall-first", 60.0)])
async def test_silence_before_the_first_word_is_given_up(tmp_path, api, fault, after_s):
    """Its own clock for the head of the answer, the broker's for the first word."""
    limits = {"firstByteMs": 45_000}
    async with (
        provider(SAYS, fault, pace=FAST) as server,
        house(tmp_path, limits=PROVIDER, primary=api.primary(server.url, limits=limits), spare=SPARE) as home,
    ):
        editor = await listening(home)
        turn = editor.start(await editor.new())
        await server.silent()
        await home.clock.advance(after_s - 1)
        is_early = turn.is_answered
        await home.clock.advance(2)
        await editor.until_answered(turn)

    assert (False, SWITCHED, ["primary silent", "spare"]) == (is_early, turn.words, turn.attempts)


async def test_keep_alives_are_no_first_word(tmp_path, api):
    """A proxy that says every second that it still waits must not hold the chain up."""
    waits = [{"do": "raw", "text": api.keep_alive * 3}, {"do": "stall"}]
    async with (
        playing([waits], api.speech) as server,
        house(tmp_path, limits=PROVIDER, primary=api.primary(server.url.removesuffix("/v1")), spare=SPARE) as home,
    ):
        editor = await listening(home)
        turn = editor.start(await editor.new())
        await server.stalled.wait()
        await home.clock.advance(61)
        await editor.until_answered(turn)

    assert (SWITCHED, ["primary silent", "spare"]) == (turn.words, turn.attempts)


async def test_silence_behind_words_is_an_error(tmp_path, api):
    """The words stay, and nobody waits for ever for the rest."""
    async with (
        provider(SAYS, "stall-mid", pace=FAST) as server,
        house(tmp_path, limits=PROVIDER, primary=api.primary(server.url), spare=SPARE) as home,
    ):
        editor = await listening(home)
        turn = editor.start(await editor.new())
        await server.silent()
        await home.clock.advance(299)
        is_early = turn.is_answered
        await home.clock.advance(2)
        await editor.until_answered(turn)

    assert (False, -33002, ["primary silent"]) == (is_early, turn.outcome, turn.attempts)


async def test_a_cancel_closes_the_stream_at_once(tmp_path, api):
    """ACP v1, "Cancellation": and the provider stops writing what nobody reads, and somebody pays for."""
    async with (
        provider(SAYS, "stall-mid", pace=FAST) as server,
        house(tmp_path, primary=api.primary(server.url), spare=SPARE) as home,
    ):
        editor = await listening(home)
        session = await editor.new()
        turn = editor.start(session)
        await server.silent()
        editor.cancel(session)
        await editor.until_answered(turn)

    assert ("cancelled", ["primary"]) == (turn.outcome, turn.attempts)


async def test_the_conversation_is_kept_over_a_failure_of_its_server(tmp_path, api):
    """What the spare answered is history for the primary when it serves again; nothing is said by the wrong side."""
    async with (
        provider(SAYS, "good", pace=FAST) as server,
        house(tmp_path, primary=api.primary(server.url, system="Be brief."), spare=SPARE) as home,
    ):
        editor = await listening(home)
        session = await editor.new()
        await editor.prompted(session, "one")
        server.fault = "503"
        await editor.prompted(session, "two")
        server.fault = "good"
        await home.clock.advance(60)
        turn = await editor.prompted(session, "three")
    sent = conversation(msgspec.json.decode(server.asked(api.name)[-1].body))

    assert [
        ("system", "Be brief."),
        ("user", "one"),
        ("assistant", SAYS),
        ("user", "two"),
        ("assistant", "spare here"),
        ("user", "three"),
    ] == sent
    assert ["primary"] == turn.attempts


def conversation(body: dict) -> list[tuple[str, str]]:
    """Who says what, whichever way an API wants it."""
    if "contents" in body:
        told = [("system", body["systemInstruction"]), *((one["role"], one) for one in body["contents"])]
        return [(role.replace("model", "assistant"), words(one["parts"])) for role, one in told]
    system = [{"role": "system", "content": body[name]} for name in ("system", "instructions") if name in body]
    return [(one["role"], words(one["content"])) for one in [*system, *(body.get("messages") or body["input"])]]


def words(content: str | list[dict]) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)
