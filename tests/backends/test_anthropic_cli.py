"""The `anthropic-cli` kind, with processes that write what the Claude Code CLI writes."""

import json
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from acp_broker.clock import SystemClock
from acp_broker.contract import Backend
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.errors import BackendFailure
from acp_broker.wire.acp import text_of
from backends.odd_lines import MOST
from tests.backends.contract import HAS_MODES, SPEAKS_LATE, BackendContract, kinds
from tests.support.claude_code import failure_of, lines, opened, played
from tests.support.client import FakeClient, FakeTools, body, plain, raw, setup, turn

pytestmark = pytest.mark.anyio

RESETS_AT = 1795209741
END = {"type": "result", "subtype": "success"}


class Early(SystemClock):
    """A minute before that."""

    def wall(self) -> float:
        return RESETS_AT - 60.0


def delta(text: str) -> dict:
    event = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}}
    return {"type": "stream_event", "event": event}


def cycle(state: str) -> dict:
    return {"type": "command_lifecycle", "command_uuid": "$PROMPT", "state": state}


class TestAnthropicCli(BackendContract):
    def open(self, script, tools):
        return opened(script, tools)

    async def test_a_finished_turn_carries_the_runtimes_own_answer(self, tools, client):
        """Its stop reason and its usage: it speaks no ACP that could hold more."""
        async with self._opened({"turns": [[{"do": "end", "stopReason": "max_tokens"}]]}, tools) as backend:
            finished = await backend.run(turn(), client)

        assert ("max_tokens", 17) == (finished.stop_reason, plain(finished.answer)["usage"]["totalTokens"])

    async def test_what_comes_after_the_answer_belongs_to_no_attempt(self, tools, client):
        """A late change of mode must reach the session, and must not speak for a turn that has its answer."""
        async with self._opened(SPEAKS_LATE, tools) as backend:
            await backend.run(turn(), client)
            await tools.between.until(lambda between: "current_mode_update" in kinds(between))

        assert "current_mode_update" not in kinds(client)

    async def test_a_call_is_answered_by_the_runtime(self, tools):
        """It has one method of ACP."""
        async with self._opened(HAS_MODES, tools) as backend:
            answer = await backend.call("session/set_mode", {"modeId": raw("code")})

        assert {} == plain(answer)


@pytest.fixture
def tools(tmp_path: Path) -> FakeTools:
    return FakeTools(setup=setup(str(tmp_path)))


# --- what the CLI has really written


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("429", FailureKind.RATE_LIMITED),
        ("503", FailureKind.SERVER_ERROR),
        ("529", FailureKind.OVERLOADED),
        ("401", FailureKind.AUTH_REJECTED),
        ("403", FailureKind.AUTH_REJECTED),
        ("400", FailureKind.UNSUPPORTED),
        ("402", FailureKind.BILLING),
        ("404", FailureKind.MODEL_NOT_FOUND),
        ("refused", FailureKind.UNREACHABLE),
        ("reset-headers", FailureKind.UNREACHABLE),
        ("garbage", FailureKind.GARBLED),
        ("err-first", FailureKind.SERVER_ERROR),
        ("eof-first", FailureKind.UNREACHABLE),
        ("not-logged-in", FailureKind.AUTH_MISSING),
        ("usage-limit", FailureKind.ACCOUNT_RATE_LIMITED),
        ("retries", FailureKind.OVERLOADED),
    ],
)
async def test_its_words_for_a_failure_are_the_failure_and_are_not_shown(tools, client, fault, expected):
    """It writes them as a message of its own: shown, no fallback could answer any more."""
    failure = await failure_of(played(fault), tools, client)

    assert (expected, []) == (failure.kind, client.texts)


