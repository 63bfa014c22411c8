"""From what a runtime answered to a `Failure`: structure first, text last.

Evidence is taken in order (a caller's own patterns, error types, HTTP statuses, the JSON-RPC code, a status in the
text, the text) and each piece may only refine what the pieces before it said (`signs.FINER`). A caller's own pattern
is a person's decision and is final. A number in text counts only beside a word such as "status" or "error code": an
echoed prompt may hold any number. What nothing recognises is `unclassified`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from acp_broker.core import retry_after
from acp_broker.core.evidence import Evidence, fold, gather, is_status
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.habits import Pattern
from acp_broker.core.names import Phase
from acp_broker.core.phrases import TEXTS
from acp_broker.core.redact import plain
from acp_broker.core.signs import FINER, RPC_CODES, STATUSES, WORDS

_REQUEST_CANCELLED = -32800

# How much of the prose is searched: a reason stands at the beginning.
_MAX_SEARCHED = 8_192
# How many of an error's messages are shown: the agent's, the provider's, and their details.
_MAX_TEXTS = 6

# As in "last status: 429 Too Many Requests", "API Error: 529 {", "rejected (429)", "500 status code (no body)".
# After a mere "Error:" no lower-case word may follow: "Error: 500 tests failed" counts things. aiohttp's number for
# a body that broke off ("TransferEncodingError: 400, message=...") is nobody's status.
_STATUS = re.compile(
    r"\b(?:status|https?(?:/[\d.]{1,3})?|api error|code|rejected)(?:[ _]?code)?[\W_]{0,3}([45]\d\d)\b"
    r"|(?<!encoding)(?<!contentlength)error[\W_]{0,3}([45]\d\d)\b(?!\s(?-i:[a-z]))"
    r"|(?:\b|\][ :])([45]\d\d)(?: status code\b|(?<=\][ :]\d\d\d)\b)"
    r"|\b(?:returned|responded with|answered with|failed[^.\n]{0,40}?:)"
    r"\s(?:an? )?(?:http |status |code |error ){0,2}([45]\d\d)\b",
    re.IGNORECASE,
)

# An SDK's exception, as in "litellm.RateLimitError: ..." or "(ThrottlingException) when calling".
_EXCEPTION = re.compile(r"\b[A-Z]\w{3,50}(?:Error|Exception)\b")

# Further apart than _STATUS reaches: the end of one text and the beginning of the next are no neighbours.
_APART = "\n\n\n\n"

# Numbers that Linux and macOS share; the others are shown as numbers.
_SIGNALS: Mapping[int, str] = {
    1: "SIGHUP",
    2: "SIGINT",
    3: "SIGQUIT",
    4: "SIGILL",
    5: "SIGTRAP",
    6: "SIGABRT",
    8: "SIGFPE",
    9: "SIGKILL",
    11: "SIGSEGV",
    13: "SIGPIPE",
    14: "SIGALRM",
    15: "SIGTERM",
    24: "SIGXCPU",
    25: "SIGXFSZ",
}

# POSIX, Shell Command Language, 2.8.2: what a shell (or env, npx) answers for the command it should have started.
_CANNOT_EXECUTE, _NOT_FOUND, _SIGNALLED = 126, 127, 128

# Before the prompt, stderr speaks of the start itself; later it may hold the notes of hours.
_BEFORE_PROMPT: frozenset[Phase | None] = frozenset({"leasing", "starting", "opening"})
_REASONS_NOT_TO_START = frozenset({FailureKind.AUTH_MISSING, FailureKind.AUTH_REJECTED})


class Verdict(Struct, frozen=True):
    """A kind, if any, and the word or number that told it."""

    kind: FailureKind | None = None
    code: str | None = None


def from_rpc_error(
    code: int, message: str, data: bytes | None, *, seen_at: Phase | None, patterns: Sequence[Pattern] = ()
) -> Failure:
    """What a JSON-RPC error reply of an agent's means; `data` is raw JSON. Never raises."""
    evidence = gather(message, data)
    verdict = weigh(evidence, code, patterns)
    text = prose(message, evidence)
    if code == _REQUEST_CANCELLED:
        text = f"cancelled, which nobody asked for: {text}"
    return Failure(
        kind=verdict.kind or FailureKind.UNCLASSIFIED,
        text=plain(text) or f"error {code}",
        code=verdict.code or str(code),
        retry_after_s=evidence.wait_s or retry_after.of_text(text),
        seen_at=seen_at,
    )


