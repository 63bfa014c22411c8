"""Whether a good answer of an agent says what it used (`usage`): learnt from turns that are beyond doubt.

Where it is the habit, a turn without it is one in which no model spoke: evidence, beside a wording, of a failure.
"""

# Once may be chance.
HABIT = 2


def seen(count: int, *, is_present: bool) -> int:
    """How many answers in a row have had it, after one more turn that is beyond doubt; no higher than HABIT."""
    return min(count + 1, HABIT) if is_present else 0


def habit(count: int | None) -> bool | None:
    """Whether so many in a row are a habit; None before it can be told. The last one alone tells that it is none."""
    if count == 0:
        return False
    return True if count is not None and count >= HABIT else None