@pytest.mark.parametrize("fault", ["err-mid", "reset-mid", "eof-mid"])
async def test_words_before_a_failure_are_shown_and_it_is_no_end(tools, client, fault):
    """Half an answer is never reported as a whole one."""
    await failure_of(played(fault), tools, client)

    assert "alpha beta gamma " == "".join(client.texts)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("good", "end_turn"),
        ("thinks", "end_turn"),
        ("empty", "end_turn"),
        ("slash-context", "end_turn"),
        ("tool-shell", "end_turn"),
        ("max-turns", "max_turn_requests"),
    ],
)
async def test_a_turn_ends_as_it_says(tools, client, name, expected):
    """ACP v1, StopReason."""
    async with opened(played(name), tools) as backend:
        finished = await backend.run(turn(), client)

    assert expected == finished.stop_reason


@pytest.mark.parametrize(
    ("name", "expected"), [("good", "alpha beta gamma delta"), ("thinks", "alpha beta gamma delta"), ("empty", "")]
)
async def test_what_was_streamed_is_shown_once(tools, client, name, expected):
    """It comes a second time, whole, and a third time in the result."""
    async with opened(played(name), tools) as backend:
        await backend.run(turn(), client)

    assert expected == "".join(client.texts)


async def test_what_was_not_streamed_is_shown(tools, client):
    """Its own slash commands have their answer at once."""
    async with opened(played("slash-context"), tools) as backend:
        await backend.run(turn(), client)

    assert "".join(client.texts).startswith("## Context Usage")


async def test_thoughts_are_thoughts(tools, client):
    """A frontend shows them apart."""
    async with opened(played("thinks"), tools) as backend:
        await backend.run(turn(), client)

    assert ["agent_thought_chunk", "agent_message_chunk", "usage_update"] == list(dict.fromkeys(kinds(client)))


async def test_a_call_of_a_tool_is_followed_from_its_name_to_its_result(tools, client):
    """With its diff and its file, which frontends open."""
    tools.setup = replace(tools.setup, cwd="/")
    async with opened(played("tool-write"), tools) as backend:
        await backend.run(turn(), client)
    calls = [body(update) for update in client.updates if update.kind.startswith("tool_call")]
    diff = {"type": "diff", "path": "/drill.txt", "oldText": None, "newText": "alpha beta gamma delta"}

    assert [
        ("tool_call", "toolu_drill", "pending", "Write"),
        ("tool_call_update", "toolu_drill", "in_progress", "Write drill.txt"),
        ("tool_call_update", "toolu_drill", "completed", None),
    ] == [(one["sessionUpdate"], one["toolCallId"], one["status"], one.get("title")) for one in calls]
    assert ("edit", [diff], [{"path": "/drill.txt"}]) == tuple(
        calls[1][key] for key in ("kind", "content", "locations")
    )


async def test_what_a_command_has_printed_is_its_content(tools, client):
    """The person reads along."""
    async with opened(played("tool-shell"), tools) as backend:
        await backend.run(turn(), client)
    done = next(body(update) for update in client.updates if body(update).get("status") == "completed")

    assert [{"type": "content", "content": {"type": "text", "text": "drill"}}] == done["content"]


async def test_usage_and_cost_are_told(tools, client):
    """Of the last request and its answer; the money is the session's."""
    async with opened(played("good"), tools) as backend:
        finished = await backend.run(turn(), client)
    used = body(client.updates[-1])

    assert (True, 1_000_000, "USD") == (used["used"] > 12_000, used["size"], used["cost"]["currency"])
    assert used["used"] == plain(finished.answer)["usage"]["totalTokens"]


async def test_a_limit_that_opens_again_says_when(tools, client):
    """`resetsAt` is a point in time: nobody is asked before."""
    tools.clock = Early()
    failure = await failure_of(played("usage-limit"), tools, client)

    assert 60.0 == failure.retry_after_s


async def test_a_limit_of_an_earlier_turn_is_over(tools, client):
    """Whatever fails now asks for its own wait."""
    limit = {"type": "rate_limit_event", "rate_limit_info": {"status": "rejected", "resetsAt": RESETS_AT}}
    failed = {**END, "is_error": True, "result": "API Error: 529 overloaded"}
    tools.clock = Early()
    async with opened({"turns": lines(limit, failed)["turns"] + lines(failed)["turns"]}, tools) as backend:
        failures = [await _failure(backend, client) for _ in range(2)]

    assert [60.0, None] == [one.retry_after_s for one in failures]


