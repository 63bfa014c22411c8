"""Where in a session log's file its positions are: a write that failed is in the positions, but not in the file.

positions  0 ------------- 700 ..... 900 ------->     700 to 900 could not be written
offsets    0 ------------- 700 700 ------------->
"""

from bisect import bisect_right


class Stretches:
    """What is in the file without a gap, as (position, offset) of its beginning; a failed write makes a new one."""

    def __init__(self) -> None:
        self._begun = [(0, 0)]

    def begin(self, position: int, offset: int) -> None:
        self._begun.append((position, offset))

    def take_back(self) -> None:
        """The last one never got anything."""
        self._begun.pop()

    def position(self, offset: int) -> int:
        """Of an offset in the last stretch."""
        start, base = self._begun[-1]
        return start + offset - base

    def found(self, offset: int) -> int:
        """The position of any offset."""
        index = bisect_right(self._begun, offset, key=lambda stretch: stretch[1]) - 1
        start, base = self._begun[index]
        return start + offset - base

    def place(self, position: int, written: int) -> tuple[int, int, int | None]:
        """The offset of a position, how much of its stretch the file has from there on, and where the next one begins.

        `written`: the end of the last one in the file. What is left is not above zero for what was left out.
        """
        index = bisect_right(self._begun, position, key=lambda stretch: stretch[0]) - 1
        start, base = self._begun[index]
        after, end = self._begun[index + 1] if index + 1 < len(self._begun) else (None, written)
        offset = base + position - start
        return offset, end - offset, after

    def offset(self, position: int, written: int) -> int:
        """Where in the file that position is; for one that a failed write left out, where the next one is."""
        offset, left, _ = self.place(position, written)
        return offset + min(left, 0)
