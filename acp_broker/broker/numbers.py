"""A session's log as it is shown to a client that asked for numbers (`_meta["acp-broker"].seq`).

Each record becomes what it shows, and nothing but the record decides that. The number of a thing is where its record
stands in the file plus its index in the record: a record is longer than it has things to show, so numbers grow, are
unique, and are the same for every client, live and in the past, in every process and after each restart.

    accepted     its prompt's blocks, but for the one that sent it; then: the turn has started
    updates      each of them
    answer       the turn has ended; then the answer itself, without a number, for whom it is
    interrupted  where its process has died: words that say so; then: the turn has ended
    sent         itself, without a number, for whom it is

What a full disk did not take is shown without a number: it is in nobody's past. Numbers outlive the death of any
process; a machine that loses its power may lose the last second of a log, and gives the numbers of that anew.
"""

from collections.abc import Iterable, Iterator, Mapping

import msgspec
from msgspec import UNSET, Raw, Struct

from acp_broker.broker import news
from acp_broker.core.names import SessionId
from acp_broker.errors import INTERRUPTED, RpcError
from acp_broker.store.log import SessionLog
from acp_broker.store.reading import Numbered
from acp_broker.store.records import Record, interruption, prompt_params
from acp_broker.wire import jsonrpc

_DIED = RpcError(INTERRUPTED, "acp-broker ended before this turn had its answer; nothing runs it again")
_UPDATE, _TURN = b"session/update", news.TURN.encode()
_NOTHING: Mapping[str, object] = {}


class Seen(Struct, frozen=True):
    """Up to which number a client has seen a session, and the position of the record that number is in."""

    number: int
    position: int


class View(Struct):
    """One client's view of one log: it has seen everything up to number `after`.

    What stands before position `since` was there before it came: no answer and no request of that is for it.
    """

    session: SessionId
    reader: int
    after: int
    since: int

    def read(self, log: SessionLog, position: int) -> tuple[int, bytes]:
        """What it is shown from `position` on, and the position after that; the same one when there is no more."""
        end, found = log.by_number.read(position, log.shown)
        reader = self.reader if position >= self.since else 0
        return end, b"".join(_frames(one, self.session, reader, self.after) for one in found)


def replay_frames(log: Iterable[Numbered], session: SessionId, after: int) -> Iterator[bytes]:
    """What of a session's past has a number behind `after`."""
    return (_frames(one, session, 0, after) for one in log)


class _Shown(Struct):
    """A notification to be. `ours`: more members of its `_meta["acp-broker"]`; `is_own`: its client sent it itself."""

    params: bytes
    method: bytes = _UPDATE
    ours: Mapping[str, object] = _NOTHING
    is_own: bool = False


_OWN = _Shown(b"", is_own=True)
_blocks = msgspec.json.Decoder(list[Raw]).decode


def _frames(numbered: Numbered, session: SessionId, reader: int, after: int) -> bytes:
    """The lines that a record becomes for frontend `reader`; 0: for somebody who was not there."""
    start, record = numbered
    lines: list[bytes] = []
    for index, shown in enumerate(_shown(record, session, reader)):
        number = None if start is None else start + index
        if not shown.is_own and (number is None or number > after):
            lines.append(_frame(shown, number))
    if record.frame is not UNSET and record.to == reader:
        lines.append(bytes(record.frame) + b"\n")
    return b"".join(lines)


def _shown(record: Record, session: SessionId, reader: int) -> Iterator[_Shown]:
    turn = "" if record.turn is UNSET else record.turn
    match record.record:
        case "accepted" if isinstance(record.prompt, Raw):
            key = None if record.key is UNSET else record.key
            ours: dict[str, object] = {"turn": turn} if key is None else {"turn": turn, "idempotencyKey": key}
            if reader and record.by == reader:
                # It is counted, not shown: no megabytes are put together for that.
                yield from [_OWN] * len(_blocks(record.prompt))
            else:
                yield from [_Shown(block, ours=ours) for block in prompt_params(session, turn, record.prompt)]
            yield _news(session, turn, "started", key)
        case "answer" if isinstance(record.frame, Raw):
            message = jsonrpc.read(bytes(record.frame))
            if isinstance(message, jsonrpc.Response):
                yield _news(session, turn, "ended", how=news.end(message.outcome))
        case "interrupted" if record.over is True:
            yield _Shown(interruption(session, turn))
            yield _news(session, turn, "ended", how=news.end(_DIED))
        case "step" | "shown":
            for params in record.updates or ():
                yield _Shown(bytes(params))


def _news(
    session: SessionId, turn: str, state: str, key: str | None = None, how: Mapping[str, object] | None = None
) -> _Shown:
    return _Shown(msgspec.json.encode(news.params(session, turn, state, key, **(how or {}))), _TURN)


def _frame(shown: _Shown, number: int | None) -> bytes:
    params = shown.params
    ours = _ours(shown.ours, number)
    if ours is not None:
        plain = b'"_meta"' not in params
        params = b'%b,"_meta":{"acp-broker":%b}}' % (params[:-1], ours) if plain else _with_meta(params, ours)
    return b'{"jsonrpc":"2.0","method":"%b","params":%b}\n' % (shown.method, params)


def _ours(members: Mapping[str, object], number: int | None) -> bytes | None:
    if members:
        return bytes(jsonrpc.encode(members if number is None else {**members, "seq": number}))
    return None if number is None else b'{"seq":%d}' % number


def _with_meta(params: bytes, ours: bytes) -> bytes:
    """Ours beside what an agent has put there."""
    members = msgspec.json.decode(params, type=dict[str, Raw])
    meta = jsonrpc.members_of(members.get("_meta", Raw(b"{}")))
    theirs = jsonrpc.members_of(meta.get("acp-broker", Raw(b"{}")))
    both = {**theirs, **jsonrpc.members_of(Raw(ours))}
    return msgspec.json.encode({**members, "_meta": {**meta, "acp-broker": both}})
