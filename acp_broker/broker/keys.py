"""Prompts that were sent with a key of the frontend's own: sent again, they are not run again.

A bridge that lost its connection does not know whether its prompt arrived. It sends it again, with the same key, on
whatever connection it has: it joins the turn that runs, or gets the answer that is in the log.
"""

import hashlib
from collections.abc import Callable, Mapping

import msgspec
from msgspec import Raw, Struct, field

from acp_broker.errors import BUSY, INTERRUPTED, INVALID_PARAMS, RpcError
from acp_broker.store.past import Asked
from acp_broker.wire import jsonrpc
from acp_broker.wire.acp import Answer

# Keys that one session remembers; the oldest is forgotten first. A resend comes within minutes, not after 256 prompts.
MOST = 256
# Who has lost its connection so often in one turn is doing something else.
MOST_JOINED = 64
# Whoever sends it again wants an answer, and there is none: what was done may be half done, so nothing runs it again.
_INTERRUPTED = RpcError(
    INTERRUPTED,
    "acp-broker ended before this prompt had its answer: look at what was done, then send it with a new key",
)


class Key(Struct, frozen=True):
    """What a frontend calls a prompt, and the digest of the prompt's blocks: one name is for one prompt."""

    name: str
    digest: str


class Keyed(Struct):
    """A prompt that is known. `answer`: None while its turn waits or runs."""

    digest: str
    answer: Answer | None = None
    # Who else has asked for it meanwhile: frontend and request id.
    joined: list[tuple[int, Raw]] = field(default_factory=list)


class Keys:
    """One per session. `reply` sends an answer to one who asked again."""

    def __init__(self, reply: Callable[[int, Raw, Answer], None]) -> None:
        self._known: dict[str, Keyed] = {}
        self._reply = reply

    def restore(self, known: Mapping[str, Asked]) -> None:
        """What the log says of prompts in an earlier life of the session."""
        for name, asked in list(known.items())[-MOST:]:
            outcome = _outcome(asked.frame) if asked.frame is not None else None
            waiting = self._known.get(name)
            answer = outcome if outcome is not None else _INTERRUPTED
            self._known[name] = Keyed(asked.digest, answer)
            # It waited here as well, until now.
            for frontend, request_id in waiting.joined if waiting is not None else ():
                self._reply(frontend, request_id, answer)

    def asked_again(self, key: Key, frontend: int, request_id: Raw) -> bool:
        """Whether the prompt was here before: then it is answered by what became of it, now or when it is over.

        Raises RpcError where another prompt had this key.
        """
        keyed = self._known.get(key.name)
        if keyed is None:
            return False
        if keyed.digest != key.digest:
            raise RpcError(
                INVALID_PARAMS, f"another prompt was sent under the idempotency key {key.name!r}; use a new one"
            )
        if keyed.answer is None:
            if len(keyed.joined) >= MOST_JOINED:
                raise RpcError(BUSY, f"{MOST_JOINED} wait for the prompt with the key {key.name!r} already")
            keyed.joined.append((frontend, request_id))
        else:
            self._reply(frontend, request_id, keyed.answer)
        return True

    def outcome(self, key: Key) -> Answer | None:
        """The answer that is known of a prompt, if any."""
        keyed = self._known.get(key.name)
        return keyed.answer if keyed is not None else None

    def accepted(self, key: Key) -> None:
        self._known.setdefault(key.name, Keyed(key.digest))
        while len(self._known) > MOST:
            del self._known[next(iter(self._known))]

    def answered(self, key: Key, outcome: Answer) -> None:
        """The turn has its answer: so has everybody who asked for it again."""
        keyed = self._known.get(key.name)
        if keyed is not None:
            keyed.answer = outcome
            joined, keyed.joined = keyed.joined, []
            for frontend, request_id in joined:
                self._reply(frontend, request_id, outcome)

    def refused(self, key: Key, outcome: Answer) -> None:
        """It was never begun: whoever sends it again may have it run."""
        self.answered(key, outcome)
        self._known.pop(key.name, None)


def digest(prompt: Raw) -> str:
    """The same for the same blocks, however they are written."""
    return hashlib.sha256(msgspec.json.encode(msgspec.json.decode(prompt), order="sorted")).hexdigest()


def _outcome(frame: Raw) -> Answer | None:
    """What an answer in the log said."""
    message = jsonrpc.read(bytes(frame))
    return message.outcome if isinstance(message, jsonrpc.Response) else None
