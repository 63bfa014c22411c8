"""What a frontend is told of a turn: the reply's `_meta`, and one clear error when nobody could answer.

Every text here is read by people on a bad day: it names the backend, the reason and the next step. `data` stays
small: Zed prints it under the message.
"""

from collections.abc import Sequence

import msgspec
from msgspec import Raw, Struct

from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.names import BackendId, Candidate, StopReason, TurnId
from acp_broker.core.turnrules import Miss
from acp_broker.errors import AUTH_REQUIRED, BROKER_FAULT, EXHAUSTED, FAILED_AFTER_COMMIT, INTERRUPTED, RpcError
from acp_broker.wire.jsonrpc import members_of

OURS = "acp-broker"

_NULL = Raw(b"null")
_LOGGED_OUT = frozenset({FailureKind.AUTH_MISSING, FailureKind.AUTH_REJECTED})


class Tried(Struct, frozen=True, omit_defaults=True):
    """One attempt, for the reply: whom, how it failed (None: it answered), how long it took in milliseconds."""

    backend: BackendId
    failure: str | None = None
    text: str | None = None
    ms: int = 0


class Passed(Struct, frozen=True):
    """A candidate that this turn left out or put last, and why."""

    backend: BackendId
    why: str


class Handed(Struct, frozen=True, rename="camel"):
    """How many earlier turns were handed over, and how many there was no room for."""

    turns: int
    left_out: int


class Story(Struct, frozen=True, omit_defaults=True):
    """`_meta["acp-broker"]` of a prompt's answer."""

    turn: TurnId
    backend: BackendId | None = None
    model: str | None = None
    attempts: tuple[Tried, ...] = ()
    skipped: tuple[Passed, ...] = ()
    # What was changed for this backend, in words: flattened resources, servers left out.
    adapted: tuple[str, ...] = ()
    # What it was told of turns of this session that it had missed.
    handoff: Handed | None = None
    # Why this turn could not be kept on the disk, if so.
    unpersisted: str | None = None


def answered(answer: Raw, stop_reason: StopReason, story: Story | None) -> Raw:
    """The runtime's whole answer with our stop reason, and our story merged into its `_meta`; None: nobody's story.

    A runtime that is a broker itself tells its own story there: it is `remote` in ours.
    """
    members = members_of(answer)
    members["stopReason"] = _raw(stop_reason)
    if story is None:
        members = unsigned(members)
    else:
        meta = members_of(members.get("_meta", Raw(b"{}")))
        theirs = meta.get(OURS)
        told = story if theirs is None else {**members_of(_raw(story)), "remote": theirs}
        members["_meta"] = _raw({**meta, OURS: told})
    return _raw(members)


def unsigned(members: dict[str, Raw]) -> dict[str, Raw]:
    """What a runtime has said without what a client would take for our own words."""
    meta = members_of(members.get("_meta", Raw(b"{}")))
    if OURS not in meta:
        return members
    return {**members, "_meta": _raw({name: one for name, one in meta.items() if name != OURS})}


def refused(misses: Sequence[Miss], *, committed: bool, has_spoken: bool, story: Story) -> RpcError:
    """The one error of a turn that nobody could answer. `has_spoken`: something of the last attempt was shown."""
    last = misses[-1]
    if last.failure.kind is FailureKind.BROKER_FAULT:
        return _error(BROKER_FAULT, last.failure.text, "broker_fault", misses, story)
    if committed:
        when = "it had begun to answer" if has_spoken else "the prompt was submitted to it"
        why = "its words were already shown" if has_spoken else "it may have acted on the prompt"
        text = f"{_name(last.candidate)} failed after {when}: {_sentence(last.failure.text)} {_alone(misses)}: {why}"
        return _error(FAILED_AFTER_COMMIT, text, "failed_after_commit", misses, story)
    if all(miss.failure.kind in _LOGGED_OUT for miss in misses):
        text = f"Authentication required: {_each(misses)}"
        return _error(AUTH_REQUIRED, text, "auth_required", misses, story)
    if len(misses) == 1:
        text = f"{_name(last.candidate)}: {last.failure.text}"
        return _error(_own_code(last.failure), text, last.failure.kind.value, misses, story)
    return _error(EXHAUSTED, f"All ACP backends failed ({len(misses)}): {_each(misses)}", "exhausted", misses, story)


def interrupted(backend: BackendId | None, misses: Sequence[Miss], *, has_spoken: bool, story: Story) -> RpcError:
    """The broker was stopped in the middle of the turn. `backend` had the prompt; None: nobody had it any more."""
    shown = "its words stay" if has_spoken else "nothing was shown"
    text = f"acp-broker was stopped before {backend or 'anybody'} had finished: {shown}, and nothing else was tried"
    return _error(INTERRUPTED, text, "interrupted", misses, story)


def nobody(story: Story) -> RpcError:
    """No candidate was left to try: every one of them was passed over."""
    why = " | ".join(f"{passed.backend}: {passed.why}" for passed in story.skipped) or "none is configured"
    text = f"No ACP backend can take this prompt: {why}"
    return RpcError(EXHAUSTED, text, _raw({"code": "no_candidate", "details": text}))


def _error(code: int, text: str, name: str, misses: Sequence[Miss], story: Story) -> RpcError:
    waits = [miss.failure.retry_after_s for miss in misses if miss.failure.retry_after_s is not None]
    data: dict[str, object] = {"code": name, "details": text, "turn": story.turn, "attempts": story.attempts}
    if story.skipped:
        data["skipped"] = story.skipped
    if waits:
        data["retryAfter"] = min(waits)
    if story.unpersisted is not None:
        data["unpersisted"] = story.unpersisted
    return RpcError(code, text, _raw(data))


def _own_code(failure: Failure) -> int:
    # A lone backend keeps its own JSON-RPC code, but for the one that acpx takes as leave to run the prompt again.
    # Anything outside of what JSON-RPC 2.0 reserves may be another kind of code: -9 is a signal's.
    code = failure.code or ""
    is_rpc = code.startswith("-32") and len(code) == len("-32000") and code[1:].isdigit()
    return int(code) if is_rpc and code != "-32603" else EXHAUSTED


def _each(misses: Sequence[Miss]) -> str:
    return " | ".join(f"{_name(miss.candidate)}: {miss.failure.text}" for miss in misses)


def _alone(misses: Sequence[Miss]) -> str:
    """That nobody came after the last one; who failed before it may be what a person can mend."""
    before = misses[:-1]
    return (
        f"Before it failed {_sentence(_each(before))} Nobody was tried after it" if before else "Nobody else was tried"
    )


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


def _name(candidate: Candidate) -> str:
    number = f" #{candidate.credential + 1}" if candidate.credential else ""
    return candidate.backend if candidate.profile is None else f"{candidate.backend} ({candidate.profile}{number})"


def _raw(value: object) -> Raw:
    return Raw(msgspec.json.encode(value))
