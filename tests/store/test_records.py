"""The lines of a session log: a frontend's frames are made from records and from nothing else."""

import json

import msgspec
import pytest
from msgspec import Raw

from acp_broker.store import records

UPDATES = [b'{"sessionId":"s","update":{"a":1.50}}', b'{"sessionId":"s","update":{"b":"\\u00e9"}}']
FRAMES = b"".join(b'{"jsonrpc":"2.0","method":"session/update","params":%b}\n' % update for update in UPDATES)


def test_updates_are_shown_one_message_a_line():
    """ACP v1, transports: one message per line."""
    assert FRAMES == records.update_frames(UPDATES)


def test_a_step_is_read_back_as_what_was_shown_of_it():
    """A cursor reads memory or the file and must not see a difference, to the byte."""
    line = records.step_line("t", 1.5, b'{"type":"Spoke"}', b"[]", UPDATES)

    assert (None, FRAMES) == records.frames(records.read(line), "s")


def test_what_was_shown_outside_of_steps_is_read_back():
    """Settings that come between turns."""
    line = records.line("shown", updates=[Raw(update) for update in UPDATES])

    assert (None, FRAMES) == records.frames(records.read(line), "s")


def test_a_message_for_one_frontend_is_read_back_with_its_addressee():
    """A permission request must not be shown to somebody else."""
    line = records.line("sent", to=7, frame=Raw(b'{"jsonrpc":"2.0","id":1}'))

    assert (7, b'{"jsonrpc":"2.0","id":1}\n') == records.frames(records.read(line), "s")


def test_an_answer_is_for_who_asked():
    """Ids are the frontend's own: another has the same ones."""
    line = records.line("answer", to=2, turn="t", at=1.0, frame=Raw(b'{"id":3,"result":{}}'))

    assert (2, b'{"id":3,"result":{}}\n') == records.frames(records.read(line), "s")


@pytest.mark.parametrize(
    "line",
    [
        records.line("opened", format=1, session="s"),
        records.step_line("t", 0.0, b'{"type":"Accepted"}', b"[]", []),
    ],
)
def test_other_records_are_shown_to_nobody(line):
    """They are for those who read the log."""
    assert records.frames(records.read(line), "s") is None


def test_a_prompt_is_shown_to_all_but_the_one_who_sent_it():
    """Read from the file as well, which another process may have written."""
    line = records.line("accepted", turn="t", by=7, at=1.0, prompt=Raw(b'[{"type":"text","text":"a"}]'), rules={})
    whom, frames = records.frames(records.read(line), "s")

    assert (-7, {"type": "text", "text": "a"}) == (whom, json.loads(frames)["params"]["update"]["content"])


def test_that_a_process_died_in_a_turn_is_shown_to_everybody():
    """The words stop, and nothing else would say why."""
    line = records.line("interrupted", turn="t", at=1.0, over=True)
    whom, frames = records.frames(records.read(line), "s")

    assert whom is None
    assert "[acp-broker] interrupted" in json.loads(frames)["params"]["update"]["content"]["text"]


def test_a_record_is_one_line_whatever_is_in_it():
    """Readers split at newlines."""
    line = records.line("accepted", turn="t", prompt=Raw(msgspec.json.encode([{"text": "a\nb\u2028c"}])))

    assert (1, True) == (line.count(b"\n"), line.endswith(b"\n"))


def test_the_time_of_a_step_is_kept_to_the_microsecond():
    """The stopwatch counts microseconds: what is played again from the log sees the same time."""
    assert 12.345678 == records.read(records.step_line("t", 12.345678, b"{}", b"[]", [])).now
