"""What others have written, on its way to a person's terminal."""

import re

# What a terminal would obey: the words of agents and clients are shown, not carried out.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """The text without what a terminal would obey."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
