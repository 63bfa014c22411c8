"""Server-sent events, in whatever pieces they come."""

import pytest

from acp_broker.errors import WireError
from backends.http.sse import Event, EventStream

STREAM = b"\xef\xbb\xbf: hello\r\nevent: ping\r\ndata: {}\r\n\r\ndata: a\ndata:b\n\nid: 7\n\rdata: last\r\r"
EVENTS = [Event("ping", b"{}"), Event("", b"a\nb"), Event("", b"last")]


@pytest.mark.parametrize("size", range(1, len(STREAM) + 1))
def test_events_are_the_same_in_pieces_of_any_size(size):
    """A read ends where the network likes: between CR and LF, in the middle of a byte order mark."""
    stream = EventStream()
    pieces = [STREAM[start : start + size] for start in range(0, len(STREAM), size)]

    assert EVENTS == [event for piece in [*pieces, b"\n"] for event in stream.feed(piece)]


def test_an_event_that_is_not_whole_is_none():
    """WHATWG HTML, 9.2.6: what the end of the stream cuts off is dropped."""
    assert [] == EventStream().feed(b"data: half\n")


def test_comments_are_no_events():
    """Keep-alives say nothing."""
    assert [] == EventStream().feed(b": OPENROUTER PROCESSING\n\n" * 3)


@pytest.mark.parametrize("flood", [b"data: " + b"x" * 100, b"data: xxxxxxxxxx\n" * 9, b"data:\n" * 9])
def test_an_event_without_an_end_is_refused(flood):
    """Memory is not the provider's to fill."""
    with pytest.raises(WireError):
        EventStream(max_event_bytes=64).feed(flood)


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r:"])
@pytest.mark.parametrize("size", [1_000, 1_009, 70_000])
def test_a_long_line_is_the_same_in_pieces(size, end):
    """A picture in one event, however it ends."""
    stream, sent = EventStream(), b"data: " + b"x" * 199_994 + end
    events = [event for start in range(0, len(sent), size) for event in stream.feed(sent[start : start + size])]

    assert [Event("", b"x" * 199_994)] == events


def test_a_long_line_is_read_once():
    """With each read anew it would stop the whole broker for minutes."""
    stream, looked = EventStream(), []
    stream._lines = lambda text: looked.append(len(text)) or [text]
    for _ in range(200):
        stream.feed(b"x" * 1_000)

    assert sum(looked) < 5_000_000


def test_of_an_object_that_does_not_end_no_more_is_kept_than_of_an_event():
    """Memory is not the provider's to fill."""
    stream = EventStream(max_event_bytes=64)
    stream.feed(b"{\n" + b"x\n" * 1_000)

    assert len(stream.bare()) <= 64


@pytest.mark.parametrize("size", [1, 7, 100])
def test_an_object_that_is_no_event_is_kept(size):
    """Google breaks a stream off with an error in bare JSON; comments are no part of it."""
    stream, sent = EventStream(), b'data: a\n\n{\n  "error": {\n: waiting\n    "code": 503\n  }\n}'
    events = [event for start in range(0, len(sent), size) for event in stream.feed(sent[start : start + size])]

    assert ([Event("", b"a")], b'{  "error": {    "code": 503  }}') == (events, stream.bare())


def test_fields_that_nobody_knows_are_no_object():
    """WHATWG HTML, 9.2.6: they are passed over."""
    stream = EventStream()
    stream.feed(b"id: 7\nretry: 10\nfoo\ndata: {")

    assert b"" == stream.bare()
