"""Bytes to lines, as they may arrive: in any pieces, of any length, of any content."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acp_broker.wire.framing import HEAD_BYTES, Lines, Overlong

# Lines of all the sizes that matter to a limit of HEAD_BYTES, blank ones and carriage returns among them.
CONTENT = st.one_of(
    st.binary(max_size=30).map(lambda data: data.replace(b"\n", b"")),
    st.sampled_from([b"", b"\r", b"  \t", b'{"a":1}\r']),
    st.integers(HEAD_BYTES - 2, HEAD_BYTES + 2).map(lambda size: b"x" * size),
    st.integers(2 * HEAD_BYTES, 5 * HEAD_BYTES).map(lambda size: b"long" + b" " * size),
)


def fed(chunks: list[bytes]) -> tuple[list[tuple[bool, bytes]], bytes]:
    """Each line with whether it was too long, and what is left at the end."""
    lines = Lines(HEAD_BYTES)
    got = [line for chunk in chunks for line in lines.feed(chunk)]
    return [(isinstance(line, Overlong), bytes(line)) for line in got], lines.close()


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places})
    return [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]


@settings(derandomize=True, max_examples=200)
@given(st.lists(CONTENT, max_size=6), st.lists(st.integers(0, 1 << 20), max_size=40), st.booleans())
def test_any_chunking_gives_the_same_lines(contents: list[bytes], places: list[int], is_whole: bool) -> None:
    """What the system calls happen to return must not change what a peer said."""
    data = b"".join(content + b"\n" for content in contents)
    data = data if is_whole else data[:-1]

    assert fed([data]) == fed(cut(data, places))


@settings(derandomize=True, max_examples=200)
@given(st.lists(CONTENT, max_size=6), st.lists(st.integers(0, 1 << 20), max_size=40))
def test_the_lines_are_those_between_the_newline_bytes(contents: list[bytes], places: list[int]) -> None:
    """ACP v1, transports, "stdio": messages are delimited by newlines; U+2028 and a carriage return are no newlines."""
    data = b"".join(content + b"\n" for content in contents)
    expected = [
        (len(content) > HEAD_BYTES, content[:HEAD_BYTES])
        for content in contents
        if len(content) > HEAD_BYTES or content.strip()
    ]

    assert (expected, b"") == fed(cut(data, places))


class Watched(bytes):
    """Counts the bytes that are looked at by searching it."""

    looked_at = 0

    def rfind(self, *args: object) -> int:
        Watched.looked_at += len(self)
        return super().rfind(*args)


def test_a_long_line_is_searched_once_however_small_its_pieces() -> None:
    """Searching all that has come so far at each piece is quadratic: a 32 MiB line would hold the loop for minutes."""
    lines, pieces = Lines(), 4096
    Watched.looked_at = 0
    for _ in range(pieces):
        lines.feed(Watched(b"x" * 256))
    [line] = lines.feed(b"\n")

    assert (pieces * 256, pieces * 256) == (Watched.looked_at, len(line))


def test_an_overlong_line_is_told_at_once_and_the_rest_of_it_is_not_kept() -> None:
    """A peer that never ends its line must neither fill the memory nor wait for an error for ever."""
    lines = Lines(HEAD_BYTES)
    lines.feed(b"x" * HEAD_BYTES)

    [told] = lines.feed(b"y")
    more = [lines.feed(b"z" * HEAD_BYTES) for _ in range(3)]

    assert (b"x" * HEAD_BYTES, [[], [], []], b"") == (told, more, lines.close())
    assert isinstance(told, Overlong)


@pytest.mark.parametrize("rest", [b'{"half":', b'{"whole":1}', b"  "])
def test_what_is_left_at_the_end_of_input_is_given_back(rest: bytes) -> None:
    """A last line without its newline may be whole: the reader of it decides."""
    lines = Lines()
    lines.feed(b"first\n" + rest)

    assert rest.strip() == lines.close()
