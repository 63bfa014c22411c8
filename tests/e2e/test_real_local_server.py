"""The server of llama.cpp as the primary of a broker: while it loads, when it is well, and when it is gone."""

import signal
import socket
from functools import partial
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel
import msgspec
import pytest

import backends.openai as kind
from backends.openai import OpenAIConfig
from tests.support.answered import listening
from tests.support.harness import house
from tests.support.llama import llama

pytestmark = pytest.mark.anyio

SPARE = {"turns": [[{"do": "say", "text": "spare here"}]]}
SWITCHED = ["say spare here"]
LONG = 100_000
# Half a second of loading, most of which is memory that is filled.
LOADING = 1_000_000


def local(url: str, **members: object):
    entry = {"kind": "openai", "preset": "llamacpp", "baseUrl": url, **members}
    return partial(kind.open, msgspec.convert(entry, OpenAIConfig))


def answering(words: str) -> dict[str, object]:
    """A grammar that allows these words alone: the model itself says anything."""
    return {"grammar": f'root ::= "{words}"'}


@pytest.fixture(scope="module")
def server():
    with llama() as running:
        yield running


async def one_turn(tmp_path, url: str, text: str = "hello", **members: object):
    async with house(tmp_path, primary=local(url, **members), spare=SPARE) as home:
        editor = await listening(home)
        return await editor.prompted(await editor.new(), text)


def said(turn) -> str:
    return "".join(words.removeprefix("say ") for words in turn.words)


async def test_its_words_are_shown(tmp_path, server):
    """The main job, with a server that nobody here has written."""
    turn = await one_turn(tmp_path, server.url, body=answering("a duck quacks"))

    assert ("a duck quacks", "end_turn", ["primary"]) == (said(turn), turn.outcome, turn.attempts)


async def test_its_limit_on_an_answer_is_a_stop_reason(tmp_path, server):
    """`finish_reason` is `length`; an editor says so."""
    turn = await one_turn(tmp_path, server.url, maxTokens=3, body=answering("a duck quacks"))

    assert ("a d", "max_tokens", ["primary"]) == (said(turn), turn.outcome, turn.attempts)


async def test_a_prompt_that_does_not_fit_is_known_by_its_words(tmp_path, server):
    """It says so itself: a fallback that has no more room is not asked."""
    turn = await one_turn(tmp_path, server.url, "quack " * 100)

    assert ([], -33001, ["primary context_overflow"]) == (turn.words, turn.outcome, turn.attempts)


async def test_an_answer_of_nothing_is_none(tmp_path, server):
    """The model ends at once: 200, a finish reason, no word."""
    turn = await one_turn(tmp_path, server.url, body={"logit_bias": [[2, 1000]]})

    assert (SWITCHED, ["primary empty_turn", "spare"]) == (turn.words, turn.attempts)


async def test_it_is_overloaded_while_it_loads_its_model(tmp_path):
    """It listens already and answers 503: the next backend need not wait for it."""
    with llama(LOADING, is_ready=False) as server:
        async with house(tmp_path, primary=local(server.url), spare=SPARE) as home:
            editor = await listening(home)
            session = await editor.new()
            await accepting(server.url)
            # It is not to be quicker than we are.
            server.process.send_signal(signal.SIGSTOP)
            turn = editor.start(session)
            await anyio.wait_all_tasks_blocked()
            server.process.send_signal(signal.SIGCONT)
            await editor.until_answered(turn)

    assert (SWITCHED, ["primary overloaded", "spare"]) == (turn.words, turn.attempts)


async def test_killed_behind_words_it_has_failed_and_they_stay(tmp_path):
    """The stream ends in the middle of a chunked body: that is no end of a turn."""
    with llama(LONG) as server:
        endless = local(server.url, body={"ignore_eos": True})
        async with house(tmp_path, primary=endless, spare=SPARE) as home:
            editor = await listening(home)
            turn = await editor.until_shown(editor.start(await editor.new()))
            server.process.kill()
            await editor.until_answered(turn)

    assert (-33002, ["primary server_error"], True) == (turn.outcome, turn.attempts, len(said(turn)) > 0)


async def test_killed_before_its_first_word_it_is_followed(tmp_path):
    """It has read the prompt, perhaps; nobody has read a word of it."""
    with llama() as server:
        async with house(tmp_path, primary=local(server.url, body=answering("a duck")), spare=SPARE) as home:
            editor = await listening(home)
            session = await editor.new()
            await editor.prompted(session)
            server.process.send_signal(signal.SIGSTOP)
            turn = editor.start(session)
            await anyio.wait_all_tasks_blocked()
            server.process.kill()
            await editor.until_answered(turn)

    assert (SWITCHED, ["primary unreachable", "spare"]) == (turn.words, turn.attempts)


async def accepting(url: str) -> None:
    """Wait until somebody listens there."""
    port = urlsplit(url).port
    with anyio.fail_after(20):
        while True:
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", port)) == 0:
                    return
            await anyio.lowlevel.checkpoint()
