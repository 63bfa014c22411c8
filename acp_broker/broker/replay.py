"""A session as `session/load` replays it: the prompts and the words, in order, from its log and nothing else."""

from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Raw

from acp_broker.core.names import SessionId
from acp_broker.store import records
from acp_broker.wire import acp

_INTERRUPTED = "[acp-broker] interrupted: the broker ended before this turn had its answer; nothing ran it again\n\n"


def replay_frames(log: Iterable[records.Record], session: SessionId) -> Iterator[bytes]:
    """`session/update` notifications: each prompt's blocks as `user_message_chunk`, then what was shown of its turn.

    ACP v1, session setup, "Loading Sessions". Requests, answers and what other frontends were sent are left out. A turn
    that the broker's end has interrupted says so, in words of ours.
    """
    for record in log:
        if isinstance(record.prompt, Raw):
            yield records.update_frames(prompt_params(session, str(record.turn), record.prompt))
        elif record.record == "interrupted":
            yield records.update_frames([interruption(session, str(record.turn))])
        elif record.updates and record.record != "echo":
            yield records.update_frames([bytes(params) for params in record.updates])
        else:
            yield b""


def prompt_params(session: SessionId, turn: str, prompt: Raw) -> list[bytes]:
    """A prompt's blocks as the params that frontends other than its own are shown."""
    name, message = msgspec.json.encode(session), msgspec.json.encode(f"prompt-{turn}")
    return [
        b'{"sessionId":%b,"update":{"sessionUpdate":"user_message_chunk","messageId":%b,"content":%b}}'
        % (name, message, bytes(block))
        for block in msgspec.json.decode(prompt, type=list[Raw])
    ]


def interruption(session: SessionId, turn: str) -> bytes:
    """Words of ours about a turn that a broker's end has interrupted, as params."""
    update = acp.message(_INTERRUPTED, messageId=f"interrupted-{turn}")
    return msgspec.json.encode({"sessionId": session, **update.params})
