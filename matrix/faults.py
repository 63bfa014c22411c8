"""What the providers of the matrix say, and every way in which the primary's one fails."""

from tests.support.provider.faults import CUTS, STATUSES

# The healthy turn comes first: who cannot answer it is not set up, and is left out by name.
GOOD = "good"
FAULTS = (*(name for name in STATUSES if name != "402"), "refused", "garbage", "empty", *CUTS)

# What the primary's model says where it gets that far. No word of it is in the fallback's answer.
BROKEN_WORDS = "Amber birds circle distant elms forever."
# What the fallback's model says: nothing but this may be seen where the primary showed nothing.
WHOLE_WORDS = "The spare one gives this whole answer instead."
