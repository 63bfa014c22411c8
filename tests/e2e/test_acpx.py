"""acpx makes a new broker for every prompt: the session is the one that was made first, whoever answers in it."""

import json
from typing import NamedTuple

import pytest

from tests.support import acpx
from tests.support.acpx import Acpx
from tests.support.broker import agent, chain
from tests.support.ways import brokered

# An empty turn: the next one answers, and the primary may answer again in the turn after that.
_FAILS = [{"do": "end"}]
_WAITS = [{"do": "say", "text": "waiting"}, {"do": "waitCancel"}]
PRIMARY = {
    "turns": [
        [
            {"do": "ifText", "contains": "second", "steps": _FAILS},
            {"do": "ifText", "contains": "wait", "steps": _WAITS},
            {"do": "say", "text": "the primary answers"},
        ]
    ]
}
SPARE = {"turns": [[{"do": "say", "text": "the spare answers"}]]}


class Talk(NamedTuple):
    """What acpx printed of `sessions ensure`, twice, of three prompts, and of one that was cancelled."""

    ensured: list[dict]
    turns: list[list[dict]]
    cancelled: list[dict]


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Talk:
    acpx.install()
    folder = tmp_path_factory.mktemp("acpx")
    primary = agent(PRIMARY)
    primary["command"] += ["--memory", str(folder / "memory")]
    user = Acpx(folder, brokered(folder, chain(primary=primary, spare=agent(SPARE))).argv)
    ensured = [user.run("sessions", "ensure", "--name", "s")[-1] for _ in range(2)]
    turns = []
    for text in ("the first", "the second", "the third"):
        user.until_alone()
        turns.append(user.run("prompt", "-s", "s", text))
    user.until_alone()
    waits = user.begin("prompt", "-s", "s", "please wait")
    assert waits.stdout is not None
    before = []
    while not before or b"waiting" not in before[-1]:
        before.append(waits.stdout.readline().encode())
    user.run("cancel", "-s", "s")
    cancelled = user.end(waits)
    user.until_alone()
    return Talk(ensured, turns, [*map(json.loads, before), *cancelled])


def said(messages: list[dict]) -> str:
    updates = [one["params"]["update"] for one in messages if one.get("method") == "session/update"]
    return "".join(one["content"]["text"] for one in updates if one["sessionUpdate"] == "agent_message_chunk")


def told(messages: list[dict]) -> dict:
    return messages[-1]["result"]["_meta"]["acp-broker"]


def test_a_session_is_made_once(talk: Talk) -> None:
    """`sessions ensure` of one that is there finds it."""
    first, second = talk.ensured

    assert (True, False, first["acpxSessionId"]) == (first["created"], second["created"], second["acpxSessionId"])


def test_three_processes_go_on_in_one_session(talk: Talk) -> None:
    """Resumed by each: acpx would make another session, without a word, if it could not be."""
    methods = [[one["method"] for one in turn if "id" in one and "method" in one] for turn in talk.turns]

    assert [["initialize", "session/resume", "session/prompt"]] * 3 == methods


def test_the_spare_answers_the_second_turn_and_the_primary_the_third(talk: Talk) -> None:
    """A failover lasts no longer than it must, in other processes as well."""
    assert ["the primary answers", "the spare answers", "the primary answers"] == list(map(said, talk.turns))


def test_each_is_handed_the_one_turn_that_it_missed(talk: Talk) -> None:
    """The primary finds its own memory again, and lacks what the spare said."""
    handed = [told(turn).get("handoff") for turn in talk.turns]

    assert [None, {"turns": 1, "leftOut": 0}, {"turns": 1, "leftOut": 0}] == handed


def test_a_cancel_from_another_process_ends_the_turn(talk: Talk) -> None:
    """With its words kept, and `cancelled`."""
    assert ("waiting", "cancelled") == (said(talk.cancelled), talk.cancelled[-1]["result"]["stopReason"])
