"""Failures dressed as answers, and answers that only talk about failures."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acp_broker.core.doubt import judge, judge_last
from acp_broker.core.failures import FailureKind
from acp_broker.core.habits import Habits, Pattern
from acp_broker.core.look import MAX_CHARS, looks_like_failure
from acp_broker.core.names import StopReason
from acp_broker.core.retrying import is_retry_notice

K = FailureKind
GOOSE_END = "\n\nPlease retry if you think this is a transient or recoverable error."

# Whole answers that unmodified agents gave when their provider had failed, and what they mean.
NOTICES = [
    # goose
    (f"Ran into this error: Rate limit exceeded: Rate limit reached.{GOOSE_END}", K.RATE_LIMITED),
    (f"Ran into this error: Server error: 503 Service Unavailable.{GOOSE_END}", K.SERVER_ERROR),
    (f"Ran into this error: Authentication error: invalid x-api-key.{GOOSE_END}", K.AUTH_REJECTED),
    (
        f"Ran into this error: Request failed: Bad request (400): The `x` must be passed back..{GOOSE_END}",
        K.UNCLASSIFIED,
    ),
    (f"Ran into this error: Stream decode error: connection reset.{GOOSE_END}", K.UNREACHABLE),
    ("Network error: Could not connect to 127.0.0.1:9", K.UNREACHABLE),
    ("Network error: something odd", K.UNREACHABLE),
    # claude
    ("API Error: Request rejected (429) · Rate limit reached", K.RATE_LIMITED),
    (
        'API Error: 529 {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"r"}',
        K.OVERLOADED,
    ),
    ('API Error: 400 {"type":"error","error":{"type":"invalid_request_error","message":"x"}}', K.UNSUPPORTED),
    ("API Error: Repeated 529 Overloaded errors", K.OVERLOADED),
    ("API Error: Connection error.", K.UNREACHABLE),
    ("API Error (Request timed out.)", K.SERVER_ERROR),
    ("API Error: something nobody knows", K.UNCLASSIFIED),
    ("Invalid API key · Fix external API key", K.AUTH_REJECTED),
    ("Invalid API key · Please run /login", K.AUTH_REJECTED),
    ("OAuth token revoked · Please run /login", K.AUTH_REJECTED),
    ("Not logged in · Please run /login", K.AUTH_MISSING),
    ('Please run /login · API Error: 401 {"type":"error","error":{"type":"authentication_error"}}', K.AUTH_REJECTED),
    ("Claude AI usage limit reached|1767225600", K.ACCOUNT_RATE_LIMITED),
    ("You've hit your limit · resets 5pm (Europe/Berlin)", K.ACCOUNT_RATE_LIMITED),
    ("Credit balance is too low", K.BILLING),
    ("Prompt is too long", K.CONTEXT_OVERFLOW),
    # codex2
    ("exceeded retry limit, last status: 429 Too Many Requests, request id: r1", K.RATE_LIMITED),
    ("unexpected status 400 Bad Request: malformed, url: http://127.0.0.1:9/v1/responses", K.UNSUPPORTED),
    ("unexpected status 503 Service Unavailable: no", K.SERVER_ERROR),
    ("stream disconnected before completion: error sending request for url (http://127.0.0.1:9/v1)", K.UNREACHABLE),
    (
        "You've hit your usage limit. Visit https://x/usage to purchase more credits or try again at 3:28 PM.",
        K.ACCOUNT_RATE_LIMITED,
    ),
    ("Selected model is at capacity. Please try a different model.", K.OVERLOADED),
    # openhands
    ("Error: Conversation run failed for id=7: litellm.InternalServerError: boom", K.SERVER_ERROR),
    ("Error: Conversation run failed for id=7: boom", K.UNCLASSIFIED),
    # agents that nobody has described
    ("Error: rate limit exceeded", K.RATE_LIMITED),
    ("**Error:** 503 Service Unavailable", K.SERVER_ERROR),
    ("❌ Error: connect ECONNREFUSED 127.0.0.1:8080", K.UNREACHABLE),
    ("[ERROR] - Too many requests. Please slow down.", K.RATE_LIMITED),
    ("⚠️ LLM error: The model is overloaded. Please try again later.", K.OVERLOADED),
    ("Request failed with status code 502: Bad Gateway", K.SERVER_ERROR),
    ("An error occurred: Incorrect API key provided: sk-abcdefghij.", K.AUTH_REJECTED),
    ("HTTP 503: Service Unavailable", K.SERVER_ERROR),
    ('{"error":{"message":"Rate limit reached","type":"rate_limit_error"}}', K.RATE_LIMITED),
    ('{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}', K.OVERLOADED),
    ("Rate limit exceeded. Please try again later.", K.RATE_LIMITED),
    ("Too many requests (429)", K.RATE_LIMITED),
    ("The model is currently overloaded. Please try again in 20s.", K.OVERLOADED),
    ("Internal server error", K.SERVER_ERROR),
    # pi's own notices, run together before the end
    (
        "Retrying (attempt 1/3, waiting 2s)...Retrying (attempt 2/3, waiting 4s)...Error: 503 Service Unavailable",
        K.SERVER_ERROR,
    ),
]

# Answers of one short chunk, about errors, limits and retries. Each must arrive.
ANSWERS = [
    "HTTP 429 means that the server is rate limiting you.",
    "A 503 error indicates that the service is temporarily unavailable.",
    'Error: "rate limit exceeded" is what the API returns when you send too many requests per minute.',
    "API Error: 429 is returned when your key sends more than 50 requests per minute.",
    "Rate limits are per key, not per user.",
    "Rate limiting is done in middleware.py.",
    "Rate limit headers are parsed in client.ts.",
    "Too many requests were sent by your test loop; I added a delay.",
    '"Rate limit exceeded" comes from nginx, see limit_req.',
    "`Error: connect ECONNREFUSED 127.0.0.1:5432` usually means that Postgres is not running.",
    "Error: the port is already in use.",
    "Error: 500 tests failed",
    "Error: 404 pages are not styled yet.",
    "Error handling is done in errors.py: 429 is retried, 401 is not.",
    "Errors are retried three times, then the request failed handler runs.",
    "Error: cannot find module 'express'. Run npm install.",
    "Error: undefined variable x on line 3.",
    "The error was a typo: `reponse` instead of `response`.",
    "The server answered 503 because its disk was full.",
    "The model is overloaded with responsibilities; split User into two classes.",
    "Overloaded functions share a name.",
    "Overloaded operators are defined in vec.h.",
    "Unauthorized users see the login page.",
    "Authentication works now.",
    "Authentication required a new middleware, which I added in auth.py.",
    "Insufficient test coverage: 43 %.",
    "Network errors are now caught.",
    "Network error handling: I wrapped fetch in a try block.",
    "Connection errors are retried with backoff.",
    "Connection error? Check that the proxy is up.",
    "Request failed tests are in tests/http/test_failed.py.",
    "Invalid API keys are rejected with 401.",
    "Invalid API key handling happens in auth.go.",
    "Internal server errors are logged with a trace id.",
    "Service unavailable pages live in templates/503.html.",
    "You've hit your head on a classic: off by one.",
    "You've reached your goal: all tests pass.",
    "Quota exceeded is status 429 here.",
    "Usage limits: 5 per hour for free users, 50 for paid ones.",
    "Prompt is too long a name; call it `text`.",
    "Stream errors close the socket.",
    "Stream disconnected handlers are registered in ws.ts.",
    "Fatal: I could not reproduce it.",
    "Retrying is done in retry.py with a limit of 3.",
    "I got a rate limit error (429) from GitHub, so I stopped after 3 calls.",
    "The log says:\n\n> Error: rate limit exceeded\n\nThat is GitHub's limit.",
    "Error: rate limit exceeded\n\nThe line above is printed by gh. Log in first to get a higher limit.",
    "```\nError: 503 Service Unavailable\n```",
    "Error: 429 Too Many Requests\n```sh\nsleep 60\n```",
    "Errors:\n- 401: invalid API key\n- 429: rate limit exceeded",
    "# Errors\n429 means slow down.",
    "Error: rate limit exceeded - is that the message you mean?",
    "Here is the error: 503 Service Unavailable.",
    "Done. The 429 branch now sleeps.",
    "500",
    "429",
    "Error",
    '{"error": null, "status": 429}',
    '{"status": 503, "retry": true}',
    "OK",
]

RETRIES = [
    "Retrying (attempt 1/3, waiting 2s)...",
    "Retry finished, resuming.",
    "Reconnecting... 1/5",
    "Reconnecting 2/5",
    "Retrying...",
    "Retrying in 5 seconds…",
    "Info: the provider answered 503. Retrying...",
    "Info: Rate limit reached. Retrying in 10s (2/5)",
    "API Error (Connection error.) · Retrying in 1 seconds… (attempt 1/10)",
    "⚠️ Rate limited. Retrying in 30s...",
]

NO_RETRIES = [
    "Retrying the build with the new flag.",
    "Retrying is done in retry.py.",
    "Retry-After is a header.",
    "Reconnecting sockets needs a heartbeat.",
    "Info: nothing to do.",
    "Trying again.",
    "Trying again...",
    "Retrying.",
    "The server returned 503, retrying.",
    "The request timed out. Retrying.",
    "The API call timed out; trying again.",
    "Rate limit hit; wait for the window to reset before retrying.",
    "Claude's API returned 529. Wait a minute before retrying.",
    "OpenAI answers 429 with a Retry-After header: honour it when retrying.",
    "Error handling now logs each failed upload before retrying.",
    "Connection refused on port 5432. Start Postgres before retrying.",
    "Info: retrying is off by default.",
    "Rate limits: retrying too early makes it worse.",
    "Error: rate limit exceeded",
    "",
    "Retrying " * 100,
]


@pytest.mark.parametrize(("words", "kind"), NOTICES)
@pytest.mark.parametrize("usage_present", [None, False])
def test_a_notice_is_a_failure(words: str, kind: FailureKind, usage_present: bool | None) -> None:
    """agents.md 1: five of twenty agents end a 503 with `end_turn` and the failure as an ordinary message."""
    failure = judge(words, "end_turn", usage_present)

    assert failure is not None
    assert kind is failure.kind


@pytest.mark.parametrize(("words", "kind"), NOTICES)
def test_a_notice_is_held(words: str, kind: FailureKind) -> None:
    """What is not held as it comes is never judged."""
    assert looks_like_failure(words) or is_retry_notice(words[:37])


# How providers begin their sentences, and adapters theirs; judged only when the turn has ended.
OPENINGS = [
    "Internal error: x",
    "Server error 503",
    "Provider error: x",
    "Model error: x",
    "fatal: x",
    "stream error: x",
    "Connection error.",
    "Unable to connect to API (ECONNREFUSED)",
    "Request timed out.",
    "Request rejected (429)",
    "Service unavailable",
    "Overloaded",
    "Usage limit reached",
    "Quota exceeded for metric x",
    "Insufficient credits",
    "You have hit your ChatGPT usage limit",
    "You've reached your weekly limit",
    "You exceeded your current quota, please check your plan",
    "Claude usage limit reached.",
    "Your credit balance is too low to access the API",
    "Incorrect API key provided",
    "Authentication required",
    "Unauthorized",
    "The server is overloaded",
    "The service is unavailable",
    "HTTP 429",
    '{"type": "error", "error": {}}',
    "  \n⚠️ **Error**",
]


@pytest.mark.parametrize("text", OPENINGS)
def test_what_begins_as_a_failure_does_is_held(text: str) -> None:
    """Broad on purpose: it costs a real answer 250 ms at most."""
    assert looks_like_failure(text)


@pytest.mark.parametrize("words", ANSWERS)
def test_an_answer_about_errors_arrives(words: str) -> None:
    """A false alarm throws away a good answer; it is as bad as a miss."""
    assert judge(words, "end_turn", None) is None


@pytest.mark.parametrize(("words", "kind"), NOTICES)
def test_where_usage_says_that_a_model_spoke_it_is_an_answer(words: str, kind: FailureKind) -> None:
    """A person may ask for exactly these words."""
    assert judge(words, "end_turn", True) is None


@pytest.mark.parametrize("words", ["Rate limit hit for this key", "Authentication with the provider timed out"])
def test_a_broken_habit_is_evidence(words: str) -> None:
    """agents.md 1.5: absence of `usage` counts where its presence is the habit."""
    assert judge(words, "end_turn", False) is not None


@pytest.mark.parametrize("words", ["Rate limit hit for this key", "Authentication with the provider timed out"])
def test_without_a_habit_a_mere_opening_is_no_evidence(words: str) -> None:
    """The other half of the rule above."""
    assert judge(words, "end_turn", None) is None


def test_a_refusal_may_be_a_notice() -> None:
    """One of twenty agents ends with `refusal` after its failure text."""
    assert judge("Error: rate limit exceeded", "refusal", None) is not None


@pytest.mark.parametrize("stop_reason", ["max_tokens", "max_turn_requests", "cancelled"])
def test_other_ends_are_no_failures_of_this_kind(stop_reason: StopReason) -> None:
    """Their words were a model's, or nobody's fault."""
    assert judge("Error: rate limit exceeded", stop_reason, None) is None


@pytest.mark.parametrize("words", ["", " \n", "Retrying (attempt 1/3, waiting 2s)..."])
def test_no_words_are_no_notice(words: str) -> None:
    """An empty turn is the machine's to judge."""
    assert judge(words, "end_turn", None) is None


