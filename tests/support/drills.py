"""Drills: how a provider misbehaves, and how what a broker made of it is scored.

The sixteen faults are those of Failover Bench (methodology v0.1), the eighteen drills those that gateways were measured
by. Both sides count. The caller wants one backend's whole answer, or an error that names the cause and keeps the words
that were shown; the provider wants one request and no more, its Retry-After kept, and the connection closed when it is
given up.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

Verdict = Literal["pass", "partial", "safe", "fail"]

# Of different lengths: the usage tells whose answer was counted.
PRIMARY, SPARE = "alpha beta gamma delta", "one two three four five"
WORDS = {"primary": PRIMARY, "spare": SPARE}
_OURS = (-33001, -33002)
# S15.
FLAPS, FLAP_EVERY_S, OUTAGE_S, BACK_WITHIN_S = 20, 4.0, 60.0, 30.0


class Drill(NamedTuple):
    """`fault` is the fault server's. `ideal`: what the caller should get. `once`: later requests are answered well.

    `members` are added to the primary's entry of config.json, `follower` to the fallback's; `keys` are the primary's.
    `wants_retry`: Failover Bench advises a second request to the primary within the same call.
    """

    name: str
    title: str
    fault: str
    ideal: Literal["answer", "error", "either"] = "answer"
    once: bool = False
    members: Mapping[str, object] = {}
    follower: Mapping[str, object] = {}
    follower_fault: str = "good"
    keys: int = 1
    rest_s: float | None = None
    wants_retry: bool = False

    @property
    def is_silent(self) -> bool:
        return self.fault.startswith("stall")


class Seen(NamedTuple):
    """What both sides saw. `outcome`: the stop reason or the error's code; `failed`: the attempts that failed, by kind.

    `primary` and `fallback` count requests, `again` the primary's in the next prompt; `left`: connections that were
    closed while it kept silent. `rest_s`: how long the primary is left alone. `next_words`: the next prompt's answer.
    """

    outcome: str | int
    words: str
    served: str | None
    failed: tuple[str, ...]
    tokens: int | None
    model: str | None
    primary: int
    fallback: int
    left: int
    again: int
    rest_s: float | None
    next_words: str

    @property
    def is_answered(self) -> bool:
        return not isinstance(self.outcome, int)


class Row(NamedTuple):
    """A line of docs/drills.md. `letter` is empty where Failover Bench knows no such fault."""

    name: str
    title: str
    caller: str
    provider: str
    verdict: str
    letter: str = ""


def score(drill: Drill, seen: Seen) -> tuple[Verdict, str]:
    """The verdict, and what speaks against it."""
    if wrong := faults(drill, seen):
        return "fail", "; ".join(wrong)
    if drill.ideal == "error":
        return ("fail", "it went on to the next") if seen.is_answered else ("pass", "")
    return ("pass", "") if seen.is_answered or drill.ideal == "either" else ("safe", "")


def letter(drill: Drill, seen: Seen) -> Verdict:
    """By Failover Bench's own rules, which look at one call."""
    if faults(drill, seen):
        return "fail"
    if drill.ideal == "either":  # S13: an error is the ideal, an answer goes round it
        return "partial" if seen.is_answered else "pass"
    if not seen.is_answered:
        return "safe"
    return "partial" if drill.wants_retry and seen.primary < 2 else "pass"


def faults(drill: Drill, seen: Seen) -> list[str]:
    """What nobody may do, each in one sentence."""
    served = seen.served or ""
    rules = {
        "an answer that is not whole is told as one": seen.is_answered and seen.words != WORDS.get(served),
        "an answer does not end well": seen.is_answered and seen.outcome != "end_turn",
        "words of two are mixed, or words are lost": not seen.is_answered and not PRIMARY.startswith(seen.words),
        "the error is none of ours": not seen.is_answered and seen.outcome not in _OURS,
        "what failed is not named": served != "primary" and not seen.failed,
        "another's usage is told": seen.is_answered and seen.tokens != len(WORDS.get(served, "").split()),
        "another's model is told": seen.is_answered and seen.model != f"{served}-model",
        "the primary is asked twice": seen.primary > drill.keys,
        "the fallback is asked for nothing, or twice": seen.fallback != (served == "spare"),
        "a connection that was given up stays open": drill.is_silent and seen.left != 1,
        "a primary that rests is asked": seen.rest_s is not None and seen.again > 0,
        "it is not left alone for as long as it should": drill.rest_s is not None and seen.rest_s != drill.rest_s,
        "the next prompt is not answered": seen.next_words not in WORDS.values(),
    }
    return [rule for rule, is_broken in rules.items() if is_broken]


def row(drill: Drill, seen: Seen) -> Row:
    """What is told of a drill."""
    verdict, why = score(drill, seen)
    said = f"{verdict}: {why}" if why else verdict
    is_of_bench = drill.name.startswith("S")
    return Row(
        drill.name, drill.title, _caller(seen), _provider(drill, seen), said, letter(drill, seen) if is_of_bench else ""
    )


