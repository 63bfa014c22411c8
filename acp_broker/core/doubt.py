"""Failures dressed as answers: agents write their provider's failure as an ordinary message, then say `end_turn`.

`look.first_look` is asked of every chunk before the commit point and may be wrong: what it calls doubtful waits for a
second at most. So does a chunk that is a whole notice, however it begins (`scale`). `is_in_doubt_still` weighs what
comes meanwhile, together with what is held. `judge` sees the whole answer, `judge_last` what stands behind words that
were shown.

`judge` calls an answer a failure only if all of this holds:

1. it ended as `end_turn` or `refusal`, and no `usage` says that a model has spoken;
2. it has a notice's form, and `classify` recognises what it says. Strong forms, which nobody but a program writes: an
   agent's own wording, a provider's own sentence, an SDK's exception, a status with its reason or body. Weak ones: a
   label ("Error:", "Request failed:"); nothing but a phrase ("Overloaded"); a sentence or two with what to do about it
   ("try again", "check your plan"); or, where `usage` is the habit and is missing, any known opening. Only an agent's
   or a provider's own words, and an excuse without a reason, need not be recognised;
3. nobody talks in it (`talk`): explains, speaks of the work, asks, lays out. Weak forms must not even hedge.

What it costs. An answer that merely *repeats* a notice ("what does the log say?" - "Error: rate limit exceeded"; "which
status is that?" - "429 Too Many Requests") is taken for one: nothing was shown or done yet, so another backend answers
instead, and this one rests. A notice that explains, or that trickles in as a model's words do (`_MOST_PIECES`), is
missed: then the person reads it, as without us.

The prompt is no evidence: who asks about "API Error: 529" may want it explained, or was failed by it a moment ago.
"""

from msgspec.structs import replace

from acp_broker.core import wordings
from acp_broker.core.classify import from_text
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.habits import UNKNOWN, Habits, Pattern
from acp_broker.core.look import MAX_CHARS, looks_like_failure
from acp_broker.core.names import StopReason
from acp_broker.core.openings import MARKS
from acp_broker.core.redact import plain
from acp_broker.core.retrying import without_retries
from acp_broker.core.talk import is_talk

# Without an agent's or a provider's own wording: a label and a sentence or two.
_MAX_LABELLED = 1_000
_MAX_BARE = 300
# Notices come in one piece, or a few; what trickles in was written by a model.
_MOST_PIECES = 4
# So short that a notice may not have said yet what it is.
_UNSAID = 40


def judge(
    words: str,
    stop_reason: StopReason,
    usage_present: bool | None,  # noqa: FBT001
    habits: Habits = UNKNOWN,
) -> Failure | None:
    """The failure that a whole held answer is, or None for an answer.

    `usage_present`: whether the result carries `usage`; False where it is the agent's habit and missing, None where no
    habit is known. It vouches for all but an agent's own wording that fits the whole text: goose tells a failure with
    the usage of the turn before.
    """
    if stop_reason not in ("end_turn", "refusal"):
        return None
    whole = without_retries(words).strip()
    if not whole or len(whole) > MAX_CHARS:
        return None
    notice = wordings.WARNING_LABEL.sub("", whole.strip(MARKS), count=1)
    meaning = _pinned(notice, habits)
    if usage_present and not _is_own(notice, habits):
        return None
    if meaning is None:
        meaning = _meaning(notice, habits)
        is_proven = meaning is not None or wordings.is_program(notice)
        if not is_proven and not _is_weak(notice, habits, is_usage_missing=usage_present is False):
            return None
        if is_talk(whole, is_proven=is_proven):
            return None
    return _failure(whole, meaning)


def judge_last(words: str, usage_present: bool | None, habits: Habits = UNKNOWN) -> Failure | None:  # noqa: FBT001
    """The failure that the last message of a turn is, behind words that were shown; None for the answer's own end.

    Only an agent's exact wording is one: what an answer quotes last looks like a failure just as well.
    """
    notice = words.strip(MARKS)
    if len(notice) > MAX_CHARS or (usage_present and not _is_own(notice, habits)):
        return None
    meaning = _pinned(notice, habits)
    if meaning is None:
        begun = next((own.kind for own in habits.notices if own.regex.match(notice)), None)
        meaning = None if begun is None or is_talk(notice, is_proven=False) else begun
    return None if meaning is None else _failure(notice, meaning)


def _failure(whole: str, meaning: FailureKind | None) -> Failure | None:
    said = from_text(whole, seen_at="submitted")
    if said is None and meaning is not None:
        return Failure(meaning, plain(whole), seen_at="submitted")
    if said is not None and said.kind is FailureKind.BAD_REQUEST:
        # A provider's 400 is about the request that this agent wrote; another agent writes one of its own.
        return replace(said, kind=FailureKind.UNSUPPORTED)
    return said


def is_in_doubt_still(words: str, pieces: int, habits: Habits = UNKNOWN) -> bool:
    """Whether all that is held, the latest chunk included, may yet turn out to be a notice."""
    if pieces > _MOST_PIECES:
        return False
    if not looks_like_failure(words, habits):
        return judge(words, "end_turn", None, habits) is not None
    notice = without_retries(words).strip(MARKS)
    is_own = wordings.WHOLE.match(notice) is not None or _meaning(notice, habits) is not None
    is_proven = is_own or len(notice) <= _UNSAID or wordings.is_program(notice)
    if not is_proven and not _is_weak(notice, habits, is_usage_missing=False):
        return False
    return not is_talk(words, is_proven=is_proven)


def judge_silence(stop_reason: StopReason, usage_present: bool | None) -> Failure | None:  # noqa: FBT001
    """The failure that a turn is in which nothing at all was said, or None. `end_turn` is the machine's to judge.

    A model that refuses, or whose tokens ran out in hidden thoughts, has been asked: then there is `usage`.
    """
    if usage_present or stop_reason in ("end_turn", "cancelled"):
        return None
    text = f"ended the turn as {stop_reason} without showing anything"
    return Failure(FailureKind.EMPTY_TURN, text, seen_at="submitted")


def _is_own(notice: str, habits: Habits) -> bool:
    return any(own.regex.fullmatch(notice) for own in habits.notices)


def _pinned(notice: str, habits: Habits) -> FailureKind | None:
    """What a wording means that fits the whole text: nothing more is asked."""
    for own in habits.notices:
        if own.regex.fullmatch(notice):
            return own.kind
    return FailureKind.UNCLASSIFIED if wordings.WHOLE.fullmatch(notice) else None


def _meaning(notice: str, habits: Habits) -> FailureKind | None:
    """What an agent's or a provider's own wording means where its text says nothing more exact."""
    own: tuple[Pattern, ...] = (*habits.notices, *wordings.SHAPES)
    for one in own:
        if one.regex.match(notice):
            return one.kind
    return FailureKind.UNCLASSIFIED if wordings.is_sentence(notice) or wordings.is_excuse(notice) else None


def _is_weak(notice: str, habits: Habits, *, is_usage_missing: bool) -> bool:
    """Whether the wording is a notice's, and may as well be a person's."""
    if len(notice) > _MAX_LABELLED:
        return False
    if wordings.is_labelled(notice):
        return True
    if len(notice) <= _MAX_BARE and (wordings.is_bare(notice) or wordings.is_advice(notice)):
        return True
    is_line = len(notice) <= _MAX_BARE and "\n" not in notice
    return is_usage_missing and is_line and looks_like_failure(notice, habits)
