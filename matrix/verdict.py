"""What a turn was: the outcome of an agent alone, and whether the broker kept its promise. Pure.

Outcomes of an agent alone: `E` a JSON-RPC error (its code, unless it is -32603), `OK` an ordinary end, `OK0` an
ordinary end with nothing shown, `R` a refusal, `C` a cancelled that nobody asked for; `t` before it: a text of the
agent's own. `...` not answered within the limit, `hang` not even when it was cancelled, `stops at ...` no turn at all.
"""

from collections.abc import Collection

from matrix.faults import BROKEN_THOUGHTS, BROKEN_WORDS, GOOD, WHOLE_WORDS
from matrix.turn import Turn, Update

_INTERNAL_ERROR = -32603
AFTER_COMMIT = -33002
_LETTERS = {"end_turn": "OK", "refusal": "R", "cancelled": "C"}


def outcome(turn: Turn, asides: Collection[str] = ()) -> str:
    """`asides`: what it says of its own in a healthy turn too."""
    if turn.stopped_at:
        return f"stops at {turn.stopped_at}"
    if turn.is_cut:
        return "hang" if turn.is_deaf else "..."
    own = "t" if any(text not in asides for text in own_words(turn)) else ""
    failure = turn.failure
    if failure is not None:
        return f"{own}E" if failure.code == _INTERNAL_ERROR else f"{own}E{failure.code}"
    reason = turn.stop_reason or ""
    said = [one for one in turn.shown if one.kind != "user_message_chunk" and one.text not in asides]
    is_empty = reason == "end_turn" and not said
    return "OK0" if is_empty else own + _LETTERS.get(reason, reason)


def own_words(turn: Turn) -> list[str]:
    """Messages that the model never said."""
    return [one.text for one in turn.shown if one.kind == "agent_message_chunk" and not is_of_model(one)]


def is_of_model(update: Update) -> bool:
    """Whether it is a word, or a thought, of the primary's model."""
    match update.kind:
        case "agent_message_chunk":
            return update.text.strip() in BROKEN_WORDS
        case "agent_thought_chunk":
            return update.text.strip("*\n ") in BROKEN_THOUGHTS  # gemini adds a headline
        case _:
            return False


def problem(turn: Turn, fault: str, *, limit_s: float, fallback_was_asked: bool) -> str:
    """What is not as promised of a turn through the broker; empty if all is."""
    if turn.stopped_at or turn.is_cut:
        return f"no answer: {outcome(turn)}"
    if turn.took_s > limit_s:
        return f"took {turn.took_s:.1f} s"
    if fault == GOOD:
        is_whole = turn.stop_reason == "end_turn" and BROKEN_WORDS in turn.text() and not fallback_was_asked
        return "" if is_whole else "a good answer did not come through"
    # What the model said before it broke: shown, it may not be taken back.
    if any(map(is_of_model, turn.shown)):
        return _problem_after_words(turn, fallback_was_asked=fallback_was_asked)
    if turn.stop_reason != "end_turn":
        return f"not answered by the fallback: {outcome(turn)}"
    if [one.text for one in turn.shown if one.text.strip() not in WHOLE_WORDS] or turn.text().strip() != WHOLE_WORDS:
        return f"not the fallback's answer alone: {turn.text()[:80]!r}"
    return ""


def _problem_after_words(turn: Turn, *, fallback_was_asked: bool) -> str:
    if fallback_was_asked or WHOLE_WORDS in turn.text():
        return "the fallback was asked though words were shown"
    if turn.failure is None or turn.failure.code != AFTER_COMMIT:
        return f"words were shown, and no clear error behind them: {outcome(turn)}"
    return ""


def kept(turn: Turn, fault: str) -> str:
    """The promise that was kept, in a word."""
    if fault == GOOD:
        return "answers"
    return "whole" if turn.failure is None else "error"