def flap_row(answers: Sequence[str], in_outage: int, asked: int) -> Row:
    """S15: the answers in order, and how often the primary was asked, in the outage and in all."""
    whole = [answer for answer in answers if answer in WORDS.values()]
    down = int(OUTAGE_S / FLAP_EVERY_S)
    back_s = next((n * FLAP_EVERY_S for n, answer in enumerate(answers[down:]) if answer == PRIMARY), float("inf"))
    wrong = {
        "a prompt was not answered": len(whole) < FLAPS,
        "it came back too late": back_s > BACK_WITHIN_S,
        "it was hammered": in_outage > OUTAGE_S / BACK_WITHIN_S,
        "it was asked twice": asked - in_outage > answers.count(PRIMARY),
    }
    said = "; ".join(["fail", *(why for why, is_so in wrong.items() if is_so)]) if any(wrong.values()) else "pass"
    told = f"{in_outage} at the primary for {down} prompts in the outage; it serves again {back_s:g} s behind it"
    title = f"the primary is down for {OUTAGE_S:g} s; {FLAPS} prompts, one every {FLAP_EVERY_S:g} s"
    return Row("S15", title, f"{len(whole)} of {FLAPS} answers, each whole", told, said, said.partition(";")[0])


def _caller(seen: Seen) -> str:
    failed = f" (`{'`, `'.join(seen.failed)}`)" if seen.failed else ""
    if seen.is_answered:
        return f"the whole answer of the {'fallback' if seen.served == 'spare' else 'primary'}{failed}"
    return f"{'its words, then ' if seen.words else ''}error {seen.outcome}{failed}"


def _provider(drill: Drill, seen: Seen) -> str:
    # Where the server has more to say, it is chance whether it has said it by then.
    closed = ", closed" if seen.left and drill.is_silent else ""
    rest = "" if seen.rest_s is None else f"; left alone for {_long(seen.rest_s)}"
    return f"{seen.primary} at the primary{closed}, {seen.fallback} at the fallback{rest}"


def _long(seconds: float) -> str:
    return f"{seconds / 3600:g} h" if seconds >= 3600 else f"{seconds:g} s"


# Real time, and little of it: a default of minutes is another number, and the same code.
_SHORT: Mapping[str, object] = {"limits": {"firstByteMs": 400, "firstOutputMs": 400, "idleMs": 400}}
_SMALL, _LARGE = {"contextWindow": 8_000}, {"contextWindow": 128_000}
_LONGER = {"members": _SMALL, "follower": _LARGE}

BENCH = [
    Drill("S01", "429 with Retry-After, once", "429;ra=2", once=True, rest_s=2.0, wants_retry=True),
    Drill("S02", "429 for good", "429"),
    Drill("S03", "500 once", "500", once=True, wants_retry=True),
    Drill("S04", "503 for good", "503"),
    Drill("S05", "reset before the headers, once", "reset-headers", once=True),
    Drill("S06", "no response at all", "stall-headers", members=_SHORT),
    Drill("S07", "headers at once, the first token much later", "stall-open", members=_SHORT),
    Drill("S08", "the stream is cut in the middle", "reset-mid"),
    Drill("S09", "the stream stalls", "stall-mid", members=_SHORT),
    Drill("S10", "a malformed event in the middle", "garbled-mid"),
    Drill("S11", "no `[DONE]`", "no-done"),
    Drill("S12", "prompt too long; the fallback takes more", "too-long", **_LONGER),
    Drill("S13", "content filter", "filtered", "either"),
    Drill("S14", "the stream is cut, and the fallback takes no half answers", "reset-mid", follower_fault="400"),
    Drill("S16", "accounting after a failover", "503"),
]
GATEWAYS = [
    Drill("503", "503", "503"),
    Drill("500", "500", "500"),
    Drill("refused", "connection refused", "refused"),
    Drill("429", "429 with `retry-after: 2`", "429;ra=2", rest_s=2.0),
    Drill("quota", "429 `insufficient_quota`", "quota", rest_s=18_000.0),
    Drill("401", "401, each of two keys", "401", keys=2),
    Drill("context", "400, prompt too long; the fallback takes more", "too-long", **_LONGER),
    Drill("context, alike", "400, prompt too long; the fallback takes as little", "too-long", "error", members=_SMALL),
    Drill("400", "400, a malformed request", "400", "error"),
    Drill("no answer", "accepts, never answers", "stall-headers", members=_SHORT),
    Drill("headers", "200 and headers, then silence", "stall-open", members=_SHORT),
    Drill("role", "200 and the role chunk, then silence", "stall-first", members=_SHORT),
    Drill("reset", "200, reset before any event", "reset-open"),
    Drill("end", "200, a clean end, no events", "eof-open"),
    Drill("error", "an error event first", "err-first"),
    Drill("role, error", "role chunk, then an error event", "err-role"),
    Drill("words, reset", "words, then a reset", "reset-mid", "error"),
    Drill("words, end", "words, then a clean end without a finish reason", "eof-mid", "error"),
    Drill("words, error", "words, then an error event", "err-mid", "error"),
    Drill("words, silence", "words, then silence", "stall-mid", "error", members=_SHORT),
]
