"""One frontend's side of the logs: a cursor per session, as fast as the frontend reads."""

import json
from collections.abc import Callable

import pytest

from acp_broker.broker import outbox as outbox_module
from acp_broker.broker.outbox import FULL_BYTES, Outbox
from acp_broker.core.names import SessionId
from acp_broker.edge.channel import OnLines
from acp_broker.store import log as store
from acp_broker.store import logfile, records
from acp_broker.store.log import SessionLog
from tests.support.clock import settled
from tests.support.harness import house

ME, OTHER = 1, 2
A, B = SessionId("a"), SessionId("b")


class SlowChannel:
    """Takes everything at once while it is `fast`; else it piles up until `drain`."""

    def __init__(self, *, fast: bool = True) -> None:
        self.fast = fast
        self.got = b""
        self.writes = 0
        self.pending = 0
        self._drained: Callable[[], None] = lambda: None

    def write(self, data: bytes) -> None:
        self.got += data
        self.writes += 1
        self.pending += 0 if self.fast else len(data)

    def when_drained(self, callback: Callable[[], None]) -> None:
        self._drained = callback

    def drain(self) -> None:
        self.pending = 0
        self._drained()

    async def run(self, on_lines: OnLines) -> None:
        raise AssertionError("nobody reads from it here")


@pytest.fixture
def logs(tmp_path):
    made = {name: SessionLog(tmp_path / f"{name}.jsonl") for name in (A, B)}
    for log in made.values():
        log.create(records.line("opened", format=1))
    yield made
    for log in made.values():
        log.close()


def say(log: SessionLog, text: str, to: int | None = None) -> bytes:
    frame = b'{"text":"%b"}\n' % text.encode()
    log.append(records.line("sent", to=to or ME, text=text), frame, to)
    log.commit()
    return frame


