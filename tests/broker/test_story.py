"""What a frontend is told: exact texts, for they are read on a bad day."""

import json

import pytest
from msgspec import Raw

from acp_broker.broker import story
from acp_broker.broker.story import Passed, Story, Tried
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.names import BackendId, Candidate, ProfileId, TurnId
from acp_broker.core.turnrules import Miss

A, B = Candidate(BackendId("claude")), Candidate(BackendId("codex"), ProfileId("work"))
TOLD = Story(TurnId("t-1"), attempts=(Tried(BackendId("claude"), "crashed", "killed by SIGKILL", 12),))


def miss(candidate: Candidate, kind: FailureKind, text: str, **members: object) -> Miss:
    return Miss(1, candidate, Failure(kind, text, **members))


CRASHED = miss(A, FailureKind.CRASHED, "killed by SIGKILL")
LIMITED = miss(B, FailureKind.RATE_LIMITED, "429 Too Many Requests", code="429", retry_after_s=34.0)
LOGGED_OUT = miss(B, FailureKind.AUTH_MISSING, "Authentication required", code="-32000")


def refused(*misses: Miss, committed: bool = False, has_spoken: bool = False):
    return story.refused(misses, committed=committed, has_spoken=has_spoken, story=TOLD)


def answered(answer: Raw, *rest) -> bytes:
    return bytes(story.answered(answer, *rest))


def data(error) -> dict:
    return json.loads(bytes(error.data))


def test_a_chain_that_is_exhausted_is_told_in_order():
    """The person reads who was tried, and why each could not."""
    error = refused(CRASHED, LIMITED)

    text = "All ACP backends failed (2): claude: killed by SIGKILL | codex (work): 429 Too Many Requests"
    assert (-33001, text) == (error.code, error.message)


def test_an_error_says_when_to_come_back():
    """Whoever wrote a client can wait exactly so long."""
    later = miss(A, FailureKind.OVERLOADED, "busy", retry_after_s=60.0)

    assert 34.0 == data(refused(later, LIMITED))["retryAfter"]


def test_without_a_wait_that_was_asked_for_none_is_told():
    """A guess would be taken for knowledge."""
    assert "retryAfter" not in data(refused(CRASHED))


def test_the_data_of_an_error_is_small():
    """Zed prints it under the message."""
    expected = {
        "code": "exhausted",
        "details": "All ACP backends failed (2): claude: killed by SIGKILL | codex (work): 429 Too Many Requests",
        "turn": "t-1",
        "attempts": [{"backend": "claude", "failure": "crashed", "text": "killed by SIGKILL", "ms": 12}],
        "retryAfter": 34.0,
    }

    assert expected == data(refused(CRASHED, LIMITED))


def test_one_backend_alone_is_told_by_its_own_error():
    """Nobody speaks of a chain where there is none."""
    error = refused(miss(A, FailureKind.UNSUPPORTED, "Method not found", code="-32601"))

    assert (-32601, "claude: Method not found") == (error.code, error.message)


@pytest.mark.parametrize("code", ["-32603", "-9", "429", "ENOENT", None])
def test_codes_that_mean_something_else_are_not_passed_on(code):
    """acpx runs a prompt again on -32603; a signal or an HTTP status is no JSON-RPC code."""
    assert -33001 == refused(miss(A, FailureKind.CRASHED, "gone", code=code)).code


def test_a_failure_after_the_first_word_says_that_the_words_stay():
    """And why nobody else was tried."""
    error = refused(CRASHED, committed=True, has_spoken=True)

    text = (
        "claude failed after it had begun to answer: killed by SIGKILL. "
        "Nobody else was tried: its words were already shown"
    )
    assert (-33002, text, "failed_after_commit") == (error.code, error.message, data(error)["code"])


def test_a_failure_after_the_first_word_says_who_had_failed_before():
    """A refused key is what a person can mend; the last one's words alone would hide it."""
    error = refused(LIMITED, CRASHED, committed=True, has_spoken=True)

    text = (
        "claude failed after it had begun to answer: killed by SIGKILL. "
        "Before it failed codex (work): 429 Too Many Requests. "
        "Nobody was tried after it: its words were already shown"
    )
    assert text == error.message


