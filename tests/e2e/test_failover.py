"""The main job, end to end with real processes: the primary fails, a fallback answers, and what everybody is told."""

import os
import resource
import shutil
import signal
from pathlib import Path

import pytest

from tests.support.broker import BrokerProcess, agent, chain
from tests.support.heard import Turn
from tests.support.matrix import strike

DIES = {"turns": [[{"do": "die"}]]}
SPARE = {"turns": [[{"do": "say", "text": "spare here"}]]}
LOGGED_OUT = {"new": [{"do": "fail", "code": -32000, "message": "Authentication required"}]}
DRESSED = {"turns": [[{"do": "say", "text": "API Error: 529 Overloaded"}, {"do": "end"}]]}
EXHAUSTED, AFTER_COMMIT, BROKER_FAULT, AUTH_REQUIRED = -33001, -33002, -33004, -32000


def fails(**members: object) -> dict:
    return {"turns": [[{"do": "fail", **members}]]}


def error(turn: Turn) -> dict:
    return turn.reply["error"]


def test_a_fallback_answers_for_a_primary_that_dies(tmp_path: Path) -> None:
    """The promise of the whole thing: nobody but the log and `_meta` can tell."""
    with BrokerProcess(tmp_path, chain(primary=DIES, spare=SPARE)) as broker:
        turn = broker.prompt(broker.open())

    assert ["say spare here"] == turn.words
    assert "end_turn" == turn.reply["result"]["stopReason"]
    assert ["primary crashed", "spare"] == turn.attempts


def test_the_log_has_one_line_per_failover(tmp_path: Path) -> None:
    """It names the backend, why it failed, and who is next."""
    with BrokerProcess(tmp_path, chain(primary=DIES, second=fails(message="boom"), spare=SPARE)) as broker:
        broker.prompt(broker.open())

    told = [(line["backend"], line["failure"], line["why"], line["next"]) for line in broker.log("attempt_failed")]
    expected = [("primary", "crashed", "killed by SIGKILL", "second"), ("second", "unclassified", "boom", "spare")]
    assert expected == told


def test_an_exhausted_chain_says_what_each_of_it_said(tmp_path: Path) -> None:
    """One clear error: how many, who, and why, in order."""
    with BrokerProcess(tmp_path, chain(primary=DIES, spare=fails(code=529, message="overloaded"))) as broker:
        turn = broker.prompt(broker.open())

    text = "All ACP backends failed (2): primary: killed by SIGKILL | spare: overloaded"
    assert (EXHAUSTED, text) == (error(turn)["code"], error(turn)["message"])
    assert ["primary crashed", "spare overloaded"] == turn.attempts


def test_a_lone_backend_keeps_its_own_error(tmp_path: Path) -> None:
    """Nobody stood behind it: what it said is the truth, with its name."""
    with BrokerProcess(tmp_path, chain(primary=fails(code=-32602, message="Invalid params"))) as broker:
        turn = broker.prompt(broker.open())

    assert (-32602, "primary: Invalid params") == (error(turn)["code"], error(turn)["message"])


def test_a_chain_that_is_logged_out_asks_for_a_login(tmp_path: Path) -> None:
    """ACP v1, authentication: -32000 is what makes an editor offer the login."""
    with BrokerProcess(tmp_path, chain(primary=LOGGED_OUT, spare=LOGGED_OUT)) as broker:
        turn = broker.prompt(broker.open())

    text = "Authentication required: primary: Authentication required | spare: Authentication required"
    assert (AUTH_REQUIRED, text) == (error(turn)["code"], error(turn)["message"])


def test_after_the_commit_point_the_words_stay_and_the_error_says_so(tmp_path: Path) -> None:
    """Nobody else is tried: a second answer behind half of a first one helps nobody."""
    script = {
        "turns": [[{"do": "say", "text": "half"}, {"do": "stderr", "text": "no memory"}, {"do": "exit", "code": 3}]]
    }
    with BrokerProcess(tmp_path, chain(primary=script, spare=SPARE)) as broker:
        turn = broker.prompt(broker.open())

    text = (
        "primary failed after it had begun to answer: exited with code 3: no memory. "
        "Nobody else was tried: its words were already shown"
    )
    assert (AFTER_COMMIT, text) == (error(turn)["code"], error(turn)["message"])
    assert ["say half"] == turn.words


def test_a_failure_dressed_as_an_answer_is_shown_when_nobody_is_left(tmp_path: Path) -> None:
    """The last candidate's words are all there is."""
    with BrokerProcess(tmp_path, chain(primary=DIES, spare=DRESSED)) as broker:
        turn = broker.prompt(broker.open())

    assert ["say API Error: 529 Overloaded"] == turn.words
    assert "end_turn" == turn.reply["result"]["stopReason"]


