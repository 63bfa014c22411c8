"""Transcripts hold nothing of the machine that they were recorded on, and are small."""

import getpass
import json
import socket
from pathlib import Path

from matrix.install import ROOT
from matrix.peer import Line
from matrix.scrub import FIRST_LINES, LAST_LINES, MOST_CHARS, transcript

FOLDER = Path("/somewhere/cell")
SESSION = "0e9dfcff-8da6-445f-9972-6e22547f6257"


def scrubbed(*messages):
    """What is kept of these messages of an agent."""
    lines = [Line(1.5, is_of_agent=True, text=json.dumps(message).encode()) for message in messages]
    return [json.loads(line) for line in transcript(lines, FOLDER)]


def test_paths_names_ports_and_times_are_replaced():
    """Whoever reads the repository learns nothing of who recorded."""
    said = [
        f"{FOLDER}/work/file and {FOLDER}/claude/x and {ROOT}/claude and {Path.home()}",
        f"on {socket.gethostname()} by {getpass.getuser()} at 127.0.0.1:40123",
        "2026-11-20T16:30:33.123+00:00",
    ]
    expected = [
        "/project/file and /home/user/claude/x and /agents/claude and /home/user",
        "on user by user at 127.0.0.1:1",
        "2026-01-01T00:00:00Z",
    ]
    assert expected == [line["said"]["text"] for line in scrubbed(*({"text": text} for text in said))]


def test_an_id_is_the_same_wherever_it_stands():
    """Answers still find their sessions."""
    first, second = scrubbed(
        {"sessionId": SESSION}, {"update": {"sessionId": SESSION, "messageId": "msg_1f9d81ace001"}}
    )
    assert ({"sessionId": "id-1"}, {"sessionId": "id-1", "messageId": "id-2"}) == (
        first["said"],
        second["said"]["update"],
    )


def test_no_word_of_the_protocol_is_an_id():
    """`session_info_update` begins as some ids do."""
    said = {"sessionUpdate": "session_info_update", "kind": "tool_call_update", "method": "session/request_permission"}
    assert said == scrubbed(said)[0]["said"]


def test_long_lists_texts_and_conversations_are_cut():
    """Their beginnings show what they are."""
    (line,) = scrubbed({"list": list(range(9)), "text": "x" * 9999})
    kept = scrubbed(*({"n": number} for number in range(500)))

    assert ([0, 1], MOST_CHARS + 1) == (line["said"]["list"], len(line["said"]["text"]))
    assert (FIRST_LINES + LAST_LINES, 499) == (len(kept), kept[-1]["said"]["n"])


def test_a_line_that_is_no_json_is_kept_as_it_is():
    """Banners on stdout are part of what an agent says."""
    (line,) = [json.loads(one) for one in transcript([Line(0, is_of_agent=True, text=b"Welcome!")], FOLDER)]
    assert {"at": 0, "by": "agent", "odd": "Welcome!"} == line
