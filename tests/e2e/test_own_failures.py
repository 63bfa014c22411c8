"""Failures that config.json describes: a gateway with ways of its own, before a spare, in a whole broker."""

from functools import partial

import msgspec
import pytest

from acp_broker.config import load
from acp_broker.errors import ConfigError
from backends import openai
from tests.support.answered import listening
from tests.support.chat_player import playing, said
from tests.support.config import write
from tests.support.harness import house

pytestmark = pytest.mark.anyio

SPARE = {"turns": [[{"do": "say", "text": "spare here"}]]}
ROWS = [
    {"status": 400, "text": "queue is full", "kind": "rate_limited", "retryAfterMs": 20_000},
    {"code": "1113", "kind": "billing"},
    {"code": "quota_stop", "kind": "account_rate_limited"},
    {"text": "insufficient balance", "kind": "billing"},
    {"status": 302, "kind": "auth_rejected"},
    {"status": 503, "kind": "bad_request"},
]
KIND = {"openai": openai.OpenAIConfig}


def _answer(status: int, body: str, kind: str = "application/json") -> dict[str, object]:
    return {"do": "answer", "status": status, "type": kind, "body": body}


def _stream(*events: str) -> dict[str, object]:
    return {"do": "raw", "text": "".join(f"data: {one}\n\n" for one in events)}


def opened(url: str, rows: list[dict]):
    entry = {"kind": "openai", "baseUrl": url, "model": "m", "failures": rows}
    return partial(openai.open, msgspec.convert(entry, openai.OpenAIConfig))


async def attempts(tmp_path, *steps: dict, rows: list[dict] = ROWS) -> list[str]:
    async with playing([list(steps)]) as server, house(tmp_path, primary=opened(server.url, rows), spare=SPARE) as home:
        editor = await listening(home)
        return (await editor.prompted(await editor.new())).attempts


QUEUE = _answer(400, '{"error": {"message": "The queue is full.", "type": "invalid_request_error"}}')


@pytest.mark.parametrize(
    ("step", "failed"),
    [
        (QUEUE, "rate_limited"),
        (_answer(200, '{"error": {"message": "x", "code": 1113}}'), "billing"),
        (_answer(302, ""), "auth_rejected"),
        (_answer(400, "<html><title>The queue is full</title>", "text/html"), "rate_limited"),
        (_stream('{"error": {"message": "x", "code": "1113"}}'), "billing"),
        (_stream('{"choices": [{"delta": {}, "finish_reason": "quota_stop"}]}'), "account_rate_limited"),
        (_stream('{"base_resp": {"status_code": 1113, "status_msg": "no"}, "choices": null}'), "billing"),
        (_stream('{"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}'), "billing"),
    ],
)
async def test_a_row_decides_what_a_failure_is(tmp_path, step, failed):
    """An answer with a status, an error in a stream, an odd end: the chain goes on by what the person says it is."""
    assert [f"primary {failed}", "spare"] == await attempts(tmp_path, step)


async def test_without_its_row_the_odd_400_ends_the_turn(tmp_path):
    """So the row above is what does it."""
    assert ["primary bad_request"] == await attempts(tmp_path, QUEUE, rows=[])


async def test_a_row_counts_more_than_what_is_known(tmp_path):
    """The person knows the gateway."""
    assert ["primary bad_request"] == await attempts(tmp_path, _answer(503, '{"error": {"message": "overloaded"}}'))


async def test_an_odd_end_behind_words_keeps_them(tmp_path):
    """They were shown: nobody else is asked."""
    words = said(content="alpha ").decode()
    odd = {"do": "raw", "text": words + 'data: {"choices": [{"delta": {}, "finish_reason": "quota_stop"}]}\n\n'}
    async with playing([[odd]]) as server, house(tmp_path, primary=opened(server.url, ROWS), spare=SPARE) as home:
        editor = await listening(home)
        turn = await editor.prompted(await editor.new())

    assert (["say alpha "], -33002, ["primary account_rate_limited"]) == (turn.words, turn.outcome, turn.attempts)


async def test_a_rows_wait_is_the_rest(tmp_path):
    """The gateway itself says nothing of when."""
    turns = [[QUEUE], [{"do": "say", "text": "back"}]]
    async with playing(turns) as server, house(tmp_path, primary=opened(server.url, ROWS), spare=SPARE) as home:
        editor = await listening(home)
        session = await editor.new()
        await editor.prompted(session)
        await home.clock.advance(19)
        meanwhile = await editor.prompted(session)
        await home.clock.advance(2)
        after = await editor.prompted(session)

    assert (["spare"], ["primary"]) == (meanwhile.attempts, after.attempts)


@pytest.mark.parametrize(
    ("row", "place", "finding"),
    [
        ({"text": "(", "kind": "billing"}, "failures[0].text", "is no regular expression"),
        ({"text": "(a+)+", "kind": "billing"}, "failures[0].text", "may take for ever"),
        ({"text": "a", "kind": "bill"}, "failures[0].kind", "did you mean"),
        ({"kind": "billing"}, "failures[0]", "name at least one of status, code and text"),
        ({"status": 200, "kind": "billing"}, "failures[0].status", "300"),
        ({"code": "x", "words": "y", "kind": "billing"}, "failures[0].words", "there is no such key"),
    ],
)
def test_a_row_that_cannot_be_is_told_with_its_place(tmp_path, row, place, finding):
    """Found when config.json is read, not when the gateway fails."""
    entry = {"kind": "openai", "baseUrl": "http://127.0.0.1:1/v1", "model": "m", "failures": [row]}
    content = {"acp": {"backend": "one"}, "backends": {"one": entry}}
    with pytest.raises(ConfigError) as raised:
        load(KIND, path=write(tmp_path, content), environ={})

    (problem,) = raised.value.problems
    assert (f"backends.one.{place}", True) == (problem.path, finding in problem.finding)
