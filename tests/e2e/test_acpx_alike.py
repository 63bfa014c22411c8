"""acpx holds one conversation with an agent directly, and through a broker whose primary fails in the middle of it.

Its user cannot tell which is which: not by what is printed, not by what acpx keeps, not by the messages of the wire.
"""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import acpx
from tests.support.acpx import Acpx
from tests.support.conversation import Message, plain
from tests.support.failing import FAULTS, alone, failing
from tests.support.ways import brokered

# What an agent asks of acpx, which counts its own requests from 0 as well.
ASKS = ("fs/", "terminal/", "session/request_permission")
POLICIES = ["approve-all", "approve-reads", "deny-all"]


class Talk(NamedTuple):
    """What each command of the conversation printed, and what acpx kept of it all."""

    printed: list[list[Message]]
    kept: object
    answered_by: list[str]


class Said(NamedTuple):
    printed: str
    complaints: str
    status: int


def held(folder: Path, fault: str | None) -> Talk:
    """The conversation; without a fault directly."""
    script = folder / "primary.json"
    command = alone(folder) if fault is None else brokered(folder, failing(fault, script)).argv
    user = Acpx(folder, command, keeps_s=60)
    (user.work / "notes.txt").write_text("notes\n")
    ensured = user.run("sessions", "ensure", "--name", "s")
    session = ensured[-1]["acpxSessionId"]

    printed = [ensured, user.run("prompt", "-s", "s", "say hello")]
    if fault == "killed":
        script.unlink()
        user.kill("primary")
    printed += [user.run("prompt", "-s", "s", "now act"), user.run("set-mode", "-s", "s", "code")]
    waits = user.begin("prompt", "-s", "s", "please wait")
    assert waits.stdout is not None
    before = [waits.stdout.readline()]
    while '"waiting"' not in before[-1]:
        before.append(waits.stdout.readline())
    printed.append(user.run("cancel", "-s", "s"))
    printed.append([*map(json.loads, before), *user.end(waits)])
    [record] = user.run("sessions", "show", "s")
    printed.append(user.run("sessions", "close", "s"))
    user.until_alone()

    names = {session: "<session>", str(user.work): "<work>"}
    return Talk([traffic(messages, names) for messages in printed], kept(record, names), answered_by(printed))


def traffic(messages: list[dict], names: Mapping[str, str]) -> list[Message]:
    """Less ids, what is under `acp-broker`, and who `initialize` says it is. What is asked is answered at once."""
    asked: object = None
    plainly = []
    terminals = {one["result"]["terminalId"]: "<terminal>" for one in messages if "terminalId" in one.get("result", {})}
    for message in messages:
        if message.get("method", "").startswith(ASKS):
            asked, message = message["id"], {**message, "id": "asked"}
        elif asked is not None and "method" not in message and message["id"] == asked:
            asked, message = None, {**message, "id": "asked"}
        if "agentCapabilities" not in message.get("result", {}):
            plainly.append(plain(message, {**names, **terminals}))
    return plainly


def kept(record: dict, names: Mapping[str, str]) -> object:
    """Of a record of acpx what its user is shown of the session later, without the ids that it gives itself."""
    shown = {key: record[key] for key in ("messages", "title", "acpx", "cumulative_token_usage")}
    return json.loads(json.dumps(plain(shown, names)), object_hook=_without_id)


def _without_id(one: dict) -> dict:
    return {key: value for key, value in one.items() if key != "id"}


def answered_by(printed: list[list[dict]]) -> list[str]:
    results = [one["result"] for messages in printed for one in messages if "stopReason" in one.get("result", {})]
    return [result["_meta"]["acp-broker"]["backend"] for result in results if "acp-broker" in result.get("_meta", {})]


def once(folder: Path, policy: str, command: list[str]) -> Said:
    """What a person reads of one prompt that asks for everything."""
    user = Acpx(folder, command)
    (user.work / "notes.txt").write_text("notes\n")
    begun = user.begin("exec", "read, then act", options=[f"--{policy}", "--format", "text"])
    printed, complaints = (words.replace(str(user.work), "<work>") for words in begun.communicate(timeout=60))
    user.until_alone()
    return Said(printed, complaints, begun.returncode)


@pytest.fixture(scope="module")
def at_once() -> Iterator[ThreadPoolExecutor]:
    acpx.install()
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture(scope="module")
def talks(at_once: ThreadPoolExecutor, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str | None, Future[Talk]]:
    """The conversation held directly, by None, and through a broker by the primary's fault."""
    return {fault: at_once.submit(held, tmp_path_factory.mktemp(f"talk-{fault}"), fault) for fault in (None, *FAULTS)}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_messages_of_a_conversation_are_the_same(fault: str, talks: Mapping[str | None, Future[Talk]]) -> None:
    """Prompts in a kept session, a change of its mode, a cancel: all but ids and what stands under `acp-broker`."""
    assert talks[None].result().printed == talks[fault].result().printed


@pytest.mark.parametrize("fault", FAULTS)
def test_acpx_keeps_the_same_of_it(fault: str, talks: Mapping[str | None, Future[Talk]]) -> None:
    """Its own record, which `sessions history` and `sessions export` read."""
    assert talks[None].result().kept == talks[fault].result().kept


@pytest.mark.parametrize("fault", FAULTS)
def test_another_agent_answers_from_the_middle_on(fault: str, talks: Mapping[str | None, Future[Talk]]) -> None:
    """Else it would be no wonder that all looks the same."""
    assert ["primary", "spare"] == talks[fault].result().answered_by[:2]


@pytest.mark.parametrize(("policy", "fault"), [*zip(POLICIES, FAULTS, strict=True)])
def test_a_permission_policy_prints_the_same_to_the_letter(policy: str, fault: str, tmp_path: Path) -> None:
    """Asked for leave to read and to write, for a file, and for a terminal; the exit status is the same too."""
    (behind := tmp_path / "behind").mkdir()
    (before := tmp_path / "before").mkdir()
    config = failing(fault, behind / "primary.json")
    if fault == "killed":
        (behind / "primary.json").unlink()

    alike = once(before, policy, alone(before)), once(behind, policy, brokered(behind, config).argv)

    assert alike[0] == alike[1]
    assert "that is done" in alike[1].printed
