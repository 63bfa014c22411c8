"""A bridge whose connection is cut at random points loses no turn, no word and no answer, and shows none twice."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.support.broker import agent, chain
from tests.support.cutting_proxy import CuttingProxy
from tests.support.daemon import WEBSOCKET, Daemon
from tests.support.lasting import LastingChat

SEEDS = range(10)
PROMPTS = 4
CUTS = 8
# From within the handshake to the end of an answer.
CLIENT_BYTES, SERVER_BYTES = 1_500, 9_000


def answer(number: int) -> str:
    return f"This is the answer to question {number}, with \u00e9 and \U0001f600, all of it. "


def question(number: int) -> str:
    return f"<question {number}>"


def script(fails_at: tuple[int, ...]) -> dict:
    """It answers each question by its number, and some of them not at all; earlier ones may be handed over with it."""
    steps: list[dict] = []
    for number in range(PROMPTS):
        asks = [{"do": "askPermission", "toolCallId": f"call-{number}"}, {"do": "sayAnswer"}] if number == 1 else []
        answers = [{"do": "say", "text": answer(number), "chunks": 20, "everyMs": 1}, *asks]
        does = [{"do": "fail", "message": "overloaded"}] if number in fails_at else answers
        steps = [{"do": "ifText", "contains": question(number), "steps": does, "else": steps}]
    return {"turns": [steps]}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Each of its two backends takes over where the other one fails."""
    folder: Path = tmp_path_factory.mktemp("cuts")
    spare = {"kind": "scripted", "script": script((1, 3))}
    with Daemon(folder, chain(primary=agent(script((0, 2))), spare=spare, frontends=WEBSOCKET)) as daemon:
        yield daemon


@pytest.mark.parametrize("seed", SEEDS)
def test_every_prompt_runs_once_and_every_answer_arrives_once_and_whole(daemon: Daemon, seed: int) -> None:
    """It resends with its key, says how far it has seen the session, and needs to know nothing else."""
    rng = Random(seed)
    with CuttingProxy(int(daemon.url.rsplit(":")[-1].split("/")[0])) as proxy:
        chat = LastingChat(daemon.work, lambda: cutting(proxy, rng, daemon) if chat.session else calm(daemon), rng)
        chat.open()
        chat.lose()
        for number in range(PROMPTS):
            chat.ask(f"k{number}", question(number))
        chat.catch_up()
        chat.lose()
        turns = [line for line in daemon.log("turn_over") if line["session"] == chat.session]

    expected = [(f"k{number}", answer(number) + ("allow" if number == 1 else ""), "end_turn") for number in range(4)]
    assert expected == chat.turns()
    assert ["end_turn"] * PROMPTS == [one["result"]["stopReason"] for one in chat.answers.values()]
    assert (PROMPTS, 2, True) == (len(turns), max(line["attempts"] for line in turns), proxy.cuts > 0)


def calm(daemon: Daemon) -> tuple[str, str]:
    return daemon.url, daemon.token


def cutting(proxy: CuttingProxy, rng: Random, daemon: Daemon) -> tuple[str, str]:
    """Where to connect to, and when that connection is lost."""
    if proxy.cuts < CUTS:
        proxy.cut_after(client=rng.randrange(CLIENT_BYTES), server=rng.randrange(SERVER_BYTES))
    return f"ws://127.0.0.1:{proxy.port}/acp", daemon.token