def test_a_notice_says_when_it_was_seen_and_how_long_to_wait() -> None:
    """The rest of the candidate depends on it."""
    failure = judge("Error: rate limit exceeded, try again in 20s", "end_turn", None)

    assert failure is not None
    assert (failure.retry_after_s, failure.seen_at) == (20.0, "submitted")


def test_a_long_text_is_an_answer() -> None:
    """Notices are short; what is long was written by a model."""
    assert judge("Error: rate limit exceeded. " + "And so on. " * 100, "end_turn", False) is None


def test_even_an_agents_exact_wording_has_a_limit() -> None:
    """A whole answer may begin with the quotation of a notice."""
    assert judge("API Error: 529 overloaded. " + "And so on. " * 400, "end_turn", False) is None


@pytest.mark.parametrize("text", RETRIES)
def test_an_agents_own_retry_is_known(text: str) -> None:
    """It is a note, and evidence that the provider has failed."""
    assert is_retry_notice(text)


@pytest.mark.parametrize("text", NO_RETRIES)
def test_a_text_about_retries_is_no_notice(text: str) -> None:
    """Taken for a note, the model's first words would be held back and the wait cut short."""
    assert not is_retry_notice(text)


ORDINARY = [
    "I'll look at the tests first.",
    "Sure! Here is the function:",
    "The",
    "Let me read the file",
    "Hello",
    "  \n",
    "",
    "429",
    "Terror: a history",
    "```python\n",
    "# Plan",
    "Yes.",
]


