"""What a line says, or which error it deserves: `read` never raises, and changes nothing of what it keeps."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from acp_broker.errors import INVALID_REQUEST, PARSE_ERROR, RpcError
from acp_broker.wire import jsonrpc
from acp_broker.wire.framing import Overlong
from acp_broker.wire.jsonrpc import Malformed, Notification, Request, Response, read

# What messages and almost-messages are made of.
TOKENS = st.sampled_from(
    [b"{", b"}", b"[", b"]", b",", b":", b'"id":', b'"method":', b'"params":', b'"result":', b'"error":', b'"code":',
     b'"message":', b'"m"', b'"', b"\\", b"\\u", b"\\ud83d", b"1", b"-", b"1e999", b"0.50", b"null", b"true", b" ",
     b"\xff", b"\x00"]
)  # fmt: skip
ALMOST = st.lists(TOKENS, max_size=20).map(b"".join)
IDS = [b"0", b"-1", b'"a"', b'""', b'"0"', b"null", b"1.50", b"1e3", b'"\\u0061"', b'"9b2f-uuid"', b"9" * 40]


def deep(levels: int) -> bytes:
    return b'{"id":1,"method":"x","params":' + b"[" * levels + b"]" * levels + b"}"


@settings(derandomize=True, max_examples=500)
@given(st.binary(max_size=60) | ALMOST | ALMOST.map(lambda members: b'{"id":1,"method":"m",' + members + b"}"))
def test_read_never_raises(line: bytes) -> None:
    """A peer's bytes can be anything; an exception would cost its neighbours in the same read their turn."""
    for form in (line, Overlong(line)):
        assert isinstance(read(form), Request | Notification | Response | Malformed)


@pytest.mark.parametrize("id", IDS)
def test_an_id_comes_back_as_it_was_written(id: bytes) -> None:  # noqa: A002
    """JSON-RPC 2.0, section 5: the id of the answer must be the same as the request's; 1.50 is not 1.5."""
    match read(b'{"jsonrpc":"2.0","id":%b,"method":"m"}' % id):
        case Request(raw):
            assert b'{"jsonrpc":"2.0","id":%b,"result":{}}\n' % id == jsonrpc.result(raw, {})


def test_params_are_kept_as_they_were_written() -> None:
    """Numbers and escapes must reach the other side as this side wrote them."""
    params = b'{ "n" : 1.50, "e":"\\u00e9\\/", "z":1e+05,\r"big":123456789012345678901234567890 }'

    assert Notification("m", Raw(params)) == read(b'{"method":"m","params":' + params + b"}")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"{", PARSE_ERROR),
        (b"hello", PARSE_ERROR),
        (b'{"id":1,"method":"m"} {"id":2}', PARSE_ERROR),
        (b'{"method":"\xff"}', PARSE_ERROR),
        (b'{"method":"m","params":{"text":"\xed\xa0\x80"}}', PARSE_ERROR),
        (b"[]", INVALID_REQUEST),
        (b'[{"id":1,"method":"m"}]', INVALID_REQUEST),
        (b'"hello"', INVALID_REQUEST),
        (b"null", INVALID_REQUEST),
        (b"{}", INVALID_REQUEST),
        (b'{"jsonrpc":"2.0"}', INVALID_REQUEST),
        (Overlong(b'{"method":"m","params":{"id":1,"text":"xxx'), INVALID_REQUEST),
        (Overlong(b'{"method":"m","params":"xxx\\",\\"id\\":1,'), INVALID_REQUEST),
        (Overlong(b'{"id":nonsense,"method":"m","params":"xxx'), INVALID_REQUEST),
        (Overlong(b'{"id":"cut off'), INVALID_REQUEST),
        (Overlong(b'[{"id":1,"method":"m","params":"xxx'), INVALID_REQUEST),
        (Overlong(b'{"id":{"a":1},"params":"'), INVALID_REQUEST),
        (deep(5000), INVALID_REQUEST),
        (b"[" * 100_000, INVALID_REQUEST),
    ],
)
def test_what_is_no_message_deserves_one_error_with_the_id_null(line: bytes, code: int) -> None:
    """JSON-RPC 2.0, section 5: null where the id could not be detected."""
    match read(line):
        case Malformed(got, _, id):
            assert (code, jsonrpc.NULL) == (got, id)
        case message:
            pytest.fail(f"read as {message}")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"id":7,"method":5}', b"7"),
        (Overlong(b'{"jsonrpc":"2.0","id":7,"method":"session/prompt","params":{"prompt":[{"text":"xxx'), b"7"),
        (Overlong(b' { "method" : "a\\"b" , "id" : "c,\\"d" , "params" : ['), b'"c,\\"d"'),
        (Overlong(b'{"id":-1.50e3,"params":'), b"-1.50e3"),
    ],
)
def test_an_id_that_can_be_made_out_is_used_in_the_error(line: bytes, expected: bytes) -> None:
    """The peer can then tell which of its requests was wrong, and does not wait for ever."""
    match read(line):
        case Malformed(code, _, id):
            assert (INVALID_REQUEST, Raw(expected)) == (code, id)


