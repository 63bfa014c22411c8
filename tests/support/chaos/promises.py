"""What must hold of every turn, whatever went wrong beside it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tests.support.chaos.cast import FAR, agent_says
from tests.support.chaos.place import Asked, thoughts, whole
from tests.support.chaos.story import LABEL, Kept, Prompt, asks, bare, history, who

# How a prompt may end: our own errors among it, and with what nobody else than the client has caused.
_ENDS = {None, "end_turn", "max_tokens", "cancelled", -33001, -33002, -33004, -33005, -32000}
_NOBODY_ANSWERED = (-33001, -32000)
_GIVEN_UP = ("cancelled", -33005)


def broken(
    prompt: Prompt, kept: Kept | None, asked: Iterable[Asked], past: Sequence[Prompt], failed: Sequence[Mapping] | None
) -> list[str]:
    """Every promise that this turn has broken. `failed`: what the broker's log says of attempts, if it is there."""
    ours = [one for one in asked if prompt.tag in asks(one)]
    found = [*_of_end(prompt, kept)]
    if not prompt.is_torn:
        found += _of_words(prompt)
    if kept is not None:
        found += _of_past(ours, past)
        if not prompt.was_full:
            found += [*_of_requests(prompt, kept, ours), *_of_records(prompt, kept, failed)]
    return found


def _of_words(prompt: Prompt) -> Iterator[str]:
    words, thought = prompt.words, prompt.thoughts
    labels, speaker = set(LABEL.findall(words + thought)), who(words)
    if len(labels) > 1 or (labels and speaker):
        yield f"words of several answers: {thought!r}, {words!r}"
    meant = agent_says(speaker, prompt.text) if speaker else whole(min(labels)) if labels else ""
    if not meant.startswith(words):
        yield f"not what was said: {words!r}, meant was {meant!r}"
    if labels and thought and not thoughts(min(labels)).startswith(thought):
        yield f"not what was thought: {thought!r}"
    if prompt.end == "end_turn" and (words != meant or not words):
        yield f"half an answer is told as whole: {words!r} of {meant!r}"


def _of_end(prompt: Prompt, kept: Kept | None) -> Iterator[str]:
    end, shown = prompt.end, prompt.words + prompt.thoughts
    if end not in _ENDS:
        yield f"an end of another kind: {prompt.reply}"
    if end is None and not prompt.is_cut_off:
        yield "no answer"
    if end in _GIVEN_UP and not prompt.may_cancel:
        yield f"a cancel that nobody asked for: {prompt.reply}"
    if end == -33004 and not prompt.was_full:
        yield f"a fault of ours: {prompt.reply}"
    if end in _NOBODY_ANSWERED and shown:
        yield f"words of a turn that nobody answered: {shown!r}"
    if end == -33002 and not shown:
        yield f"no words before a failure behind words: {prompt.reply}"
    if end == "end_turn":
        yield from _of_answer(prompt, kept)


def _of_answer(prompt: Prompt, kept: Kept | None) -> Iterator[str]:
    named, speaker = prompt.told.get("backend"), who(prompt.words)
    if kept is None and not prompt.was_full:
        yield "an answer to a prompt that is in no log"
    if speaker is not None and speaker not in _names(named):
        yield f"{speaker} spoke, {named} is named"
    *before, last = prompt.attempts or [("", "")]
    if last != (named, None) or not all(failure for _, failure in before):
        yield f"these attempts cannot be: {prompt.attempts}"


def _of_records(prompt: Prompt, kept: Kept, failed: Sequence[Mapping] | None) -> Iterator[str]:
    """The reply, the session's log and the broker's tell one story."""
    if prompt.reply is None:
        return
    if not kept.has_answer:
        yield "the session's log has no answer"
    if kept.words != prompt.words:
        yield f"shown was {prompt.words!r}, in the session's log is {kept.words!r}"
    if prompt.told and [backend for backend, _ in prompt.attempts] != kept.started:
        yield f"told was of attempts {prompt.attempts}, the session's log has {kept.started}"
    told = [(backend, failure) for backend, failure in prompt.attempts if failure]
    logged = [(one["backend"], one["failure"]) for one in failed or () if one["turn"] == kept.turn]
    if prompt.told and failed is not None and told != logged:
        yield f"told was of failures {told}, the broker's log has {logged}"


def _of_requests(prompt: Prompt, kept: Kept, ours: Sequence[Asked]) -> Iterator[str]:
    """No provider is asked twice for one attempt, and the words are those that it said to this prompt."""
    started, asked = Counter(kept.started), Counter(one.backend for one in ours if one.backend not in FAR)
    if too_often := {name: count for name, count in asked.items() if count > started[name]}:
        yield f"asked too often: {too_often}, in attempts {started}"
    spoke = {one.label: one.backend for one in ours}
    named = prompt.told.get("backend") if prompt.end == "end_turn" else None
    for label in LABEL.findall(prompt.words)[:1]:
        if label not in spoke or (named and spoke[label] not in _names(named)):
            yield f"the words of {label} are shown, which is not {named}'s answer to this prompt: {spoke}"


def _of_past(ours: Sequence[Asked], past: Sequence[Prompt]) -> Iterator[str]:
    """Every provider is told the session's past, and nothing else. A far broker has a past of its own."""
    for one in ours:
        told = history(one)
        if told is None or (one.backend not in FAR and not _is_past(told, past)):
            yield f"{one.backend} was told {told}, the past is {[(turn.text, turn.words) for turn in past]}"


def _is_past(told: Sequence[tuple[str, str]], past: Sequence[Prompt]) -> bool:
    """Blanks do not count. What was shown while the disk was full may be lost from its end on."""
    left = {bare(prompt): bare(answer) for prompt, answer in told}
    for turn in past:
        words = bare(turn.words)
        answer = left.get(bare(turn.text), "")
        if answer != words and not (turn.was_full and words.startswith(answer)):
            return False
        left.pop(bare(turn.text), None)
    return not left


def _names(named: str | None) -> Sequence[str | None]:
    return (*FAR, "far") if named == "far" else (named,)
