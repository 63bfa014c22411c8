"""What an update is to the machine, before the commit point."""

import re

import pytest

from acp_broker.broker.testimony import witnessed
from acp_broker.broker.weighing import Weighing, tells_retry
from acp_broker.core.habits import Habits
from acp_broker.core.turnwords import Doubted, Noted, Reached, Spoke
from acp_broker.core.visible import CHUNKS, NOTES
from acp_broker.wire.acp import Update, message, update

RETRYING = (Reached(1, "retrying"), Noted(1))


def thought(text: str) -> Update:
    return update("agent_thought_chunk", content={"type": "text", "text": text})


def events(*updates: Update, habits: Habits = Habits(), is_doubting: bool = False) -> tuple[object, ...]:  # noqa: B008
    """What the last of these is."""
    weighing = Weighing()
    weighing.habits = habits
    return [weighing.events(1, one, is_doubting=is_doubting) for one in updates][-1]


@pytest.mark.parametrize("kind", sorted(NOTES))
def test_a_note_shows_nothing(kind: str) -> None:
    """Agents send usage, titles and commands before their model has said a word; these must not forbid failover."""
    assert (Noted(1),) == events(update(kind))


@pytest.mark.parametrize("kind", ["tool_call", "tool_call_update", "plan", "plan_update", "nobody_knows_this", ""])
def test_everything_else_is_output(kind: str) -> None:
    """What cannot be taken back is output, and of an unknown kind nobody can say that it can."""
    assert (Spoke(1),) == events(update(kind))


@pytest.mark.parametrize("kind", sorted(CHUNKS))
def test_words_are_output(kind: str) -> None:
    """A thought is shown as much as an answer is."""
    assert (Spoke(1),) == events(update(kind, content={"type": "text", "text": "Hi"}))


@pytest.mark.parametrize("text", ["", " ", "\n", "\t \u00a0"])
@pytest.mark.parametrize("kind", sorted(CHUNKS))
def test_a_blank_chunk_is_a_note(kind: str, text: str) -> None:
    """qwen opens with an empty chunk, vibe answers an empty reply with a space."""
    assert (Noted(1),) == events(update(kind, content={"type": "text", "text": text}))


def test_a_chunk_without_text_is_output() -> None:
    """An image has no text and is seen all the same."""
    assert (Spoke(1),) == events(update("agent_message_chunk", content={"type": "image"}))


@pytest.mark.parametrize("said", [message, thought])
def test_what_looks_like_a_failure_is_doubted(said) -> None:
    """Some agents tell it as a thought."""
    assert (Doubted(1),) == events(said("API Error: 529 Overloaded"))


def test_a_second_piece_of_a_failure_is_doubted_as_well() -> None:
    """Held words and chunk are weighed as a whole: neither half says much by itself."""
    assert (Doubted(1),) == events(message("API Err"), message("or: 529 Overloaded"), is_doubting=True)


def test_a_second_piece_that_explains_is_output() -> None:
    """A model speaks."""
    assert (Spoke(1),) == events(message("API Error: 529"), message(" means: wait."), is_doubting=True)


def test_a_retry_between_doubted_words_is_one_still() -> None:
    """It is no piece of them."""
    assert RETRYING == events(message("Error: 503"), message("Retrying (attempt 1/3, waiting 2s)..."), is_doubting=True)


def test_what_trickles_in_is_output() -> None:
    """Tokens of a model; a notice comes in one piece, or a few."""
    pieces = ["Error", ":", " rate", " limit", " exceeded"]

    assert (Spoke(1),) == events(*map(message, pieces), is_doubting=True)


@pytest.mark.parametrize("said", [message, thought])
def test_a_retry_is_a_note_and_evidence(said) -> None:
    """Whatever it comes as."""
    assert RETRYING == events(said("Retrying (attempt 1/3, waiting 2s)..."))


@pytest.mark.parametrize(
    "meta",
    [
        {"codex": {"error": {"message": "Reconnecting... 1/5", "willRetry": True}}},
        {"x": {"will_retry": True}},
        {"message": "Reconnecting... 1/5"},
        {"x": [{"isRetrying": True}]},
    ],
)
def test_a_retry_may_stand_in_the_meta_of_a_note(meta: dict) -> None:
    """codex says it in no other way."""
    assert RETRYING == events(update("session_info_update", _meta=meta))


