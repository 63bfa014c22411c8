"""The main job, end to end with real processes: the primary fails, a fallback answers."""

from pathlib import Path

from tests.support.broker import BrokerProcess, chain

DIES = {"turns": [[{"do": "die"}]]}
SPARE = {"turns": [[{"do": "say", "text": "spare here"}]]}


def test_a_fallback_answers_for_a_primary_that_dies(tmp_path: Path) -> None:
    """The promise of the whole thing: nobody but the log and `_meta` can tell."""
    with BrokerProcess(tmp_path, chain(primary=DIES, spare=SPARE)) as broker:
        turn = broker.prompt(broker.open())

    assert ["say spare here"] == turn.words
    assert "end_turn" == turn.reply["result"]["stopReason"]
    assert ["primary crashed", "spare"] == turn.attempts
