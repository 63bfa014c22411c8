"""Hostile bytes on a real connection: each gets the error that JSON-RPC names, or silence, and the connection lives."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.broker import chain
from tests.support.wire import Wire, error_of

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
NOT_FOUND = -32002
UNKNOWN = "acpb-of-somebody-else"


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    """One connection for all of them: every test begins by what the one before it left alive."""
    with Wire(tmp_path_factory.mktemp("wire"), chain(main={})) as wire:
        wire.initialize()
        yield wire


@pytest.fixture(scope="module")
def session(wire: Wire) -> str:
    return wire.new()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"{", (None, PARSE_ERROR)),
        (b"GET / HTTP/1.1\r", (None, PARSE_ERROR)),
        (b"\x00\x01\x02", (None, PARSE_ERROR)),
        (b"\xff\xfe", (None, PARSE_ERROR)),
        (b'{"jsonrpc":"2.0","id":1,"method":"session/list","params":{"cwd":"/\xff"}}', (None, PARSE_ERROR)),
        (b'{"jsonrpc":"2.0","id":1,"method":"session/list","params":{"cwd":"/\xed\xa0\x80"}}', (None, PARSE_ERROR)),
        (b'{"jsonrpc":"2.0","id":1,"method":"session/list"}{}', (None, PARSE_ERROR)),
        (b'[{"jsonrpc":"2.0","id":1,"method":"session/list"},{"id":2}]', (None, INVALID_REQUEST)),
        (b"[]", (None, INVALID_REQUEST)),
        (b"{}", (None, INVALID_REQUEST)),
        (b"null", (None, INVALID_REQUEST)),
        (b"7", (None, INVALID_REQUEST)),
        (b'{"jsonrpc":"2.0","id":8}', (8, INVALID_REQUEST)),
        (b'{"jsonrpc":"2.0","id":"a","method":9}', ("a", INVALID_REQUEST)),
        (b'{"id":1,"method":"m","params":' + b"[" * 90_000 + b"]" * 90_000 + b"}", (None, INVALID_REQUEST)),
        (b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":1}}', (1, INVALID_REQUEST)),
        (b'{"jsonrpc":"2.0","id":1,"method":"nothing/known"}', (1, METHOD_NOT_FOUND)),
        (b'{"jsonrpc":"2.0","id":1,"method":"session/fork","params":{}}', (1, METHOD_NOT_FOUND)),
        (b'{"jsonrpc":"2.0","id":1,"method":"session/update","params":{}}', (1, METHOD_NOT_FOUND)),
        (b'{"jsonrpc":"2.0","id":1,"method":"","params":{}}', (1, METHOD_NOT_FOUND)),
        (b'{"jsonrpc":"2.0","id":1,"method":"session/\\u006cist","params":[]}', (1, INVALID_PARAMS)),
    ],
)  # fmt: skip
def test_what_is_wrong_gets_one_error_and_the_connection_lives(
    wire: Wire, line: bytes, expected: tuple[object, int]
) -> None:
    """JSON-RPC 2.0, section 5.1; the id is null where it could not be made out."""
    assert expected == error_of(wire.answer_to(line))
    assert wire.lives()


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("session/new", {"mcpServers": []}, INVALID_PARAMS),
        ("session/new", {"cwd": 5, "mcpServers": []}, INVALID_PARAMS),
        ("session/new", {"cwd": "here", "mcpServers": []}, INVALID_PARAMS),
        ("session/new", {"cwd": "", "mcpServers": []}, INVALID_PARAMS),
        ("session/new", {"cwd": "/", "mcpServers": "none"}, INVALID_PARAMS),
        ("session/new", {"cwd": "/", "mcpServers": ["x"]}, INVALID_PARAMS),
        ("session/new", {"cwd": "/", "mcpServers": [{"type": "http", "name": 5}]}, INVALID_PARAMS),
        ("session/resume", {"sessionId": "<ours>", "cwd": "/", "mcpServers": ["x"]}, INVALID_PARAMS),
        ("session/new", {"cwd": "/", "additionalDirectories": ["there"]}, INVALID_PARAMS),
        ("session/new", None, INVALID_PARAMS),
        ("session/prompt", {"prompt": []}, INVALID_PARAMS),
        ("session/prompt", {"sessionId": "<ours>"}, INVALID_PARAMS),
        ("session/prompt", {"sessionId": "<ours>", "prompt": "hello"}, INVALID_PARAMS),
        ("session/prompt", {"sessionId": "<ours>", "prompt": None}, INVALID_PARAMS),
        ("session/prompt", {"sessionId": "<ours>", "prompt": ["hello"]}, INVALID_PARAMS),
        ("session/prompt", {"sessionId": "<ours>", "prompt": [{"text": "no type"}]}, INVALID_PARAMS),
        ("session/prompt", {"sessionId": 5, "prompt": []}, INVALID_PARAMS),
        ("session/prompt", [], INVALID_PARAMS),
        ("session/prompt", {"sessionId": UNKNOWN, "prompt": []}, NOT_FOUND),
        ("session/load", {"cwd": "/", "mcpServers": []}, INVALID_PARAMS),
        ("session/load", {"sessionId": UNKNOWN, "cwd": "/", "mcpServers": []}, NOT_FOUND),
        ("session/load", {"sessionId": "<ours>", "cwd": "/elsewhere", "mcpServers": []}, INVALID_PARAMS),
        ("session/load", {"sessionId": "../../etc/passwd", "cwd": "/", "mcpServers": []}, NOT_FOUND),
        ("session/resume", {"sessionId": UNKNOWN, "cwd": "/", "mcpServers": []}, NOT_FOUND),
        ("session/resume", {"sessionId": "<ours>", "cwd": "here", "mcpServers": []}, INVALID_PARAMS),
        ("session/close", {"sessionId": UNKNOWN}, NOT_FOUND),
        ("session/delete", {}, INVALID_PARAMS),
        ("session/set_mode", {"sessionId": UNKNOWN, "modeId": "m"}, NOT_FOUND),
        ("session/set_mode", {"sessionId": "<ours>"}, INVALID_PARAMS),
        ("session/set_config_option", {"sessionId": "<ours>", "configId": "c"}, INVALID_PARAMS),
        ("authenticate", {"methodId": "nobody/nothing"}, INVALID_PARAMS),
        ("authenticate", {}, INVALID_PARAMS),
    ],
)
def test_params_that_do_not_fit_are_refused_under_their_id(
    wire: Wire, session: str, method: str, params: object, code: int
) -> None:
    """ACP v1 schema; -32002 is its code for a session that is not known."""
    wire.say(method, json.loads(json.dumps(params).replace("<ours>", session)), "mine")

    assert ("mine", code) == error_of(json.loads(wire.next_line()))
    assert wire.lives()


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"  \t ",
        b"\r",
        b'{"jsonrpc":"2.0","id":null,"error":{"code":-32603,"message":"I did not like that notification"}}',
        b'{"jsonrpc":"2.0","error":{"code":-32603,"message":"nor that one"}}',
        b'{"jsonrpc":"2.0","id":99,"result":{"outcome":{"outcome":"selected","optionId":"allow"}}}',
        b'{"jsonrpc":"2.0","id":"never-asked","error":{"code":1,"message":"m"}}',
        b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b',"result":{}}',
        b'{"jsonrpc":"2.0","id":-1,"result":{}}',
        b'{"jsonrpc":"2.0","id":{"a":[]},"result":{}}',
        b'{"jsonrpc":"2.0","method":"nothing/known"}',
        b'{"jsonrpc":"2.0","method":"$/nothing","params":{}}',
        b'{"jsonrpc":"2.0","method":"_nobody/listens","params":{"sessionId":"who"}}',
        b'{"jsonrpc":"2.0","method":"_nobody/listens","params":[1]}',
        b'{"jsonrpc":"2.0","method":"session/cancel"}',
        b'{"jsonrpc":"2.0","method":"session/cancel","params":{"sessionId":"unknown"}}',
        b'{"jsonrpc":"2.0","method":"session/prompt","params":{"sessionId":"x","prompt":[]}}',
        b'{"jsonrpc":"2.0","method":"$/cancel_request","params":{"requestId":"never-made"}}',
        b'{"jsonrpc":"2.0","method":"$/cancel_request","params":{"requestId":"\\ud800"}}',
        b'{"jsonrpc":"2.0","method":"$/cancel_request"}',
    ],
)
def test_what_may_not_be_answered_is_not(wire: Wire, line: bytes) -> None:
    """JSON-RPC 2.0, sections 4.1 and 5: neither a notification nor an answer is ever answered."""
    wire.send(line)

    assert wire.lives()


@pytest.mark.parametrize(
    "written",
    [b"0", b"-7", b'"a"', b'""', b'"0"', b"null", b"1.50", b'"\\u00e9"', b"9" * 30, f'"{uuid.UUID(int=7)}"'.encode()],
)
def test_an_id_of_any_form_comes_back_as_it_was_written(wire: Wire, written: bytes) -> None:
    """JSON-RPC 2.0, section 5: it must be the same value; some clients compare the text."""
    wire.send(b'{"jsonrpc":"2.0","id":%b,"method":"session/list","params":{"cwd":"/nowhere"}}' % written)

    assert b'{"jsonrpc":"2.0","id":%b,"result":{"sessions":[]}}' % written == wire.next_line()


def test_an_id_may_be_used_again_once_it_was_answered(wire: Wire, session: str) -> None:
    """acpx counts per prompt: two prompts in a row have one id."""
    replies = []
    for _ in range(2):
        wire.say("session/prompt", {"sessionId": session, "prompt": [{"type": "text", "text": "x"}]}, 0)
        replies.append(wire.until_reply(0).reply["result"]["stopReason"])

    assert ["end_turn", "end_turn"] == replies


def test_many_messages_of_one_write_are_each_answered_in_order(wire: Wire) -> None:
    """A bad one among good ones costs the others nothing; carriage returns and blank lines are no messages."""
    good = b'{"jsonrpc":"2.0","id":%d,"method":"session/delete","params":{"sessionId":"unknown"}}'
    wire.put(good % 1 + b"\r\n\n\r\n{\n" + good % 2 + b"\n[]\n" + good % 3 + b"\n")
    got = [json.loads(wire.next_line()) for _ in range(5)]

    assert [1, None, 2, None, 3] == [message["id"] for message in got]
    assert [PARSE_ERROR, INVALID_REQUEST] == [got[1]["error"]["code"], got[3]["error"]["code"]]


def test_deleting_a_session_that_is_not_known_succeeds(wire: Wire) -> None:
    """ACP v1, session delete."""
    wire.say("session/delete", {"sessionId": UNKNOWN}, 5)

    assert {"jsonrpc": "2.0", "id": 5, "result": {}} == json.loads(wire.next_line())


def test_initialize_comes_first_and_takes_more_than_one_try(tmp_path: Path) -> None:
    """ACP v1, initialization: everything else needs what it agrees on; we speak version 1, whichever is asked for."""
    wrong = [{}, {"protocolVersion": "1"}, {"protocolVersion": None}, {"protocolVersion": 1.5}, []]
    with Wire(tmp_path, chain(main={})) as wire:
        wire.say("session/list", {}, 1)
        wire.say("_any/extension", {}, 2)
        wire.say("session/new", {"cwd": "/", "mcpServers": []}, 3)
        wire.say("session/cancel", {"sessionId": "x"})
        early = [error_of(json.loads(wire.next_line())) for _ in range(3)]
        for number, params in enumerate(wrong):
            wire.say("initialize", params, number)
        refused = [error_of(json.loads(wire.next_line())) for _ in wrong]
        wire.say("initialize", {"protocolVersion": 2, "clientCapabilities": None, "clientInfo": None, "new": 1}, "i")
        agreed = json.loads(wire.next_line())

    assert [(1, INVALID_REQUEST), (2, INVALID_REQUEST), (3, INVALID_REQUEST)] == early
    assert [(number, INVALID_PARAMS) for number in range(len(wrong))] == refused
    assert ("i", 1) == (agreed["id"], agreed["result"]["protocolVersion"])


def test_half_a_line_at_the_end_of_input_is_an_error_and_a_clean_exit(tmp_path: Path) -> None:
    """A client that dies in mid-write must not be taken for one that is there."""
    with Wire(tmp_path, chain(main={})) as wire:
        wire.initialize()
        wire.put(b'{"jsonrpc":"2.0","id":5,"method":"session/li')
        wire.leave()

    assert (None, PARSE_ERROR) == error_of(wire.heard[-1])


def test_what_was_asked_before_the_end_of_input_is_answered(tmp_path: Path) -> None:
    """`printf ... | acp-broker stdio` is how people try an agent; the last newline is easily forgotten."""
    with Wire(tmp_path, chain(main={})) as wire:
        wire.say("initialize", {"protocolVersion": 1}, 0)
        wire.put(b'{"jsonrpc":"2.0","id":1,"method":"session/new","params":{"cwd":"/","mcpServers":[]}}')
        wire.leave()

    assert {0, 1} == {message["id"] for message in wire.heard if "result" in message}