@pytest.mark.parametrize(
    "members",
    [
        {"_meta": {"codex": {"error": {"message": "broken", "willRetry": False}}}},
        {"_meta": {"retries": 0}},
        {"title": "Retrying (attempt 1/3)..."},
        {"_meta": None, "title": "retry"},
    ],
)
def test_a_note_that_only_mentions_retries_is_none(members: dict) -> None:
    """Taken for one, it would cut the wait of a healthy agent to two seconds."""
    assert (Noted(1),) == events(update("session_info_update", **members))


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("_session/retrying", None),
        ("_x/provider_retry", {}),
        ("_x/isRetrying", {}),
        ("_x/status", {"error": {"willRetry": True}}),
        ("_x/status", {"message": "Reconnecting... 1/5"}),
    ],
)
def test_a_notification_of_an_agents_own_may_tell_a_retry(method: str, params: dict | None) -> None:
    """vibe says it so, and in no other way."""
    assert tells_retry(method, params)


@pytest.mark.parametrize(
    ("method", "params"),
    [("_x/retry_policy", {}), ("_x/status", {"willRetry": False}), ("_auth/status_update", {}), ("_x/s", {"retry": 3})],
)
def test_a_notification_about_retries_tells_none(method: str, params: dict) -> None:
    """It would cut the wait of a healthy agent to two seconds."""
    assert not tells_retry(method, params)


@pytest.mark.parametrize(
    "text", ["Warning: the cache is cold.\n", "⚠️ Model metadata not found.", "(node:7) Warning: x\n"]
)
def test_a_line_that_warns_is_a_note(text: str) -> None:
    """Adapters warn before their provider is asked; nobody else could answer any more."""
    assert (Noted(1),) == events(message(text))


@pytest.mark.parametrize(
    "text", ["Warning", "Warning: the", "Warning: a.\nThe branch is gone.", "Warnings are errors."]
)
def test_more_or_less_than_a_line_that_warns_is_output(text: str) -> None:
    """A model has begun to speak."""
    assert (Spoke(1),) == events(message(text))


def test_a_system_prompt_is_no_thought() -> None:
    """openhands shows it before its provider is asked."""
    assert (Noted(1),) == events(thought("System Prompt: You are an agent."))


def test_an_aside_of_its_own_is_a_note() -> None:
    """What its row knows."""
    assert (Noted(1),) == events(message("pi v0.87.1\n---\n"), habits=Habits(asides=(re.compile("pi v"),)))


def failure(said: tuple[Update, ...], answer: dict, *, reports_usage: bool, habits: Habits = Habits()):  # noqa: B008
    weighing = Weighing()
    weighing.habits = habits
    for one in said:
        weighing.events(1, one, is_doubting=False)
    said = witnessed(update("", **answer).params["update"])
    return weighing.judged("end_turn", said, reports_usage=reports_usage)


OPENING = (message("Rate limit hit for this key"),)
NOTICE = (message("Error: rate limit exceeded"),)
SOME = {"usage": {"inputTokens": 3, "outputTokens": 0}}


@pytest.mark.parametrize(
    "usage", [{}, {"usage": None}, {"usage": {}}, {"usage": {"inputTokens": 0, "outputTokens": 0.0}}]
)
def test_a_usage_that_says_nothing_counts_as_missing(usage: dict) -> None:
    """codex sends null when its provider failed, others send zeros."""
    assert failure(OPENING, usage, reports_usage=True) is not None


def test_what_was_used_says_that_a_model_spoke() -> None:
    """Even where the words are a notice's."""
    assert failure(NOTICE, SOME, reports_usage=True) is None


def test_a_row_that_knows_the_habit_is_believed() -> None:
    """But where good answers of it here have none: its model may report none."""
    says = [
        failure(OPENING, {}, reports_usage=seen, habits=Habits(reports_usage=known))
        for known, seen in ((True, None), (False, True), (True, False))
    ]

    assert [True, False, False] == [one is not None for one in says]


def test_an_answer_that_calls_itself_failed_is_believed() -> None:
    """`_meta.hermes.failed`, with a usage beside it."""
    assert failure(NOTICE, {**SOME, "_meta": {"hermes": {"failed": True}}}, reports_usage=False) is not None


def test_a_thought_is_judged_where_there_was_no_message() -> None:
    """It was all that was said."""
    assert failure((thought("Error: rate limit exceeded"),), {}, reports_usage=False) is not None


def test_a_warning_is_not_part_of_the_answer_behind_it() -> None:
    """The adapter warns, and then the provider fails."""
    assert failure((message("⚠️ The cache is cold.\n"), *NOTICE), {}, reports_usage=False) is not None


def test_a_warning_that_was_all_may_be_the_failure() -> None:
    """Some adapters only warn of it."""
    assert failure((message("⚠️ Warning: rate limit exceeded.\n"),), {}, reports_usage=False) is not None
