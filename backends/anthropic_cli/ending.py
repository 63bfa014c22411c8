"""How a turn of Claude Code ended: its `result`, as a stop reason or as a failure."""

import re
from collections.abc import Mapping

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from acp_broker.contract import Finished
from acp_broker.core import classify, retry_after
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.names import StopReason
from acp_broker.errors import INTERNAL_ERROR, BackendFailure
from acp_broker.wire.acp import Update, update
from backends.anthropic_cli import wire

# A `result` that is no success, though nothing failed: a limit that the user has set.
_LIMITS: Mapping[str, StopReason] = {
    "error_max_turns": "max_turn_requests",
    "error_max_budget_usd": "max_turn_requests",
}
_REASONS: Mapping[str, StopReason] = {
    "max_tokens": "max_tokens",
    "model_context_window_exceeded": "max_tokens",
    "refusal": "refusal",
}
# "Claude AI usage limit reached|1760000000", in seconds since the epoch.
_RESETS_AT = re.compile(r"limit reached\|(\d{10})\b")
_CONNECTION = "connection_failed"
# What a failure is read from: the rest of a long text repeats the answer.
_LONGEST = 4_096


def finished(result: wire.Result, said: str | None, limit: wire.Limit | None, wall: float) -> Finished:
    """The end of the turn. `said` is how it marked the failure that it worded, `limit` the last that a provider told;
    `wall` is now, in seconds since the epoch.

    Raises BackendFailure.
    """
    stop = _LIMITS.get(result.subtype) or _REASONS.get(result.stop_reason or "")
    if stop is None and said == "max_output_tokens":
        stop = "max_tokens"
    if stop is None and (result.is_error or result.subtype not in ("", "success")):
        raise BackendFailure(_failure(result, said, limit, wall))
    return ended(stop or "end_turn", result.usage)


def ended(stop: StopReason, usage: wire.Tokens | None = None) -> Finished:
    answer: dict[str, object] = {"stopReason": stop}
    if usage is not None:
        answer["usage"] = {
            "totalTokens": usage.all,
            "inputTokens": usage.input,
            "outputTokens": usage.output,
            "cachedReadTokens": usage.read or 0,
            "cachedWriteTokens": usage.written or 0,
        }
    return Finished(stop, Raw(msgspec.json.encode(answer)))


def used(result: wire.Result, context: int) -> list[Update]:
    """How full the context is, and what the session has cost."""
    window = max((one.context for one in (result.models or {}).values()), default=0)
    if not window or not context:
        return []
    return [
        update("usage_update", used=context, size=window, cost={"amount": result.total_cost_usd, "currency": "USD"})
    ]


def is_cut(result: wire.Result) -> bool:
    """Whether an interrupt ended it."""
    return (result.terminal_reason or "").startswith("aborted")


def _failure(result: wire.Result, said: str | None, limit: wire.Limit | None, wall: float) -> Failure:
    text = (result.result or "; ".join(result.errors or ()))[:_LONGEST]
    if is_cut(result):
        return Failure(FailureKind.CRASHED, "was interrupted, which nobody asked for", seen_at="submitted")
    told = {"code": result.api_error, "type": result.api_error_type, "status": result.api_error_status, "kind": said}
    data = msgspec.json.encode({key: value for key, value in told.items() if value not in (None, "unknown")})
    failure = classify.from_rpc_error(INTERNAL_ERROR, text, data, seen_at="submitted")
    return _waiting(replace(failure, kind=_kind(failure.kind, result)), limit, text, wall)


def _kind(kind: FailureKind, result: wire.Result) -> FailureKind:
    if result.api_error == _CONNECTION:
        return FailureKind.UNREACHABLE
    # A provider's 400 is about the request that the CLI wrote; another backend writes one of its own.
    return FailureKind.UNSUPPORTED if kind is FailureKind.BAD_REQUEST else kind


def _waiting(failure: Failure, limit: wire.Limit | None, text: str, wall: float) -> Failure:
    """With the wait until the limit opens again, where that was told."""
    told = _RESETS_AT.search(text)
    at = float(told[1]) if told else limit.resets_at if limit is not None and limit.status == "rejected" else None
    wait = retry_after.sane(at - wall) if at is not None else None
    return failure if wait is None else replace(failure, retry_after_s=wait)