def test_a_cancel_while_a_failed_attempt_is_stopped_starts_nobody_else(tmp_path: Path) -> None:
    """Between two candidates the user's cancel counts as well: the next one, already chosen, is not started."""
    deaf = {"turns": [[{"do": "ignoreCancel"}, {"do": "stall"}]]}
    limits = {"firstOutputMs": 100, "stoppingMs": 1500}
    with BrokerProcess(tmp_path, chain(primary=agent(deaf, limits=limits), spare=SPARE)) as broker:
        session = broker.open()
        request = broker.start(session)
        assert "spare" == broker.until_logged("attempt_failed")["next"]
        broker.cancel(session)
        turn = broker.until_reply(request)
        spares = broker.agents("spare")

    assert "cancelled" == turn.reply["result"]["stopReason"]
    assert ["primary silent"] == turn.attempts
    assert [] == spares


def test_a_dead_primary_costs_the_second_turn_nothing(tmp_path: Path) -> None:
    """It rests after its failure: the next turn goes to the spare at once and waits for no limit."""
    mute = agent({"turns": [[{"do": "stall"}]]}, limits={"firstOutputMs": 200})
    with BrokerProcess(tmp_path, chain(primary=mute, spare=SPARE)) as broker:
        session = broker.open()
        turns = [broker.prompt(session).attempts for _ in range(3)]

    assert [["primary silent", "spare"], ["spare"], ["spare"]] == turns


@pytest.mark.parametrize("commit", ["first_output", "submitted"])
def test_an_agent_that_died_unnoticed_is_started_again_for_the_prompt(tmp_path: Path, commit: str) -> None:
    """Between turns nobody looks: the prompt that finds it dead never reached it, so a new life of it may answer."""
    config = chain(primary={}, spare=SPARE, acp={"commitPoint": commit})
    with BrokerProcess(tmp_path, config) as broker:
        session = broker.open()
        broker.prompt(session)
        broker.pause()
        strike(broker, "primary")
        request = broker.start(session)
        broker.resume()
        turn = broker.until_reply(request)

    assert ("end_turn", ["primary"]) == (turn.reply["result"]["stopReason"], turn.attempts)


def test_a_backend_that_failed_in_one_session_rests_in_all(tmp_path: Path) -> None:
    """A second session must not pay for what the first has learnt."""
    with BrokerProcess(tmp_path, chain(primary=DIES, spare=SPARE)) as broker:
        first = broker.prompt(broker.open()).attempts
        second = broker.prompt(broker.new()).attempts

    assert [["primary crashed", "spare"], ["spare"]] == [first, second]


def test_a_wait_that_a_provider_asks_for_is_the_rest(tmp_path: Path) -> None:
    """Retry-After is honoured: once it is over, the primary is asked again, long before the ladder's first rung."""
    limited = {"do": "fail", "code": 429, "message": "slow down", "data": {"retryAfter": 0.001}}
    script = {"turns": [[limited], [{"do": "say", "text": "primary is back"}]]}
    with BrokerProcess(tmp_path, chain(primary=script, spare=SPARE)) as broker:
        session = broker.open()
        turns = [broker.prompt(session).attempts for _ in range(2)]

    assert [["primary rate_limited", "spare"], ["primary"]] == turns


def test_an_exhausted_chain_says_when_to_come_back(tmp_path: Path) -> None:
    """The shortest of the waits that were asked for is the soonest that anybody could answer."""
    waits = {name: fails(code=429, data={"retryAfter": seconds}) for name, seconds in (("primary", 90), ("spare", 40))}
    with BrokerProcess(tmp_path, chain(**waits)) as broker:
        turn = broker.prompt(broker.open())

    assert 40 == turn.told["retryAfter"]


def test_a_backend_that_comes_back_shows_its_settings_again(tmp_path: Path) -> None:
    """It died in a turn and is opened again behind it; what it says then is not taken for words of the lost turn."""
    commands = {"do": "commands", "availableCommands": [{"name": "plan", "description": "Plans"}]}
    script = {**DIES, "new": [{"do": "lateUpdates", "steps": [commands]}]}
    with BrokerProcess(tmp_path, chain(primary=script)) as broker:
        session = broker.open()
        first = broker.until_method("session/update")
        broker.prompt(session)
        again = broker.until_method("session/update")

    assert first == again