async def test_a_limit_that_is_near_is_no_wait(tools, client):
    """It only warns; what failed has failed by something else."""
    tools.clock = Early()
    limit = {"type": "rate_limit_event", "rate_limit_info": {"status": "allowed_warning", "resetsAt": RESETS_AT}}
    failed = {**END, "is_error": True, "result": "API Error: 529 overloaded"}

    assert (await failure_of(lines(limit, failed), tools, client)).retry_after_s is None


async def test_its_own_retries_are_told(tools, client):
    """The wait for a first word is shorter from then on."""
    await failure_of(played("retries"), tools, client)

    assert ["submitted", "retrying", "retrying"] == client.phases


# --- what is no good end


LIMIT_TEXT = "Claude AI usage limit reached|{at}"


async def test_a_limit_told_in_words_says_when(tools, client):
    """As older versions write it."""

    class Early(SystemClock):
        def wall(self) -> float:
            return 1_760_000_000 - 30.0

    tools.clock = Early()
    end = {"type": "result", "subtype": "success", "is_error": True, "result": LIMIT_TEXT.format(at=1_760_000_000)}
    failure = await failure_of(lines(end), tools, client)

    assert (FailureKind.ACCOUNT_RATE_LIMITED, 30.0) == (failure.kind, failure.retry_after_s)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"stop_reason": "max_tokens"}, "max_tokens"),
        ({"stop_reason": "refusal"}, "refusal"),
        ({"stop_reason": "stop_sequence"}, "end_turn"),
        ({"stop_reason": "model_context_window_exceeded"}, "max_tokens"),
        ({"subtype": "error_max_turns", "is_error": True}, "max_turn_requests"),
        ({"subtype": "error_max_budget_usd", "is_error": True}, "max_turn_requests"),
    ],
)
async def test_a_stop_reason_is_acps(tools, client, members, expected):
    """Frontends know these five."""
    async with opened(lines({"type": "result", "subtype": "success", **members}), tools) as backend:
        finished = await backend.run(turn(), client)

    assert expected == finished.stop_reason


@pytest.mark.parametrize(
    "members",
    [
        {"subtype": "error_during_execution"},
        {"is_error": True, "result": "something broke"},
        {"subtype": "error_of_tomorrow"},
    ],
)
async def test_a_result_that_is_no_success_is_a_failure(tools, client, members):
    """However it is told."""
    failure = await failure_of(lines({"type": "result", "subtype": "success", **members}), tools, client)

    assert FailureKind.UNCLASSIFIED == failure.kind


async def test_a_lost_connection_is_told_by_its_code(tools, client):
    """Whatever words it finds for that."""
    failed = {**END, "is_error": True, "api_error": "connection_failed", "result": "It did not work out"}

    assert FailureKind.UNREACHABLE == (await failure_of(lines(failed), tools, client)).kind


async def test_the_words_of_an_answer_name_no_failure(tools, client):
    """What failed behind a long answer repeats it: it may speak of anything."""
    failed = {**END, "is_error": True, "result": f"{'It says: ' * 500} 429 rate limit exceeded"}

    assert FailureKind.UNCLASSIFIED == (await failure_of(lines(failed), tools, client)).kind


async def test_errors_without_a_result_say_what_failed(tools, client):
    """Some ends have no words but these."""
    failed = {"type": "result", "subtype": "error_during_execution", "is_error": True, "errors": ["overloaded_error"]}

    assert FailureKind.OVERLOADED == (await failure_of(lines(failed), tools, client)).kind


async def test_a_result_of_several_prompts_is_this_ones_too(tools, client):
    """It answers what was queued meanwhile along with what it had begun."""
    both = {**END, "stop_reason": "refusal", "user_message_uuid": "another", "user_message_uuids": ["a", "$PROMPT"]}
    async with opened(lines(both), tools) as backend:
        finished = await backend.run(turn(), client)

    assert "refusal" == finished.stop_reason


