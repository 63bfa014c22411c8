"""Somebody who talks: what people and models write about failures, and no program that reports one does."""

import re

# Words about a message, about the work, or of somebody who did something: no notice has them.
TALKS = re.compile(
    r"\b(?:means?|meaning|indicates?|(?<!please )refers? to|because|since|comes? from|happens?|occurs?|for example"
    r"|such as|that is|that's|thus|hence|therefore"
    r"|(?:is|are|was|were|be|been|get|gets|got) (?:returned|sent by|raised|thrown|what|caught|retried|logged|printed"
    r"|handled|done in|rotated|converted|cached|defined|inherited)"
    r"|let me|let's|here(?:'s| is| are)"
    r"|in (?:the|your|this|that|my) (?:code|logs?|file|tests?|script|function|handler|config|fixture|repo|middleware)"
    r"|your (?:tests?|code|script|loop|function|app|handler|middleware|fixture|branch|database|container)"
    r"|(?:run|use|with|via) `?(?:gh|git|npm|npx|yarn|pnpm|pip|uv|docker|kubectl|cargo|make|curl|psql|brew|apt|sudo"
    r"|ulimit)"
    r"|line \d+)\b"
    # somebody speaks of himself, and not only of his trouble
    r"|(?-i:\bI\b)(?! (?:encountered|ran into|hit an|got an|apologi[sz]e|cannot|can't|could))"
    r"(?! am (?:sorry|unable|having))"
    r"(?!(?:'m|\u2019m) (?:sorry|unable|having|experiencing))"
    # a source file
    r"|\b[\w-]{1,40}\.(?:py|tsx?|jsx?|mjs|go|rs|java|rb|php|cs|cpp|hpp|kt|swift|sql|toml|ya?ml)\b"
    # where databases and queues listen, and no provider does
    r"|:(?:5432|3306|6379|27017|5672|9092|1433)\b",
    re.IGNORECASE,
)
# What explains, where the wording alone proves little.
_HEDGES = re.compile(
    r"\b(?:usually|typically|often|is (?:what|one|an?|the|not|done)|are (?:not|the)"
    r"|to (?:fix|handle|avoid|solve|resolve)"
    r"|you (?:can|could|should|need to|may) (?:fix|handle|catch|wrap|add|use|change|set)|i (?:am|was|stopped)"
    r"|not (?:a|an|the|on) |when|so (?:that|i|we|you|log))\b",
    re.IGNORECASE,
)
_LAID_OUT = re.compile(r"```|\?\s*$|^\s{0,3}(?:[-*+]|\d+[.)]) |^#{1,6} |^>", re.MULTILINE)
# Somebody else's words in a notice: a provider's JSON, an address.
_QUOTED = re.compile(r"\{[\s\S]*\}|https?://\S+")


def is_talk(words: str, *, is_proven: bool) -> bool:
    """Whether somebody talks here. `is_proven`: its wording is a program's, so that hedging alone does not count."""
    prose = _QUOTED.sub("", words)
    if TALKS.search(prose) or _LAID_OUT.search(prose):
        return True
    return not is_proven and _HEDGES.search(prose) is not None
