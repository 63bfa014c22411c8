"""A backend that remembers nothing: what it is given of the turns before, and what it is spared."""

from contextlib import asynccontextmanager

import msgspec
import pytest
from anyio import sleep_forever
from anyio.lowlevel import checkpoint

from acp_broker.contract import About, Finished
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.errors import BackendFailure, StoreError
from acp_broker.store import conversation
from acp_broker.wire.acp import message, update
from tests.support.clock import settled
from tests.support.harness import house

pytestmark = pytest.mark.anyio

conversation_read = conversation.read


class Forgetful:
    """Keeps of each turn what it was told of those before it, as (prompt, answer), and the prompt's own texts."""

    about = About(has_no_memory=True)
    limit_bytes = 10_000

    def __init__(self):
        self.seen = []

    @asynccontextmanager
    async def open(self, tools):
        yield self

    async def run(self, turn, client):
        client.reached("submitted")
        past = [(one.said.prompt, one.answer) for one in await turn.past(self.limit_bytes)]
        self.seen.append((past, [block.get("text", "?") for block in msgspec.json.decode(turn.prompt)]))
        await checkpoint()  # it is somewhere else
        client.show([message(f"answer {len(self.seen)}")])
        return Finished("end_turn")

    async def gone(self):
        await sleep_forever()


async def test_it_is_given_the_turns_before(tmp_path):
    """Its conversation is the session's log."""
    primary = Forgetful()
    async with house(tmp_path, primary=primary.open) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session, "one")
        await editor.prompt(session, "two")

    assert [([], ["one"]), ([("one", "answer 1")], ["two"])] == primary.seen


async def test_it_is_given_what_others_answered_and_no_handoff(tmp_path):
    """What another backend said comes once, as history, and not as words in the user's mouth."""
    answers_once = {"turns": [[{"do": "say", "text": "from the agent"}], [{"do": "die"}]]}
    spare = Forgetful()
    async with house(tmp_path, primary=answers_once, spare=spare.open) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session, "one")
        await editor.prompt(session, "two")

    assert [([("one", "from the agent")], ["two"])] == spare.seen


async def test_a_long_conversation_is_whole_and_in_order(tmp_path):
    """What was read for the turn before is not read again, and nothing is told twice."""
    primary = Forgetful()
    async with house(tmp_path, primary=primary.open) as home:
        editor = await home.editor()
        session = await editor.new()
        for number in range(5):
            await editor.prompt(session, f"prompt {number}")
        home.session(session).memory.doze()
        await editor.prompt(session, "last")

    expected = [(f"prompt {number}", f"answer {number + 1}") for number in range(5)]
    assert [expected[:number] for number in range(6)] == [past for past, _ in primary.seen]


async def test_what_was_read_is_not_read_again(tmp_path):
    """A turn of a long session begins as soon as that of a short one: what stood in the log before is not read."""
    primary = Forgetful()
    async with house(tmp_path, primary=primary.open, is_whole=False) as home:
        editor = await home.editor()
        session = await editor.new()
        for _ in range(3):
            await editor.prompt(session)
        path = home.session(session).log.path
        text = path.read_bytes()
        path.write_bytes(text.replace(b"answer 1", b"ANSWER 1"))
        await editor.prompt(session)

    assert ["answer 1", "answer 2", "answer 3"] == [answer for _, answer in primary.seen[-1][0]]


async def test_what_the_next_turn_is_given_is_read_before_it_comes(tmp_path):
    """Its user has read the answer meanwhile; the prompt waits for no disk."""
    primary = Forgetful()
    async with house(tmp_path, primary=primary.open, is_whole=False) as home:
        editor = await home.editor()
        session = await editor.new()
        for prompt in ("one", "two"):
            await editor.prompt(session, prompt)
        path = home.session(session).log.path
        path.write_bytes(path.read_bytes().replace(b"answer 2", b"ANSWER 2"))
        await editor.prompt(session, "three")

    assert [("one", "answer 1"), ("two", "answer 2")] == primary.seen[-1][0]


async def test_nothing_is_read_for_those_who_remember(tmp_path):
    """An agent has its conversation itself."""
    async with house(tmp_path, primary={"turns": [[{"do": "say", "text": "a duck"}]]}) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session)

        assert home.session(session).memory._conversation is None