@pytest.mark.parametrize("members", [{"is_error": 5}, {"result": ["x"]}, {"usage": "none"}])
async def test_a_result_of_another_shape_is_garbled(tools, client, members):
    """Passed over, it would leave the turn without an end."""
    failure = await failure_of(lines({"type": "result", "subtype": "success", **members}), tools, client)

    assert FailureKind.GARBLED == failure.kind


@pytest.mark.parametrize("member", ["result", "errors", "usage", "modelUsage", "user_message_uuids", "stop_reason"])
async def test_nulls_in_a_result_count_as_left_out(tools, client, member):
    """JavaScript writes them for what is not there."""
    async with opened(lines({"type": "result", "subtype": "success", member: None}), tools) as backend:
        finished = await backend.run(turn(), client)

    assert "end_turn" == finished.stop_reason


async def test_an_interrupt_that_nobody_asked_for_is_a_failure(tools, client):
    """Somebody else sent a signal; `cancelled` would be a lie."""
    end = {"type": "result", "subtype": "error_during_execution", "is_error": True, "terminal_reason": "aborted_tools"}
    failure = await failure_of(lines(end), tools, client)

    assert (FailureKind.CRASHED, "was interrupted, which nobody asked for") == (failure.kind, failure.text)


async def test_an_answer_that_got_too_long_is_max_tokens(tools, client):
    """It marks that as an error of its own; the words were shown."""
    error = {"type": "assistant", "message": {"content": []}, "error": "max_output_tokens"}
    async with opened(lines(error, {"type": "result", "subtype": "success", "is_error": True}), tools) as backend:
        finished = await backend.run(turn(), client)

    assert "max_tokens" == finished.stop_reason


@pytest.mark.parametrize(("status", "expected"), [(0, "exited with code 0"), (3, "exited with code 3")])
async def test_an_end_without_a_result_is_a_crash(tools, client, status, expected):
    """Whatever it said before, and however politely it leaves."""
    failure = await failure_of(
        {"turns": [[{"do": "say", "text": "half"}, {"do": "exit", "status": status}]]}, tools, client
    )

    assert (FailureKind.CRASHED, expected, ["half"]) == (failure.kind, failure.text, client.texts)


async def test_a_result_of_another_prompt_is_not_this_ones(tools, client):
    """It may run a turn of its own first, for a task in its background; our prompt waits behind it."""
    said = {"type": "stream_event", "event": {"type": "content_block_delta", "delta": {"type": "text_delta"}}}
    theirs = {"type": "result", "subtype": "success", "user_message_uuid": "another"}
    ours = {"type": "result", "subtype": "success", "stop_reason": "refusal", "user_message_uuid": "$PROMPT"}
    async with opened(lines(theirs, said, ours), tools) as backend:
        finished = await backend.run(turn(), client)

    assert "refusal" == finished.stop_reason


async def test_what_is_said_while_the_prompt_waits_belongs_to_no_attempt(tools, client):
    """A switch would be ruled out by words of another turn."""

    another = {**cycle("started"), "command_uuid": "another"}
    script = lines(cycle("queued"), another, delta("theirs"), END, cycle("started"), delta("ours"), END)
    async with opened(script, tools) as backend:
        await backend.run(turn(), client)

    assert (["ours"], ["theirs"]) == (client.texts, tools.between.texts)


async def test_a_prompt_that_is_taken_from_the_queue_is_cancelled(tools, client):
    """The interrupt reaches it before its turn has begun: it has no result."""
    async with opened(lines(cycle("queued"), cycle("cancelled")), tools) as backend:
        finished = await backend.run(turn(), client)

    assert "cancelled" == finished.stop_reason