@pytest.mark.parametrize("text", ORDINARY)
def test_an_ordinary_chunk_is_not_held(text: str) -> None:
    """Every answer begins with one; it must not wait."""
    assert not looks_like_failure(text)


def test_a_long_chunk_is_not_held() -> None:
    """No agent writes a notice of four thousand characters."""
    assert not looks_like_failure("Error: " + "x" * 4_000)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.text(max_size=300), st.sampled_from(["", "Error: ", "API Error: ", "Retrying ", "❌ "]))
def test_no_text_can_break_the_judge(text: str, label: str) -> None:
    """It reads what strangers wrote, between an answer and the person who waits for it."""
    judge(label + text, "end_turn", None)
    is_retry_notice(label + text)
    looks_like_failure(label + text)


@pytest.mark.parametrize("unit", ["error ", "Error: ", "retrying ", "Retrying 1/", "model ", "\n", " - ", "session "])
def test_no_text_makes_the_judge_slow(unit: str) -> None:
    """Bounded by length before anything is searched: this ends, and at once."""
    judge("Error: " + (unit * 4_000)[:3_900], "end_turn", False)
    is_retry_notice("Info: " + (unit * 400)[:390])


# --- an agent's own wording that fits the whole text

OWN = Habits(notices=(Pattern(re.compile(r"(?s)stream error: .*"), K.SERVER_ERROR),))


def test_usage_does_not_vouch_for_an_agents_own_wording() -> None:
    """goose tells a failure with the usage of the turn before."""
    failure = judge("stream error: closed before completion", "end_turn", True, OWN)

    assert K.SERVER_ERROR is getattr(failure, "kind", None)


def test_a_last_message_that_is_longer_than_any_notice_is_an_answers() -> None:
    """However it begins."""
    assert judge_last("stream error: " + "x" * MAX_CHARS, None, OWN) is None
