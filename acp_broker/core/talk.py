"""Somebody who talks: what people and models write about failures, and no program that reports one does."""

import re

# Words about a message, about the work, or of somebody who did something: no notice has them.
TALKS = re.compile(
    r"\b(?:means?|meaning|indicates?|(?<!please )refers? to|because|since|comes? from|happens?|occurs?|that is"
    r"|that's|thus|hence|therefore"
    r"|(?:is|are|was|were|be|been|get|gets|got) (?:returned|sent by|raised|thrown|what|caught|retried|logged|printed"
    r"|handled|done in|rotated|converted|cached|defined|inherited)"
    r"|let me|let's|here(?:'s| is| are)"
    r"|in (?:the|your|this|that|my) (?:code|logs?|file|tests?|script|function|handler|config|fixture|repo|middleware)"
    r"|your (?:tests?|code|script|loop|function|app|handler|middleware|fixture|branch|database|container)"
    r"|(?:run|use|with|via) `?(?:gh|git|npm|npx|yarn|pnpm|pip|uv|docker|kubectl|cargo|make|curl|psql|brew|apt|sudo"
    r"|ulimit)"
    r"|line \d+|on port \d+|dev server|your (?:node|process|health|scraper|crawler|pipeline|cluster))\b"
    # who names his source
    r"|(?-i:, says [A-Z])"
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
    r"\b(?:usually|typically|often|for example|such as|is (?:what|one|an?|the|done)|are (?:not|the)"
    r"|is not (?!available|enabled|supported|valid|allowed|active|found|configured|authori|permitted|set|reach|ready"
    r"|loaded)"
    r"|to (?:fix|handle|avoid|solve|resolve)"
    r"|you (?:can|could|should|need to|may) (?:fix|handle|catch|wrap|add|use|change|set)|i (?:am|was|stopped)"
    r"|not (?:a|an|the|on) |when|so (?:that|i|we|you|log))\b",
    re.IGNORECASE,
)
# The matter of programmers, and no provider's.
_WORK = re.compile(
    r"\b(?:tests?|assert\w*|compil\w+|migrations?|builds?|commit(?:s|ted)?|branch(?:es)?|merge[ds]?|regex|lint\w*|syntax"
    r"|variables?|columns?|tables?|cron|deploy\w*|mixin|poller|middleware|endpoints? (?:in|of)|workers?"
    r"|npm|dependenc(?:y|ies)|node_modules|disk|staging|scrapers?|crawlers?|dev server)\b",
    re.IGNORECASE,
)
# What a log says begins with its time.
_LOGGED = re.compile(r"\W{0,3}(?:[A-Z]{3,8}\W{1,3})?\d{4}-\d\d-\d\d[T ]\d\d:\d\d")
_LAID_OUT = re.compile(
    r"```|\b[45]\d\d\b[^\n;]{0,40};[^\n]{0,40}\b[45]\d\d\b|\?\s*$|\A[^.!?\n]{1,60}\?\s"
    r"|^\s{0,3}(?:[-*+]|\d+[.)]) |^#{1,6} |^>",
    re.MULTILINE,
)
# Somebody else's words in a notice: a provider's JSON, an address.
_QUOTED = re.compile(r"\{[\s\S]*\}|https?://\S+")


def is_talk(words: str, *, is_proven: bool) -> bool:
    """Whether somebody talks here. `is_proven`: its wording is a program's, so that hedging alone does not count."""
    prose = _QUOTED.sub("", words)
    if TALKS.search(prose) or _LAID_OUT.search(prose) or _LOGGED.match(words):
        return True
    return not is_proven and (_HEDGES.search(prose) is not None or _WORK.search(prose) is not None)