async def test_what_it_says_before_it_begins_with_a_prompt_is_not_its_answer(tools, client):
    """A task in its background has ended while the prompt was on its way: its words, its failure and its end."""
    error = {"type": "assistant", "message": {"content": []}, "error": "max_output_tokens"}
    theirs = (delta("theirs"), error, {"type": "result", "subtype": "success"}, cycle("queued"))
    first = lines(cycle("started"), delta("one"), END)["turns"]
    second = lines(*theirs, cycle("started"), delta("two"), END)["turns"]
    async with opened({"turns": first + second, "isBare": True}, tools) as backend:
        await backend.run(turn(), client)
        finished = await backend.run(turn(), client)

    assert (["one", "two"], ["theirs"]) == (client.texts, tools.between.texts)
    assert "end_turn" == finished.stop_reason


async def test_one_that_does_not_say_when_it_begins_is_heard_at_once(tools, client):
    """An older version: its words must not be lost."""
    script = {"turns": 2 * lines(delta("here"), END)["turns"], "isBare": True}
    async with opened(script, tools) as backend:
        await backend.run(turn(), client)
        await backend.run(turn(), client)

    assert ["here", "here"] == client.texts


async def test_a_message_without_an_id_is_shown(tools, client):
    """None was streamed before it that it could repeat."""
    said = {"type": "assistant", "message": {"content": [{"type": "text", "text": "whole"}]}}
    async with opened({**lines(said, END), "isBare": True}, tools) as backend:
        await backend.run(turn(), client)

    assert ["whole"] == client.texts


async def test_an_answer_that_went_on_behind_its_limit_is_a_whole_one(tools, client):
    """It has asked its provider for the rest by itself."""
    error = {"type": "assistant", "message": {"content": []}, "error": "max_output_tokens"}
    said = {"type": "assistant", "message": {"id": "m", "content": [{"type": "text", "text": "the rest"}]}}
    async with opened(lines(error, said, END), tools) as backend:
        finished = await backend.run(turn(), client)

    assert ("end_turn", ["the rest"]) == (finished.stop_reason, client.texts)


async def test_words_of_a_lesser_agent_are_not_the_answer(tools, client):
    """Those that it gives tasks to speak to it."""
    event = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "inside"}}
    inside = {"type": "stream_event", "event": event, "parent_tool_use_id": "toolu_1"}
    whole = {"type": "assistant", "message": {"content": [{"type": "text", "text": "x"}]}, "parent_tool_use_id": "t"}
    async with opened(lines(inside, whole, {"type": "result", "subtype": "success"}), tools) as backend:
        await backend.run(turn(), client)

    assert [] == client.texts


async def test_what_came_before_is_heard_before(tools, client):
    """In one read: its words, its question, more words, its own retry, its words."""
    request = {"subtype": "can_use_tool", "tool_name": "Write", "tool_use_id": "t", "input": {}}
    asks = {"type": "control_request", "request_id": "r", "request": request}
    taken_back = {"type": "control_cancel_request", "request_id": "r"}
    retry = {"type": "system", "subtype": "api_retry"}
    async with opened(lines(delta("a"), asks, delta("b"), taken_back, delta("c"), retry, END), tools) as backend:
        run = _Ordered()
        await backend.run(turn(), run)

    assert ["submitted", "a", "asked", "b", "withdrawn", "c", "retrying"] == run.heard


async def test_a_result_of_an_earlier_turns_tool_is_not_this_ones(tools, client):
    """It was interrupted, and its tool ended all the same."""
    call = {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "sleep 9"}}
    calls = {"type": "assistant", "message": {"id": "m", "content": [call]}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "late"}
    late = {"type": "user", "message": {"content": [result]}}
    script = {"turns": lines(calls, END)["turns"] + lines(late, END)["turns"]}
    async with opened(script, tools) as backend:
        await backend.run(turn(), client)
        second = FakeClient()
        await backend.run(turn(), second)

    assert (["tool_call"], []) == (kinds(client), kinds(second))


async def test_half_a_character_costs_no_word(tools, client):
    """JavaScript cuts strings inside an emoji."""
    cut = json.dumps(delta("half \ud83d")) + "\n"
    script = {"turns": [[{"do": "raw", "text": cut}, {"do": "raw", "text": json.dumps(END) + "\n", "ends": True}]]}
    async with opened(script, tools) as backend:
        await backend.run(turn(), client)

    assert ["half \N{REPLACEMENT CHARACTER}"] == client.texts


