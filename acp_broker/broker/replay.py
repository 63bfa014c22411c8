"""A session as `session/load` replays it: the prompts and the words, in order, from its log and nothing else."""

from collections.abc import Iterable, Iterator

from msgspec import Raw

from acp_broker.core.names import SessionId
from acp_broker.store import records


def replay_frames(log: Iterable[records.Record], session: SessionId) -> Iterator[bytes]:
    """`session/update` notifications: each prompt's blocks as `user_message_chunk`, then what was shown of its turn.

    ACP v1, session setup, "Loading Sessions". Requests, answers and what other frontends were sent are left out. A turn
    that the broker's end has interrupted says so, in words of ours.
    """
    for record in log:
        if isinstance(record.prompt, Raw):
            yield records.update_frames(records.prompt_params(session, str(record.turn), record.prompt))
        elif record.record == "interrupted":
            yield records.update_frames([records.interruption(session, str(record.turn))])
        elif record.updates:
            yield records.update_frames([bytes(params) for params in record.updates])
        else:
            yield b""