def say_much(log: SessionLog, count: int) -> bytes:
    """So many messages of a tenth of FULL_BYTES each, as the file has them too."""
    said = b""
    for number in range(count):
        params = b'{"n":%d,"x":"%b"}' % (number, b"x" * (FULL_BYTES // 10))
        frame = records.update_frames([params])
        log.append(b'{"record":"shown","updates":[%b]}\n' % params, frame)
        log.commit()
        said += frame
    return said


def test_a_frontend_gets_what_is_written_while_it_is_attached(logs):
    """As soon as it is written."""
    channel = SlowChannel()
    Outbox(channel, ME).attach(A, logs[A], logs[A].end)
    said = say(logs[A], "hello")

    assert said == channel.got


def test_a_frontend_gets_what_was_written_before_it_came(logs):
    """From the position that it asks for."""
    channel, start = SlowChannel(), logs[A].end
    said = say(logs[A], "hello")
    Outbox(channel, ME).attach(A, logs[A], start)

    assert said == channel.got


def test_a_frontend_gets_nothing_that_is_for_another(logs):
    """An answer has one addressee."""
    channel = SlowChannel()
    Outbox(channel, ME).attach(A, logs[A], logs[A].end)
    say(logs[A], "other", to=OTHER)

    assert b"" == channel.got


def test_two_sessions_each_keep_their_order(logs):
    """An editor has several windows."""
    channel = SlowChannel()
    outbox = Outbox(channel, ME)
    for name in (A, B):
        outbox.attach(name, logs[name], logs[name].end)
    said = b"".join(say(logs[name], f"{name}{number}") for number in range(3) for name in (A, B))

    assert said == channel.got


def test_a_slow_frontend_is_given_no_more_than_it_takes(logs):
    """The rest waits in the log, not in memory."""
    channel = SlowChannel(fast=False)
    Outbox(channel, ME).attach(A, logs[A], logs[A].end)
    say_much(logs[A], 100)

    assert len(channel.got) < 2 * FULL_BYTES


def test_a_slow_frontend_gets_everything_in_the_end(logs, monkeypatch):
    """In order, and each thing once, though memory has long forgotten it."""
    monkeypatch.setattr(store, "TAIL_BYTES", FULL_BYTES)
    channel = SlowChannel(fast=False)
    Outbox(channel, ME).attach(A, logs[A], logs[A].end)
    said = say_much(logs[A], 60)
    while channel.pending:
        channel.drain()

    assert said == channel.got


def test_a_slow_frontend_holds_no_other_up(logs):
    """Two editors at one session."""
    slow, fast = SlowChannel(fast=False), SlowChannel()
    Outbox(slow, ME).attach(A, logs[A], logs[A].end)
    Outbox(fast, OTHER).attach(A, logs[A], logs[A].end)
    said = say_much(logs[A], 100)

    assert said == fast.got


def test_after_detaching_nothing_comes(logs):
    """The session was closed."""
    channel = SlowChannel()
    outbox = Outbox(channel, ME)
    outbox.attach(A, logs[A], logs[A].end)
    outbox.detach(A)
    say(logs[A], "hello")

    assert (b"", False) == (channel.got, outbox.is_attached(A))


def test_detaching_what_is_not_attached_does_nothing(logs):
    """A session may be closed twice."""
    Outbox(SlowChannel(), ME).detach(A)


def test_attaching_again_moves_the_cursor(logs):
    """A load has replayed what was before: it must not come twice."""
    channel = SlowChannel(fast=False)
    outbox = Outbox(channel, ME)
    outbox.attach(A, logs[A], logs[A].end)
    say_much(logs[A], 30)
    outbox.attach(A, logs[A], logs[A].end)
    before = channel.got
    channel.drain()

    assert before == channel.got


def test_while_it_is_held_nothing_comes(logs):
    """The session's past is being sent: what is new must wait behind it."""
    channel = SlowChannel()
    outbox = Outbox(channel, ME)
    outbox.attach(A, logs[A], logs[A].end)
    outbox.hold(A, logs[A])
    say(logs[A], "new")

    assert b"" == channel.got


def test_after_a_hold_everything_comes(logs):
    """From where it was held."""
    channel = SlowChannel()
    outbox = Outbox(channel, ME)
    outbox.attach(A, logs[A], logs[A].end)
    before, position, after = say(logs[A], "before"), outbox.hold(A, logs[A]), say(logs[A], "after")
    outbox.release(A)

    assert (before + after, True) == (channel.got, position < logs[A].end)


def test_a_hold_attaches(logs):
    """A frontend that loads a session it did not have."""
    outbox = Outbox(SlowChannel(), ME)
    outbox.hold(A, logs[A])

    assert outbox.is_attached(A)


def test_releasing_what_was_detached_meanwhile_does_nothing(logs):
    """The session was deleted while it was being loaded."""
    outbox = Outbox(SlowChannel(), ME)
    outbox.hold(A, logs[A])
    outbox.detach(A)
    outbox.release(A)


def test_a_closed_outbox_is_attached_to_nothing(logs):
    """The connection is gone; logs must not call it for ever."""
    channel = SlowChannel()
    outbox = Outbox(channel, ME)
    for name in (A, B):
        outbox.attach(name, logs[name], logs[name].end)
    outbox.close()
    for name in (A, B):
        say(logs[name], "hello")

    assert b"" == channel.got


def test_one_commit_is_one_write(logs):
    """A hundred updates of one read cost one call to the system."""
    channel = SlowChannel()
    Outbox(channel, ME).attach(A, logs[A], logs[A].end)
    for number in range(100):
        logs[A].append(records.line("sent", to=ME, number=number), b'{"n":%d}\n' % number)
    logs[A].commit()

    assert 1 == channel.writes


def test_who_has_seen_more_than_a_log_has_waits_for_nothing(logs):
    """Another process has written it, and this one has yet to read that."""
    outbox = Outbox(SlowChannel(), ME)
    outbox.numbers = True
    outbox.attach(A, logs[A], logs[A].end + 100, 10**6)

    assert 0 == outbox.unsent()


def test_a_frontend_with_numbers_gets_no_more_than_it_takes_and_everything_in_the_end(logs):
    """As without: it is the same log, read from the file."""
    channel = SlowChannel(fast=False)
    outbox = Outbox(channel, ME)
    outbox.numbers = True
    outbox.attach(A, logs[A], logs[A].end)
    say_much(logs[A], 60)
    first = len(channel.got)
    while channel.pending:
        channel.drain()

    assert (True, list(range(60))) == (
        first < 3 * FULL_BYTES,
        [json.loads(line)["params"]["n"] for line in channel.got.splitlines()],
    )


def show(log: SessionLog, text: str) -> bytes:
    """As `say`, but to be read from the file too."""
    params = json.dumps({"text": text}).encode()
    frame = records.update_frames([params])
    log.append(b'{"record":"shown","updates":[%b]}\n' % params, frame)
    log.commit()
    return frame


@pytest.mark.anyio
async def test_a_long_log_is_passed_in_pieces(logs, monkeypatch) -> None:
    """However fast its reader is, others have their turn in between; and who waits for the end is told."""
    monkeypatch.setattr(logfile, "READ_BYTES", 1000)
    monkeypatch.setattr(outbox_module, "AT_ONCE_BYTES", 2000)
    channel, moves = SlowChannel(), []
    start = logs[A].end
    said = b"".join(show(logs[A], "x" * 500) for _ in range(20))
    logs[A].forget()
    outbox = Outbox(channel, ME, lambda: moves.append(len(channel.got)))
    outbox.attach(A, logs[A], start)
    at_once = len(channel.got)
    last = show(logs[A], "last")
    await settled()

    assert (True, said + last) == (at_once < len(said) // 2, channel.got)
    assert len(channel.got) == moves[-1]


@pytest.mark.anyio
async def test_a_client_that_waits_for_the_end_of_a_long_log_waits_no_longer(tmp_path, monkeypatch) -> None:
    """session/close is answered once everything was sent; not after a limit for each piece."""
    monkeypatch.setattr(outbox_module, "AT_ONCE_BYTES", 500)
    monkeypatch.setattr(logfile, "READ_BYTES", 500)
    async with house(tmp_path, primary={"turns": [[{"do": "say", "text": "x" * 400}]]}) as home:
        editor = await home.editor()
        session = await editor.new()
        for _ in range(10):
            await editor.prompt(session)
        home.session(session).log.forget()
        other = await home.editor()
        frontend = home.broker.frontends[max(home.broker.frontends)]
        frontend.outbox.attach(SessionId(session), home.session(session).log, 0)
        is_told = await frontend.caught_up(SessionId(session))

    assert (True, 10) == (is_told, len([word for word in other.words if word.startswith("say")]))