def test_an_answer_that_is_too_long_is_an_error_to_who_asked() -> None:
    """An error back to its sender would answer a request of his that has the same id; the agent would wait for ever."""
    match read(Overlong(b'{"jsonrpc":"2.0","id":7,"result":{"content":"xxx')):
        case Response(id, RpcError(code=code)):
            assert (Raw(b"7"), INVALID_REQUEST) == (id, code)
        case message:
            pytest.fail(f"read as {message}")


@pytest.mark.parametrize("levels", [10, 500, 800])
def test_what_was_read_can_be_read_again_inside_a_record_and_from_a_deeper_stack(levels: int) -> None:
    """A message at the very edge of what the parser follows must not fail later, in the middle of a turn."""

    def deeper(frames: int) -> object:
        if frames:
            return deeper(frames - 1)
        return msgspec.json.decode(b'{"record":{"params":%b}}' % deep(levels), type=dict[str, dict[str, Raw]])

    assert isinstance(read(deep(levels)), Request)
    assert deeper(50)


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_a_long_message_may_be_as_deep_as_a_short_one(opening: bytes, closing: bytes) -> None:
    """Its brackets are looked for in another way."""
    line = b'{"id":1,"method":"x","params":{"text":"%b","nested":%b}}'
    read_as: dict[bytes, list[type]] = {b"short": [], b"x" * 200_000: [], b"[{" * 100_000: []}
    for text, found in read_as.items():
        for levels in range(100, 1500, 20):
            found.append(type(read(line % (text, opening * levels + b"1" + closing * levels))))
    short, *long = read_as.values()

    assert ([short, short], {Request, Malformed}) == (long, set(short))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (jsonrpc.request(7, "m", {"a": 1}), b'{"jsonrpc":"2.0","id":7,"method":"m","params":{"a":1}}\n'),
        (jsonrpc.notification("m", Raw(b"{}")), b'{"jsonrpc":"2.0","method":"m","params":{}}\n'),
        (jsonrpc.result(Raw(b"1.50"), None), b'{"jsonrpc":"2.0","id":1.50,"result":null}\n'),
    ],
)
def test_what_is_written_is_one_line(line: bytes, expected: bytes) -> None:
    """An id comes back as its peer wrote it."""
    assert expected == line


@pytest.mark.parametrize("line", [b'{"id":null,"result":{}}', b'{"error":{"code":1,"message":"m"}}', b'{"result":1}'])
def test_an_answer_without_an_id_is_nobodys(line: bytes) -> None:
    """Clients exist that answer notifications."""
    match read(line):
        case Response(id):
            assert id is None
        case message:
            pytest.fail(f"read as {message}")


def test_an_error_of_another_shape_is_kept_whole() -> None:
    """What an agent meant must reach the log even when it does not know JSON-RPC."""
    match read(b'{"id":1,"error":"quota exceeded"}'):
        case Response(_, RpcError(data=data)):
            assert Raw(b'"quota exceeded"') == data


@pytest.mark.parametrize("id", [b'"\\ud800"', b"9" * 5000])
def test_an_id_that_no_value_holds_is_the_same_as_itself_alone(id: bytes) -> None:  # noqa: A002
    """`$/cancel_request` compares ids by value; one that has none must not break the comparison."""
    assert id == jsonrpc.same_id(Raw(id))


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        (rb"\ud83d", rb"\ufffd"),
        (rb"a\uD83D b", rb"a\ufffd b"),
        (rb"\ude00\ud83d", rb"\ufffd\ufffd"),
        (rb"\ud83d\ud83d\ude00", rb"\ufffd\ud83d\ude00"),
        (rb"\ud83d\n\\ud83d\u00e9", rb"\ufffd\n\\ud83d\u00e9"),
    ],
)
def test_half_a_surrogate_pair_is_read_as_the_replacement_character(written: bytes, read_as: bytes) -> None:
    """JavaScript cuts strings inside an emoji: a whole message must not be lost for it."""
    line = b'{"method":"m","params":{"text":"%b"}}'

    assert read(line % read_as) == read(line % written)


def test_two_spellings_of_one_id_are_the_same() -> None:
    """JSON says so: an escape is only another way to write the character."""
    assert jsonrpc.same_id(Raw(b'"a"')) == jsonrpc.same_id(Raw(b'"\\u0061"'))
