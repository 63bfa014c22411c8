"""The expressions of the rows, held against what the agents really said, with their provider failing and healthy."""

import json
from pathlib import Path

import pytest
from msgspec import Struct

from acp_broker.core.doubt import judge
from acp_broker.core.failures import FailureKind as K
from acp_broker.core.habits import Habits
from acp_broker.core.look import first_look
from acp_broker.core.weight import Weight
from backends.acp import rows

# As they arrived, one chunk each; the numbers are what a fault server sent.
NOTICES: dict[str, dict[str, K]] = {
    "claude": {
        "API Error: 400 messages: text content blocks must be non-empty": K.UNSUPPORTED,
        "API Error: 503 Internal server error. This is a server-side issue, usually temporary — try again in a moment. "
        "If it persists, check your inference gateway (127.0.0.1:1).": K.SERVER_ERROR,
        "API Error: Connection to the API was lost (ECONNRESET). This is usually temporary — try again.": K.UNREACHABLE,
        "API Error: Can't reach the API server — check your internet or DNS (ENOTFOUND)": K.UNREACHABLE,
        "API Error: No internet route — check your connection or VPN (ENETUNREACH)": K.UNREACHABLE,
        "API Error: 529 Overloaded. The API is at capacity — this is usually temporary. Try again in a "
        "moment.": K.OVERLOADED,
        "API Error: Connection refused — a firewall or proxy may be blocking it (ECONNREFUSED)": K.UNREACHABLE,
        "API Error: Connection dropped (ECONNRESET). Check the gateway set in ANTHROPIC_BASE_URL, then try "
        "again.": K.UNREACHABLE,
        "API Error: API returned an empty or malformed response (HTTP 200) — check for a proxy or gateway intercepting "
        "the request. Response: content-type html, body is an HTML page, 94 bytes, request-id absent.": K.GARBLED,
        "API Error: Request rejected (429) · Rate limit reached": K.RATE_LIMITED,
        "API Error: 529 Overloaded": K.OVERLOADED,
        "Invalid API key · Fix external API key": K.AUTH_REJECTED,
        "Please run /login · API Error: 401": K.AUTH_REJECTED,
        "Not logged in · Please run /login": K.AUTH_MISSING,
        "OAuth token has expired · Please run /login": K.AUTH_REJECTED,
        "Claude AI usage limit reached|1795195200": K.ACCOUNT_RATE_LIMITED,
        "You've hit your limit · resets 5pm": K.ACCOUNT_RATE_LIMITED,
        "You've reached your weekly limit.": K.ACCOUNT_RATE_LIMITED,
        "Credit balance is too low": K.BILLING,
        "Prompt is too long": K.CONTEXT_OVERFLOW,
    },
    "codex": {
        "exceeded retry limit, last status: 429 Too Many Requests, request id: req_drill\n\n": K.RATE_LIMITED,
        "unexpected status 503 Service Unavailable: The server is currently overloaded with other requests. Sorry "
        "about that!, url: http://127.0.0.1:1/v1/responses, request id: req_drill\n\n": K.OVERLOADED,
        "stream disconnected before completion: stream closed before response.completed\n\n": K.SERVER_ERROR,
        "Selected model is at capacity. Please try a different model.": K.OVERLOADED,
    },
    "goose": {
        "Ran into this error: Server error: Server error (503 Service Unavailable): The server is currently overloaded "
        "with other requests. Sorry about that!.\n\nPlease retry if you think this is a transient or recoverable "
        "error.": K.OVERLOADED,
        "Ran into this error: Rate limit exceeded: Rate limit reached.\n\nPlease retry if you think this is a "
        "transient or recoverable error.": K.RATE_LIMITED,
        "Ran into this error: Authentication error: Authentication failed. Status: 401 Unauthorized. Response: "
        "Incorrect API key provided: x..\n\nPlease retry if you think this is a transient or recoverable "
        "error.": K.AUTH_REJECTED,
        "Network error: Could not connect to 127.0.0.1:37343 — check your network connection and try again.\n\n"
        "Please resend your message to try again.": K.UNREACHABLE,
    },
    "openhands": {
        "Error: Conversation run failed for id=3f0c: litellm.ServiceUnavailableError: overloaded": K.OVERLOADED,
    },
}
RETRYING: dict[str, tuple[str, ...]] = {
    "pi": (
        "Retrying (attempt 1/3, waiting 2s)...",
        "Retrying (attempt 3/3, waiting 8s)...",
        "Retry finished, resuming.",
    ),
}
_METADATA = (
    "Model metadata for `fake-model` not found. Defaulting to fallback metadata; this can degrade performance and "
    "cause issues."
)
ASIDES: dict[str, tuple[str, ...]] = {
    "codex": (f"Warning: {_METADATA}\n\n",),
    "codex-zed": (_METADATA,),
    "pi": (
        "pi v0.87.1\n---\n",
        "pi v0.87.1\n---\n\n---\nNew version available: v1.5.2 (installed v0.87.1). Run: `npm i -g pi`\n",
    ),
    "openhands": ("System Prompt:\nYou are OpenHands agent, a helpful AI assistant",),
}
# What a healthy one may say, as a whole answer.
ANSWERS = (
    "API Error: 529 means that Anthropic is overloaded; wait, then send the request again.",
    "API errors of this service carry a code and a message.",
    "The request is retried three times, then the error is shown.",
    "Network errors are logged in `client.py`, line 40.",
    "Retrying is right here: a 503 passes.",
    "Model metadata lives in models.json.",
    "pi is 3.14159.",
    "System prompts are kept in prompts/.",
    "Your limit is 5 requests a second; raise it in settings.py.",
    "Reconnecting works now.",
    "four",
)


