"""An end in time that no clock jump can put off.

The wall clock may be set, the monotonic one starts anew at each boot: an end is kept on both, with its length, and
whichever says soonest is right. A jump can only shorten.
"""

from msgspec import Struct


class Until(Struct, frozen=True):
    """`wall` in seconds since the epoch, `now` on the monotonic clock of this boot, `length_s` the whole of it."""

    wall: float
    now: float
    length_s: float


def until_after(length_s: float, now: float, wall: float) -> Until:
    """The end of a span that begins now."""
    return Until(wall + length_s, now + length_s, length_s)


def left(until: Until | None, now: float, wall: float) -> float:
    """Seconds that remain; 0 for what is over or never began."""
    return 0.0 if until is None else max(0.0, min(until.wall - wall, until.now - now, until.length_s))