def from_text(text: str, *, seen_at: Phase | None = None, patterns: Sequence[Pattern] = ()) -> Failure | None:
    """What a text that is known to be an error means; None when nothing in it is recognised. Never raises."""
    evidence = gather(text[:_MAX_SEARCHED])
    verdict = weigh(evidence, None, patterns)
    if verdict.kind is None:
        return None
    wait_s = evidence.wait_s or retry_after.of_text(text[:_MAX_SEARCHED])
    return Failure(verdict.kind, plain(prose("", evidence)), verdict.code, wait_s, seen_at)


def from_exit(returncode: int | None, stderr_tail: str, *, seen_at: Phase | None) -> Failure:
    """What the end of an agent's process means. `returncode` is as subprocess gives it: -N for signal N, None while
    the process lives but has closed its output."""
    kind = FailureKind.CRASHED
    if seen_at in _BEFORE_PROMPT:
        if returncode in (_CANNOT_EXECUTE, _NOT_FOUND):
            kind = FailureKind.UNREACHABLE
        elif (said := from_text(stderr_tail[-_MAX_SEARCHED:])) is not None and said.kind in _REASONS_NOT_TO_START:
            kind = said.kind
    end = _end(returncode)
    # The last words of a dying process hold the reason.
    tail = plain(stderr_tail[-_MAX_SEARCHED:], _MAX_SEARCHED)
    room = 400
    tail = tail if len(tail) <= room else f"…{tail[-room:]}"
    return Failure(
        kind, f"{end}: {tail}" if tail else end, None if returncode is None else str(returncode), None, seen_at
    )


def weigh(evidence: Evidence, rpc_code: int | None, patterns: Sequence[Pattern]) -> Verdict:
    """What all of it together says, and the piece that said it."""
    searched = _APART.join(evidence.texts)[:_MAX_SEARCHED]
    for pattern in patterns:
        if pattern.regex.search(searched):
            return Verdict(pattern.kind)
    verdict = Verdict()
    for kind, code in _structure(evidence, rpc_code, searched):
        if verdict.kind is None or kind in FINER.get(verdict.kind, ()):
            verdict = Verdict(kind, code)
    # A tuple: an Enum's hash is Python, and this is asked for each pattern.
    fitting = None if verdict.kind is None else (verdict.kind, *FINER.get(verdict.kind, ()))
    for pattern in TEXTS:
        if (fitting is None or pattern.kind in fitting) and pattern.regex.search(searched):
            return Verdict(pattern.kind, verdict.code)
    return verdict


def _structure(evidence: Evidence, rpc_code: int | None, prose: str) -> Iterator[tuple[FailureKind, str]]:
    """Each piece of structured evidence as (kind, code), the most exact first."""
    for word in evidence.words:
        kind = WORDS.get(fold(word))
        if kind is not None:
            yield kind, word
    for status in evidence.statuses:
        yield _of_status(status), str(status)
    if rpc_code is not None:
        if is_status(rpc_code):
            yield _of_status(rpc_code), str(rpc_code)
        elif rpc_code in RPC_CODES:
            yield RPC_CODES[rpc_code], str(rpc_code)
    for found in _STATUS.finditer(prose):
        digits = found[1] or found[2] or found[3] or found[4]
        yield _of_status(int(digits)), digits
    for found in _EXCEPTION.finditer(prose):
        kind = WORDS.get(fold(found[0]))
        if kind is not None:
            yield kind, found[0]


def _of_status(status: int) -> FailureKind:
    return STATUSES.get(status, FailureKind.BAD_REQUEST if status < 500 else FailureKind.SERVER_ERROR)


def prose(message: str, evidence: Evidence) -> str:
    """The message, then what the data adds to it."""
    said: list[str] = []
    for text in evidence.texts[:_MAX_TEXTS] or (message,):
        stripped = text.strip()
        if stripped and not any(stripped in earlier for earlier in said):
            said.append(stripped)
    return ": ".join(said)


def _end(returncode: int | None) -> str:
    if returncode is None:
        return "closed its output without exiting"
    if returncode < 0:
        return f"killed by {_SIGNALS.get(-returncode, f'signal {-returncode}')}"
    signal = _SIGNALS.get(returncode - _SIGNALLED)
    return f"exited with code {returncode} ({signal})" if signal else f"exited with code {returncode}"