class Said(Struct, frozen=True):
    agent: str
    text: str
    means: K = K.UNCLASSIFIED

    @property
    def habits(self) -> Habits:
        return rows.habits(rows.known()[self.agent])


def named(said: Said) -> str:
    return f"{said.agent}: {said.text[:30]}"


@pytest.mark.parametrize(
    "said", [Said(name, text, kind) for name, texts in NOTICES.items() for text, kind in texts.items()], ids=named
)
def test_a_notice_of_a_known_agent_is_held_and_judged(said: Said):
    """It never reaches the person as an answer, and what it means decides who is asked next."""
    assert Weight.DOUBTFUL == first_look(said.text, said.habits)

    failure = judge(said.text, "end_turn", None, said.habits)

    assert failure is not None
    assert said.means == failure.kind


@pytest.mark.parametrize("name", sorted(rows.known()))
def test_an_agent_that_words_its_failures_is_given_time_to_end_its_turn(name: str):
    """Its notice looks like nothing else; on a busy machine a quarter of a second is too short."""
    row = rows.known()[name]

    assert bool(row.notices) == (row.limits is not None and row.limits.doubt_ms == 2_000)


@pytest.mark.parametrize("said", [Said(name, text) for name, texts in RETRYING.items() for text in texts], ids=named)
def test_a_retry_of_a_known_agent_is_a_note(said: Said):
    """It shortens the wait, and is no answer."""
    assert Weight.RETRYING == first_look(said.text, said.habits)


@pytest.mark.parametrize("said", [Said(name, text) for name, texts in ASIDES.items() for text in texts], ids=named)
def test_an_aside_of_a_known_agent_is_no_answer(said: Said):
    """It would be the commit point: nobody else could answer any more."""
    assert Weight.ASIDE == first_look(said.text, said.habits)


@pytest.mark.parametrize("name", sorted(rows.known()))
@pytest.mark.parametrize("text", ANSWERS)
def test_an_answer_of_a_known_agent_is_none_of_these(name: str, text: str):
    """A row must not make honest words disappear."""
    habits = rows.habits(rows.known()[name])

    assert first_look(text, habits) in (Weight.PLAIN, Weight.DOUBTFUL)
    assert judge(text, "end_turn", None, habits) is None


