"""Our text frames are those that `websockets` makes, byte for byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from acp_broker.edge.frames import Messages, text_frames

LINES = st.lists(st.binary(min_size=1, max_size=300).map(lambda line: line.replace(b"\n", b"\r")))


def theirs(line: bytes) -> bytes:
    return Frame(Opcode.TEXT, line).serialize(mask=False)


@given(LINES)
def test_each_line_is_a_frame(lines: list[bytes]) -> None:
    """Only the newline byte ends a line."""
    assert b"".join(map(theirs, lines)) == text_frames(b"".join(line + b"\n" for line in lines))


@pytest.mark.parametrize("length", [1, 125, 126, 127, 128, 65_535, 65_536, 65_537])
def test_lengths_at_the_edges_of_each_header(length: int) -> None:
    """RFC 6455, section 5.2: 7, 16 or 64 bits, the shortest that holds it."""
    assert theirs(b"x" * length) == text_frames(b"x" * length + b"\n")


def test_no_line_is_no_frame() -> None:
    """An empty text message is no JSON."""
    assert [b"", b""] == [text_frames(b""), text_frames(b"\n\n")]


@pytest.mark.parametrize("text", [b"", b" ", b"\n", b"\r\n\t "])
def test_blank_messages_are_left_out(text: bytes) -> None:
    """As blank lines are on stdio: some peers send them to keep a connection alive."""
    assert Messages().add(Frame(Opcode.TEXT, text)) is None


def test_fragments_without_bytes_cost_nothing() -> None:
    """A peer may send any number of them."""
    messages = Messages()
    messages.add(Frame(Opcode.TEXT, b"[", fin=False))
    for _ in range(1000):
        messages.add(Frame(Opcode.CONT, b"", fin=False))
    kept = len(messages._parts or b"")

    assert (1, b"[]") == (kept, messages.add(Frame(Opcode.CONT, b"]")))


def test_control_frames_between_fragments_change_nothing() -> None:
    """RFC 6455, section 5.4, allows them there."""
    messages = Messages()
    frames = [Frame(Opcode.TEXT, b"[", fin=False), Frame(Opcode.PING, b"x"), Frame(Opcode.CONT, b"]")]

    assert [None, None, b"[]"] == [messages.add(frame) for frame in frames]


def test_a_character_may_be_split_between_fragments() -> None:
    """RFC 6455, section 5.6: only the whole message must be UTF-8."""
    messages = Messages()
    messages.add(Frame(Opcode.TEXT, b'"\xe2\x82', fin=False))

    assert '"\u20ac"'.encode() == messages.add(Frame(Opcode.CONT, b'\xac"'))


def test_binary_bytes_need_not_be_utf_8() -> None:
    """They are ignored, whatever they are."""
    messages = Messages()

    assert (None, True) == (messages.add(Frame(Opcode.BINARY, b"\xff")), messages.had_binary)