# --- noise


async def test_lines_that_are_no_messages_are_skipped(tools, client):
    """Hooks and wrappers print on stdout."""
    noise = {"do": "raw", "text": "Warning: deprecated\n{oops\n[1]\n"}
    async with opened({"turns": [[noise, {"do": "say", "text": "fine"}]]}, tools) as backend:
        await backend.run(turn(), client)
    odd = [fields["line"] for event, fields in tools.logged if event == "agent_odd_line"]

    assert (["fine"], ["Warning: deprecated", "{oops", "[1]"]) == (client.texts, odd)


async def test_a_program_that_writes_nothing_else_is_garbled(tools, client):
    """It is another one."""
    script = {"turns": [[{"do": "raw", "text": "hello\n" * (MOST + 1)}, {"do": "stall"}]]}
    failure = await failure_of(script, tools, client)

    assert (FailureKind.GARBLED, "does not speak stream-json; it says 'hello'") == (failure.kind, failure.text)


async def test_a_program_without_an_answer_to_initialize_is_garbled(tools, client):
    """Older than what this was written for."""
    with pytest.raises(BackendFailure) as raised:
        async with opened({"initialize": {"commands": 5}}, tools):
            pass

    assert (FailureKind.GARBLED, "opening") == (raised.value.failure.kind, raised.value.failure.seen_at)


async def test_a_program_that_does_not_know_its_options_says_so(tools):
    """The text is its own."""
    program = (sys.executable, "-c", "import sys; sys.exit('error: unknown option --session-id')")
    with pytest.raises(BackendFailure) as raised:
        async with opened({}, tools, command=program):
            pass

    assert (FailureKind.CRASHED, True) == (raised.value.failure.kind, "unknown option" in raised.value.failure.text)


@pytest.mark.parametrize(
    ("account", "is_missing"),
    [
        ({"tokenSource": "none", "apiProvider": "firstParty"}, True),
        ({"tokenSource": "none", "apiKeySource": "ANTHROPIC_API_KEY", "apiProvider": "firstParty"}, False),
        ({"subscriptionType": "Claude Max", "apiProvider": "firstParty"}, False),
        ({"tokenSource": "ANTHROPIC_AUTH_TOKEN", "apiProvider": "firstParty"}, False),
        ({"apiProvider": "bedrock"}, False),
        ({}, False),
    ],
)
async def test_without_a_login_no_prompt_is_sent(tools, account, is_missing):
    """It says so when it is opened, in these words for each of its logins."""
    try:
        async with opened({"initialize": {"account": account}}, tools):
            failure = None
    except BackendFailure as error:
        failure = error.failure.kind

    assert (FailureKind.AUTH_MISSING if is_missing else None) == failure


async def test_a_message_that_is_too_long_is_garbled(tools, client):
    """What its end would have been is lost."""
    script = {"turns": [[{"do": "flood"}, {"do": "stall"}]]}
    failure = await failure_of(script, tools, client)

    said = "sent a message longer than `limits.maxMessageBytes` of config.json: xx"
    assert (FailureKind.GARBLED, True) == (failure.kind, failure.text.startswith(said))


async def _failure(backend: Backend, client: FakeClient) -> Failure:
    with pytest.raises(BackendFailure) as raised:
        await backend.run(turn(), client)
    return raised.value.failure


class _Ordered(FakeClient):
    """What is heard, in order; and what is taken back."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[object] = []

    def reached(self, phase):
        self.heard.append(phase)

    def show(self, updates):
        self.heard += [text_of(update) for update in updates if update.kind == "agent_message_chunk"]

    def ask(self, method, params, answered):
        self.heard.append("asked")
        question = super().ask(method, params, answered)
        take_back = question.withdraw

        class Taken:
            def withdraw(_) -> None:
                self.heard.append("withdrawn")
                take_back()

        return Taken()