@pytest.mark.parametrize("name", sorted(rows.known()))
def test_every_expression_of_a_row_has_a_text_here(name: str):
    """One that fits nothing that was ever said is a guess."""
    row, habits = rows.known()[name], rows.habits(rows.known()[name])
    texts = [*NOTICES.get(name, {}), *RETRYING.get(name, ()), *ASIDES.get(name, ())]
    expressions = [*(notice.regex for notice in habits.notices), *habits.retrying, *habits.asides]

    assert [] == [one.pattern for one in expressions if not any(one.match(text) for text in texts)], row.title


# --- recorded traffic

HEALTHY = ("good", "tool-shell", "tool-write")


class Recording(Struct, frozen=True):
    """What one agent said, once, in a transcript of tests/transcripts."""

    agent: str
    fault: str
    # Whether the model had said something when its provider failed.
    has_words: bool
    lines: list[dict]
    # Those of the turn whose provider failed.
    last: list[dict]

    @property
    def calls_itself(self) -> str | None:
        info = next((line["result"].get("agentInfo") for line in self.lines if "agentCapabilities" in str(line)), None)
        return info.get("name") if info else None

    @property
    def texts(self) -> list[str]:
        """Of its message chunks."""
        updates = [line["params"].get("update", {}) for line in self.last if line.get("method") == "session/update"]
        chunks = [update for update in updates if update.get("sessionUpdate") == "agent_message_chunk"]
        return [text for chunk in chunks if (text := chunk["content"].get("text"))]


def recordings() -> list[Recording]:
    found = []
    for path in sorted((Path(__file__).parents[1] / "transcripts").glob("*/*.jsonl")):
        head, *lines = map(json.loads, path.read_text().splitlines())
        spoken = [(line["by"], line["said"]) for line in lines if "said" in line]
        prompts = [at for at, (_, said) in enumerate(spoken) if said.get("method") == "session/prompt"]
        # Faults in the middle come behind turns that were well.
        last = spoken[prompts[-1] :] if len(prompts) > 1 else spoken
        said, end = ([one for by, one in part if by == "agent"] for part in (spoken, last))
        found.append(Recording(head["agent"], head["fault"], bool(head["words"]), said, end))
    return [one for one in found if one.agent in rows.known()]


def test_recorded_agents_are_known_by_what_they_called_themselves():
    """`infoNames` is what they send, not what they are called."""
    for one in recordings():
        name = one.calls_itself
        assert name is None or one.agent == rows.by_info(name), f"{one.agent}/{one.fault} calls itself {name}"


def test_no_word_of_a_recorded_healthy_answer_is_taken_for_a_notice():
    """Chunk by chunk, and as a whole."""
    for one in recordings():
        habits = rows.habits(rows.known()[one.agent])
        if one.fault == "good":
            words = [text for text in one.texts if first_look(text, habits) is not Weight.ASIDE]
            where = f"{one.agent}: {words}"
            assert words, where
            assert {Weight.PLAIN} == {first_look(text, habits) for text in words}, where
            assert judge("".join(words), "end_turn", None, habits) is None, where


def test_what_recorded_agents_said_of_a_failed_provider_was_no_answer():
    """The model had said nothing: each word is a notice, a retry or an aside."""
    for one in recordings():
        habits = rows.habits(rows.known()[one.agent])
        if one.fault not in HEALTHY and not one.has_words:
            own = [text for text in one.texts if first_look(text, habits) not in (Weight.ASIDE, Weight.RETRYING)]
            words = "".join(own)
            where = f"{one.agent}/{one.fault}: {words[:200]}"
            assert not words.strip() or judge(words, "end_turn", None, habits) is not None, where
