"""A session as `session/load` replays it: the prompts and the words, in order, from its log and nothing else."""

from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Raw

from acp_broker.core.names import SessionId
from acp_broker.store import records


def replay_frames(log: Iterable[records.Record], session: SessionId) -> Iterator[bytes]:
    """`session/update` notifications: each prompt's blocks as `user_message_chunk`, then what was shown of its turn.

    ACP v1, session setup, "Loading Sessions". Requests, answers and what other frontends were sent are left out.
    """
    name = msgspec.json.encode(session)
    for record in log:
        if isinstance(record.prompt, Raw):
            message = msgspec.json.encode(f"prompt-{record.turn}")
            blocks = msgspec.json.decode(record.prompt, type=list[Raw])
            params = [
                b'{"sessionId":%b,"update":{"sessionUpdate":"user_message_chunk","messageId":%b,"content":%b}}'
                % (name, message, bytes(block))
                for block in blocks
            ]
            yield records.update_frames(params)
        elif record.updates:
            yield records.update_frames([bytes(params) for params in record.updates])
