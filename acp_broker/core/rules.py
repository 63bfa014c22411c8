"""What a person says in config.json of one provider's failures. It counts more than every table here."""

import re
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from acp_broker.core.evidence import Evidence, fold, gather
from acp_broker.core.failures import Failure, FailureKind

# Their expressions are a person's: how long one of them can take is bounded by what it is given.
_MAX_SEARCHED = 2_000


class Rule(Struct, frozen=True):
    """What fits all that it names is of this kind. `status` is HTTP's, or one that the error names; `code` any of its
    types, codes and reasons, in any spelling; `text` is found in its messages. `retry_after_s`: where it tells none."""

    kind: FailureKind
    status: int | None = None
    code: str | None = None
    text: re.Pattern[str] | None = None
    retry_after_s: float | None = None


def ruled(rules: Sequence[Rule], failure: Failure, body: bytes, status: int | None = None) -> Failure:
    """The failure as the first rule that fits says; as it is, where none does. `body` is what told of it."""
    rule = fitting(rules, gather(body), failure.code, status) if rules else None
    return failure if rule is None else of_rule(rule, failure)


def of_rule(rule: Rule, failure: Failure) -> Failure:
    return replace(failure, kind=rule.kind, retry_after_s=failure.retry_after_s or rule.retry_after_s)


def fitting(rules: Sequence[Rule], evidence: Evidence, code: str | None, status: int | None = None) -> Rule | None:
    """The first rule that fits. `code` is a word beside those of the evidence."""
    codes = {_spelt(word) for word in (*evidence.codes, code) if word is not None}
    statuses = {status, *evidence.statuses}
    texts = "\n".join(evidence.texts)[:_MAX_SEARCHED]
    for rule in rules:
        fits_code = rule.code is None or _spelt(rule.code) in codes
        fits_status = rule.status is None or rule.status in statuses
        if fits_code and fits_status and (rule.text is None or (texts and rule.text.search(texts))):
            return rule
    return None


def _spelt(code: str) -> str:
    """In one spelling; one without a Latin letter or a digit as it is."""
    return fold(code) or code