async def test_nothing_more_is_read_once_another_answers(tmp_path, monkeypatch):
    """The primary is back: a session that was with a fallback for one turn costs no more for it."""
    reads = []
    monkeypatch.setattr(conversation, "read", lambda *asked: reads.append(asked) or conversation_read(*asked))
    refuses_once = {"turns": [[{"do": "fail", "message": "overloaded"}], *[[{"do": "say", "text": "a duck"}]] * 2]}
    spare = Forgetful()
    async with house(tmp_path, primary=refuses_once, spare=spare.open) as home:
        editor = await home.editor()
        session = await editor.new()
        for _ in range(3):
            await editor.prompt(session)
            await home.clock.advance(61)

    assert (1, 1) == (len(spare.seen), len(reads))


async def test_a_turn_that_waited_reads_its_past_once(tmp_path, monkeypatch):
    """It begins as soon as the one before is over: there is no time to read ahead in."""
    reads = []
    monkeypatch.setattr(conversation, "read", lambda *asked: reads.append(asked) or conversation_read(*asked))
    primary = Forgetful()
    async with house(tmp_path, primary=primary.open) as home:
        editor = await home.editor()
        session = await editor.new()
        for prompt in ("one", "two"):
            editor.start(session, prompt)
        await settled()

    # And once more for a third.
    assert ([("one", "answer 1")], 2) == (primary.seen[-1][0], len(reads))


async def test_a_log_that_cannot_be_read_ahead_ends_no_turn(tmp_path, monkeypatch):
    """Whoever needs it will say so."""

    def fail(*_asked):
        raise StoreError("no")

    primary = Forgetful()
    async with house(tmp_path, primary=primary.open) as home:
        editor = await home.editor()
        session = await editor.new()
        with monkeypatch.context() as now:
            now.setattr(conversation, "read", fail)
            await editor.prompt(session, "one")
        await editor.prompt(session, "two")

    assert [("one", "answer 1")] == primary.seen[-1][0]


async def test_a_backend_is_given_as_much_as_it_asks_for(tmp_path):
    """The fallback's model may hold less."""
    primary = Forgetful()
    async with house(tmp_path, primary=primary.open) as home:
        editor = await home.editor()
        session = await editor.new()
        for prompt in ("one", "two"):
            await editor.prompt(session, prompt)
        primary.limit_bytes = 60
        await editor.prompt(session, "three")

    assert [("two", "answer 2")] == primary.seen[-1][0]


class Failing(Forgetful):
    """Fails its second turn when it has heard of those before, and takes the log away."""

    async def run(self, turn, client):
        if self.seen:
            await turn.past(10_000)
            self.log.rename(self.log.with_suffix(".away"))
            raise BackendFailure(Failure(FailureKind.OVERLOADED, "no room"))
        return await super().run(turn, client)


async def test_a_turn_that_goes_on_to_the_next_backend_reads_its_past_once(tmp_path):
    """A failover costs what it must."""
    primary, spare = Failing(), Forgetful()
    async with house(tmp_path, primary=primary.open, spare=spare.open, is_whole=False) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session, "one")
        primary.log = home.session(session).log.path
        await editor.prompt(session, "two")

    assert [([("one", "answer 1")], ["two"])] == spare.seen


class Priced(Forgetful):
    """Counts what it has cost since it was opened: each turn in one of its lives costs more than all before."""

    @asynccontextmanager
    async def open(self, tools):
        self.spent = 0.25 * (1 + len(self.seen))
        yield self

    async def run(self, turn, client):
        finished = await super().run(turn, client)
        client.show([update("usage_update", used=1, size=2, cost={"amount": self.spent, "currency": "USD"})])
        return finished


async def test_what_it_has_cost_before_it_was_closed_is_not_forgotten(tmp_path):
    """It is closed after ten idle minutes, and counts from nothing then."""
    primary = Priced()
    async with house(tmp_path, primary=primary.open, is_whole=False) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session)
        await home.clock.advance(601)
        await editor.prompt(session)
        log = home.session(session).log.path.read_bytes()

    assert (1, 1) == (log.count(b'"amount":0.25'), log.count(b'"amount":0.75'))