def test_a_full_disk_is_named_and_walks_no_chain(tmp_path: Path) -> None:
    """A local fault: no other backend can help, so none is tried."""
    with BrokerProcess(tmp_path, chain(primary=SPARE, spare=SPARE)) as broker:
        session = broker.open()
        limit = resource.prlimit(broker.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        turn = broker.prompt(session)
        resource.prlimit(broker.process.pid, resource.RLIMIT_FSIZE, limit)
        after = broker.prompt(session)

    assert BROKER_FAULT == error(turn)["code"]
    assert f"cannot write the session log {broker.home}" in error(turn)["message"]
    assert ["primary"] == after.attempts


def test_a_broker_without_descriptors_left_walks_no_chain(tmp_path: Path) -> None:
    """Too many sessions: the spare could not be started either, and the text says what to raise."""
    with BrokerProcess(tmp_path, chain(primary=SPARE, spare=SPARE)) as broker:
        session = broker.open()
        [primary] = broker.agents("primary")
        used = len(list(Path(f"/proc/{broker.process.pid}/fd").iterdir()))
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.prlimit(broker.process.pid, resource.RLIMIT_NOFILE, (used, limit[1]))
        os.kill(primary.pid, signal.SIGKILL)
        broker.until_logged("backend_died")
        turn = broker.prompt(session)
        resource.prlimit(broker.process.pid, resource.RLIMIT_NOFILE, limit)

    assert BROKER_FAULT == error(turn)["code"]
    assert "too many open files; raise the limit (ulimit -n)" in error(turn)["message"]
    assert ["primary broker_fault"] == turn.attempts


def test_a_folder_that_vanished_is_named_and_walks_no_chain(tmp_path: Path) -> None:
    """Nobody can work in it."""
    with BrokerProcess(tmp_path, chain(primary=SPARE, spare=SPARE)) as broker:
        broker.initialize()
        (tmp_path / "project").mkdir()
        opened = broker.call("session/new", cwd=str(tmp_path / "project"), mcpServers=[])
        (tmp_path / "project").rmdir()
        [primary] = broker.agents("primary")
        os.kill(primary.pid, signal.SIGKILL)
        broker.until_logged("backend_died")
        turn = broker.prompt(opened["result"]["sessionId"])

    assert ["primary bad_request"] == turn.attempts
    assert f"cannot be started in {str(tmp_path / 'project')!r}: there is no such folder" in error(turn)["message"]


def test_a_session_that_cannot_be_kept_is_refused_by_name(tmp_path: Path) -> None:
    """The editor learns what is wrong with this machine, not that some agent failed; nothing is started for it."""
    with BrokerProcess(tmp_path, chain(primary=SPARE, spare=SPARE)) as broker:
        broker.initialize()
        shutil.rmtree(broker.home / "sessions", ignore_errors=True)
        (broker.home / "sessions").write_text("")
        refused = broker.call("session/new", cwd=str(broker.work), mcpServers=[])["error"]
        spares = broker.agents("spare")
        (broker.home / "sessions").unlink()

    assert BROKER_FAULT == refused["code"]
    assert f"cannot create the session log {broker.home}" in refused["message"]
    assert [] == spares


def test_the_end_of_stdin_answers_the_prompts_that_wait_too(tmp_path: Path) -> None:
    """One reply each, whoever leaves: the running prompt and the queued ones end as cancelled."""
    with BrokerProcess(
        tmp_path, chain(primary={"turns": [[{"do": "say", "text": "on it"}, {"do": "stall"}]]})
    ) as broker:
        session = broker.open()
        prompts = [broker.start(session) for _ in range(3)]
        broker.until_method("session/update")
        broker.leave()

    replies = {
        message["id"]: message["result"]["stopReason"]
        for message in broker.heard
        if "result" in message and message["id"] in prompts
    }
    assert dict.fromkeys(prompts, "cancelled") == replies


def test_a_turn_that_runs_while_the_disk_fills_up_ends_and_says_so(tmp_path: Path) -> None:
    """Its words were asked for and are there; that they could not be kept is said in `_meta`."""
    script = {"turns": [[{"do": "say", "text": "one "}, {"do": "askPermission"}, {"do": "say", "text": "two"}]]}
    with BrokerProcess(tmp_path, chain(primary=script)) as broker:
        request = broker.start(broker.open())
        asked = broker.until_method("session/request_permission")
        limit = resource.prlimit(broker.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        broker.answer(asked, {"outcome": {"outcome": "selected", "optionId": "allow"}})
        turn = broker.until_reply(request)
        resource.prlimit(broker.process.pid, resource.RLIMIT_FSIZE, limit)

    assert ["say two"] == turn.words
    assert "cannot write the session log" in turn.told["unpersisted"]


def test_a_state_folder_that_cannot_be_used_is_named_and_nothing_is_started(tmp_path: Path) -> None:
    """It ends before it begins, with one sentence on stderr."""
    (tmp_path / "file").write_text("")
    with BrokerProcess(tmp_path, chain(primary=SPARE), home=tmp_path / "file" / "state") as broker:
        status = broker.ended(1)

    assert 1 == status
    assert f"cannot use the state folder {broker.home}" in broker.stderr.read_text()
