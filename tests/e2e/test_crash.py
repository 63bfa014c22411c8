"""The broker itself dies: what it had shown is in its log, whole, and the next one is not hindered."""

from pathlib import Path

import msgspec

from acp_broker.store.reading import read_records
from tests.support.broker import BrokerProcess, chain
from tests.support.heard import shown
from tests.support.session_logs import check_logs

AT = {"do": "ext", "method": "_at"}
TALKS = {"turns": [[{"do": "say", "text": "kept words", "chunks": 5}, AT, {"do": "stall"}]]}
FLOODS = {"turns": [[{"do": "repeat", "steps": [{"do": "flood", "count": 2000, "text": "word ", "perWrite": 50}]}]]}


def logs(home: Path) -> list[Path]:
    return list((home / "sessions").glob("*.jsonl"))


def words_in(path: Path) -> list[str]:
    """What a session's log says was shown."""
    updates = [update for record in read_records(path) for update in record.updates or ()]
    return [shown(msgspec.json.decode(update)["update"]) for update in updates]


def killed(folder: Path, script: dict, after: int) -> tuple[BrokerProcess, list[str]]:
    """A broker that was killed in mid-turn, once so many updates were heard; and these."""
    with BrokerProcess(folder, chain(primary=script)) as broker:
        session = broker.open()
        broker.start(session)
        for _ in range(after):
            broker.until_method("session/update")
        broker.kill()
        while broker.read() is not None:  # what was written before it died is still heard
            pass
        assert [] == broker.left_over()
    heard = [message["params"]["update"] for message in broker.heard if message.get("method") == "session/update"]
    return broker, [shown(update) for update in heard]


def test_whatever_was_shown_is_in_the_log_after_a_sigkill(tmp_path: Path) -> None:
    """A frontend sees nothing that was not appended first."""
    broker, heard = killed(tmp_path, TALKS, after=5)

    assert heard == words_in(logs(broker.home)[0])


def test_a_sigkill_in_a_flood_loses_no_word_that_was_shown(tmp_path: Path) -> None:
    """The log may know more than the frontend has read, and never less; a torn last record is left out."""
    broker, heard = killed(tmp_path, FLOODS, after=3000)

    assert heard == words_in(logs(broker.home)[0])[: len(heard)]


def test_the_log_of_a_killed_broker_plays_again(tmp_path: Path) -> None:
    """It ends in the middle of a turn; every step that it has is one that the machine takes."""
    broker, _ = killed(tmp_path, TALKS, after=5)

    assert check_logs(broker.home) > 0


def test_an_interrupted_turn_is_never_run_again_silently(tmp_path: Path) -> None:
    """The next broker answers what it is asked, and touches nothing of what the last one left."""
    broker, _ = killed(tmp_path, TALKS, after=5)
    log = logs(broker.home)[0]
    before = log.read_bytes()
    (tmp_path / "next").mkdir()
    with BrokerProcess(
        tmp_path / "next", chain(primary={"turns": [[{"do": "say", "text": "fresh"}]]}), home=broker.home
    ) as following:
        turn = following.prompt(following.open())

    assert ["say fresh"] == turn.words
    assert before == log.read_bytes()


def test_a_prompt_is_in_the_log_before_it_is_run(tmp_path: Path) -> None:
    """What a crash interrupts can be named: the prompt stands before the first step of its turn."""
    broker, _ = killed(tmp_path, TALKS, after=5)

    records = [record for record in read_records(logs(broker.home)[0]) if record.record in ("accepted", "step")]
    assert "accepted" == records[0].record
    assert [{"type": "text", "text": "hello"}] == msgspec.json.decode(records[0].prompt)


def test_what_a_frontend_had_seen_is_replayed_by_the_next_broker(tmp_path: Path) -> None:
    """session/load after kill -9: every word, in order, once; and that the turn was interrupted."""
    broker, heard = killed(tmp_path, TALKS, after=5)
    (tmp_path / "next").mkdir()
    with BrokerProcess(tmp_path / "next", chain(primary=TALKS), home=broker.home) as following:
        following.initialize()
        following.call("session/load", sessionId=broker.sessions[0], cwd=str(broker.work), mcpServers=[])
    replayed = [shown(one["params"]["update"]) for one in following.heard if one.get("method") == "session/update"]
    words = [one for one in replayed if one.startswith("say ")]

    assert (heard, True) == (words[:-1], words[-1].startswith("say [acp-broker] interrupted"))


def test_a_session_goes_on_after_its_broker_was_killed(tmp_path: Path) -> None:
    """The lock on its log went with the process that held it."""
    broker, _ = killed(tmp_path, TALKS, after=5)
    (tmp_path / "next").mkdir()
    fresh = {"turns": [[{"do": "say", "text": "fresh"}]]}
    with BrokerProcess(tmp_path / "next", chain(primary=fresh), home=broker.home) as following:
        following.initialize()
        following.call("session/resume", sessionId=broker.sessions[0], cwd=str(broker.work), mcpServers=[])
        turn = following.prompt(broker.sessions[0])

    assert (["say fresh"], "end_turn") == (turn.words[-1:], turn.reply["result"]["stopReason"])
