"""What the providers of the matrix say, and every way in which the primary's one fails."""

from tests.support.provider.faults import CUTS, STATUSES
from tests.support.provider.shape import THOUGHTS

# The healthy turn comes first: who cannot answer it is not set up, and is left out by name.
GOOD = "good"
GROUPS = (
    tuple(name for name in STATUSES if name != "402"),
    ("refused", "garbage", "empty", *(name for name in CUTS if name.endswith(("-headers", "-first")))),
    tuple(name for name in CUTS if not name.endswith(("-headers", "-first"))),
)
FAULTS = tuple(name for group in GROUPS for name in group)

# What the primary's model says where it gets that far. No word of it is in the fallback's answer.
BROKEN_WORDS = "Amber birds circle distant elms forever."
# What it thinks first, in `think-reset`.
BROKEN_THOUGHTS = "".join(THOUGHTS)
# What the fallback's model says: nothing but this may be seen where the primary showed nothing.
WHOLE_WORDS = "The spare one gives this whole answer instead."

# An agent's habits are learnt from as many turns (core.witness); only the habit tells an answer that just stops.
_LEARNT_FROM = 2


def healthy_before(fault: str) -> int:
    """How many healthy turns of the session come before the one that fails."""
    return _LEARNT_FROM if fault.endswith("-mid") else 0


def first_fault(fault: str) -> str:
    """What the provider does from the start."""
    return GOOD if healthy_before(fault) else fault


# Where an agent ends half an answer exactly as a whole one, usage and all: who only hears the agent cannot know.
UNTOLD = frozenset({("deepagents", "eof-mid"), ("pi", "err-mid")})
