"""What is known of one agent's own words: how it tells its provider's failure, its retries, and what is no answer.

`Habits()` is the agent that nobody has described; the general rules of `doubt` hold for it and for all others.
"""

import re
from typing import NamedTuple

from msgspec import Struct

from acp_broker.core.failures import FailureKind


class Pattern(NamedTuple):
    """Text in which `regex` is found means `kind`."""

    regex: re.Pattern[str]
    kind: FailureKind


class Habits(Struct, frozen=True):
    """One agent's own wordings.

    `notices` tell that its provider failed, and fit the beginning of a message, after its marks. One that fits the
    whole message settles the matter; one that fits only the beginning does so unless the rest explains. `kind` counts
    where the text itself says nothing more exact.
    `retrying` fit a whole chunk that says that it tries its provider again.
    `asides` fit the beginning of a chunk that is the adapter's and no answer: a banner, a warning, a system prompt.
    `reports_usage`: whether a good answer of it carries `usage`; None: it is learnt.
    `renews_usage`: where that is its habit, a good end without it, or with the very numbers of the turn before, is the
    end of half an answer.
    """

    notices: tuple[Pattern, ...] = ()
    retrying: tuple[re.Pattern[str], ...] = ()
    asides: tuple[re.Pattern[str], ...] = ()
    reports_usage: bool | None = None
    renews_usage: bool = False


UNKNOWN = Habits()