@pytest.mark.parametrize("reason", ["Overloaded.", "Sorry about that!", "Is it running?", "It said: a, b…"])
def test_a_reason_that_is_a_sentence_gets_no_second_full_stop(reason):
    """Providers write whole sentences."""
    error = refused(miss(A, FailureKind.SERVER_ERROR, reason), committed=True, has_spoken=True)

    assert (
        f"claude failed after it had begun to answer: {reason} Nobody else was tried: its words were already shown"
        == (error.message)
    )


def test_a_failure_after_submitting_says_that_nobody_may_run_it_again():
    """Commit point `submitted`."""
    error = refused(CRASHED, committed=True)

    text = (
        "claude failed after the prompt was submitted to it: killed by SIGKILL. "
        "Nobody else was tried: it may have acted on the prompt"
    )
    assert (-33002, text) == (error.code, error.message)


def test_when_everybody_is_logged_out_the_error_says_so():
    """ACP v1: clients know -32000, and offer a login."""
    error = refused(miss(A, FailureKind.AUTH_REJECTED, "invalid x-api-key"), LOGGED_OUT)

    text = "Authentication required: claude: invalid x-api-key | codex (work): Authentication required"
    assert (-32000, text) == (error.code, error.message)


def test_when_only_one_is_logged_out_the_chain_is_exhausted():
    """A login alone would not have helped."""
    assert -33001 == refused(CRASHED, LOGGED_OUT).code


def test_a_fault_of_ours_has_our_name_on_it():
    """Nobody should look for it in the agent."""
    error = refused(miss(A, FailureKind.BROKER_FAULT, "cannot write the session log"))

    assert (-33004, "cannot write the session log") == (error.code, error.message)


def test_when_nobody_can_take_a_prompt_it_says_why_of_each():
    """An image, and no backend that takes one."""
    passed = (Passed(BackendId("claude"), "it takes no images"), Passed(BackendId("codex"), "it takes no images"))
    error = story.nobody(Story(TurnId("t-1"), skipped=passed))

    text = "No ACP backend can take this prompt: claude: it takes no images | codex: it takes no images"
    assert (-33001, text, "no_candidate") == (error.code, error.message, data(error)["code"])


def test_the_story_is_merged_into_the_agents_own_meta():
    """`_meta` passes both ways, ours under our own name."""
    answer = Raw(b'{"stopReason":"end_turn","usage":{"totalTokens":3},"_meta":{"theirs":1.50}}')
    told = json.loads(answered(answer, "end_turn", TOLD), parse_float=str)

    assert ("1.50", "t-1", 3) == (
        told["_meta"]["theirs"],
        told["_meta"]["acp-broker"]["turn"],
        told["usage"]["totalTokens"],
    )


def test_our_stop_reason_is_the_one_that_counts():
    """A cancelled prompt is answered `cancelled`, whatever its agent says (ACP v1, prompt-turn)."""
    told = json.loads(answered(Raw(b'{"stopReason":"end_turn"}'), "cancelled", TOLD))

    assert "cancelled" == told["stopReason"]


@pytest.mark.parametrize("answer", [b"null", b"[]", b'"end_turn"', b'{"_meta":null}', b'{"_meta":3}'])
def test_an_answer_of_any_shape_becomes_one(answer):
    """The runtime's own members are kept where it has any."""
    told = json.loads(answered(Raw(answer), "end_turn", TOLD))

    assert ("end_turn", "t-1") == (told["stopReason"], told["_meta"]["acp-broker"]["turn"])


def test_a_story_tells_only_what_there_is():
    """An ordinary turn has a short one."""
    told = json.loads(answered(Raw(b"{}"), "end_turn", Story(TurnId("t-1"), BackendId("claude"))))

    assert {"turn": "t-1", "backend": "claude"} == told["_meta"]["acp-broker"]
