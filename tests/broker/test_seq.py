"""Numbered updates: every client can say what it has seen, and gets the rest once (`_meta["acp-broker"].seq`)."""

import json

import pytest

from acp_broker.broker.terms import Terms
from acp_broker.store.logfile import LogFile
from tests.broker.test_keys import keyed
from tests.broker.test_revival import NOTE, forget, reopen
from tests.support.clock import settled
from tests.support.disk import Disk
from tests.support.harness import EVERYTHING, house, is_update
from tests.support.numbered import NUMBERS, after, back, numbered, seq

pytestmark = pytest.mark.anyio

BRIDGE = Terms("bridge", turns_go_on=True)
USAGE = {"do": "usage", "used": 1, "size": 2}
SAYS = {"turns": [[{"do": "say", "text": "one", "chunks": 3}], [{"do": "say", "text": "two"}, USAGE]]}
HOLDS = {"turns": [[{"do": "say", "text": "half"}, {"do": "stall", "ms": 1000}, {"do": "say", "text": "whole"}]]}
# Held until the first visible word: shown with it, in one record.
AT_ONCE = {"turns": [[USAGE, {"do": "note", "info": {"title": "T"}}, {"do": "say", "text": "x"}]]}
RESUME, LOAD = "session/resume", "session/load"


async def two_turns(home):
    """A client that attends everything of two turns, another's and its own; the session."""
    other, editor = await home.editor(), await home.editor(NUMBERS)
    session = await editor.new()
    await other.result(RESUME, **reopen(home.path, session))
    await other.prompt(session, "first")
    await editor.prompt(session, "second")
    return editor, session


def words(shown):
    return [word for _, word in shown if word.startswith("say")]


# --- numbers


async def test_the_broker_says_that_it_numbers(tmp_path):
    """A client must know whether it may rely on it."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.connected()
        answer = await editor.initialize()

    assert answer["agentCapabilities"]["_meta"]["acp-broker"]["seq"] is True


async def test_numbers_grow_and_are_unique(tmp_path):
    """By them a client says how far it has come."""
    async with house(tmp_path, primary=SAYS) as home:
        editor, _ = await two_turns(home)
    numbers = [number for number, _ in numbered(editor.heard)]

    assert sorted(set(numbers)) == numbers


async def test_everything_that_is_shown_has_a_number(tmp_path):
    """What has none could not be asked for again."""
    async with house(tmp_path, primary=SAYS) as home:
        editor, _ = await two_turns(home)

    assert [] == [message for message in editor.heard if is_update(message) and seq(message) is None]


async def test_a_turn_has_one_number_for_who_asked_and_who_did_not(tmp_path):
    """Each block of the prompt has a number, though its own client is not shown it."""
    blocks = [{"type": "text", "text": text} for text in ("a", "b", "c")]
    async with house(tmp_path, primary=SAYS) as home:
        editor, other = await home.editor(NUMBERS), await home.editor(NUMBERS)
        session = await editor.new()
        await other.result(RESUME, **reopen(home.path, session))
        editor.start(session, blocks=blocks)
        await settled()
    started = [[seq(one) for one in client.of("_acp-broker/turn")] for client in (editor, other)]

    assert (started[0], 2) == (started[1], len(started[0]))


async def test_a_prompt_is_not_read_back_for_who_sent_it(tmp_path, monkeypatch):
    """It may be an image of 30 MB."""
    read: list[int] = []
    lines = LogFile.lines
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor(NUMBERS)
        session = await editor.new()
        end = home.session(session).log.end
        monkeypatch.setattr(LogFile, "lines", lambda *args: read.append(args[1]) or lines(*args))
        await editor.prompt(session)

    assert (True, False) == (bool(read), end in read)


async def test_who_did_not_ask_for_numbers_gets_none(tmp_path):
    """Clients check what they are sent."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session)
        updates = [message["params"] for message in editor.heard if is_update(message)]

        assert ([], []) == ([one for one in updates if "_meta" in one], editor.of("_acp-broker/turn"))


async def test_a_number_is_the_place_in_the_log(tmp_path):
    """So it is the same in every process, from memory and from the file."""
    async with house(tmp_path, primary=AT_ONCE) as home:
        editor = await home.editor(NUMBERS)
        session = await editor.new()
        await editor.prompt(session)
        lines = home.session(session).log.path.read_bytes().splitlines(keepends=True)
    starts = [sum(map(len, lines[:index])) for index in range(len(lines))]
    shown = [(start, json.loads(line)) for start, line in zip(starts, lines, strict=True)]
    expected = [start + index for start, line in shown for index in range(len(line.get("updates", ())))]

    assert expected == [seq(message) for message in editor.heard if is_update(message)]


async def test_an_agents_own_meta_stays(tmp_path):
    """`_meta` passes both ways, merged."""

    script = {"turns": [[{"do": "say", "text": "x"}]]}
    async with house(tmp_path, primary=script) as home:
        editor = await home.editor(NUMBERS)
        session = await editor.new()
        log = home.session(session).log
        params = b'{"sessionId":"s","update":{"sessionUpdate":"plan"},"_meta":{"a":1,"acp-broker":{"b":2,"seq":3}}}'
        number = log.end
        log.append(b'{"record":"shown","updates":[%b]}\n' % params, b"")
        log.commit()

        assert {"a": 1, "acp-broker": {"b": 2, "seq": number}} == editor.heard[-1]["params"]["_meta"]


async def test_a_prompts_words_name_its_turn_and_key(tmp_path):
    """A bridge that sent it knows it again, and shows it no second time."""
    async with house(tmp_path, primary=SAYS) as home:
        other, editor = await home.editor(), await home.editor(NUMBERS)
        session = await editor.new()
        turn = await other.prompt(session, "hello", **keyed("k"))
        (echo,) = [one for one in editor.of("session/update") if "echo hello" in numbered([one])[0]]
        meta = echo["params"]["_meta"]["acp-broker"]

    assert {"turn": turn.told["turn"], "idempotencyKey": "k", "seq": seq(echo)} == meta


async def test_who_sent_a_prompt_is_not_shown_it(tmp_path):
    """As without numbers."""
    async with house(tmp_path, primary=SAYS) as home:
        editor = await home.editor(NUMBERS)
        turn = await editor.prompt(await editor.new())

    assert [] == [word for word in turn.words if word.startswith("echo")]


async def test_the_agent_does_not_learn_that_its_client_numbers(tmp_path):
    """It would be opened anew for each of two clients that differ in nothing else."""
    async with house(tmp_path, primary=SAYS) as home:
        for capabilities in (EVERYTHING, NUMBERS):
            await home.editor(capabilities)
        one, two = (json.loads(bytes(frontend.whom.capabilities)) for frontend in home.broker.frontends.values())

        assert one == two


# --- after


@pytest.mark.parametrize("method", [LOAD, RESUME])
async def test_who_comes_back_gets_exactly_what_it_missed(tmp_path, method):
    """Wherever it was cut off, in the middle of a record too; prompts, words and turns, in order, once."""
    async with house(tmp_path, primary=AT_ONCE) as home:
        editor, session = await two_turns(home)
        everything = await back(await home.editor(NUMBERS), session)
        for number in [0, *(number for number, _ in everything)]:
            missed = await back(await home.editor(NUMBERS), session, number, method)

            assert [one for one in everything if one[0] > number] == missed
    assert set(numbered(editor.heard)) < set(everything)


async def test_what_is_shown_live_is_shown_later_under_the_same_number(tmp_path):
    """But for its own prompt: that it knows."""
    async with house(tmp_path, primary=SAYS) as home:
        editor, session = await two_turns(home)
        later = await back(await home.editor(NUMBERS), session)

    assert [one for one in later if one[1] != "echo second"] == numbered(editor.heard)


async def test_a_prompt_with_after_attends_from_there(tmp_path):
    """One request, and the bridge is back: what it missed, then its turn."""
    async with house(tmp_path, primary=SAYS) as home:
        editor, session = await two_turns(home)
        number = numbered(editor.heard)[3][0]
        late = await home.editor(NUMBERS)
        turn = await late.prompt(session, "third", **after(number))

    assert ["say e", "say two", "say two"] == [word for word in turn.words if word.startswith("say")]


@pytest.mark.parametrize("method", [LOAD, RESUME])
async def test_who_comes_back_in_the_middle_goes_on_live(tmp_path, method):
    """No gap, and nothing twice."""
    async with house(tmp_path, primary=HOLDS) as home:
        editor = await home.editor(NUMBERS, terms=BRIDGE)
        session = await editor.new()
        await editor.prompt(session)
        last = numbered(editor.heard)[-1][0]
        late = await home.editor(NUMBERS)
        missed = await back(late, session, last, method)
        await home.clock.advance(1)

    assert ([], ["say whole", "ended end_turn primary"]) == (missed, [word for _, word in numbered(late.heard)])


async def test_a_resume_without_after_goes_on_from_here(tmp_path):
    """As ACP says; its answer tells from which number on."""
    async with house(tmp_path, primary=SAYS) as home:
        editor, session = await two_turns(home)
        late = await home.editor(NUMBERS)
        result = await late.result(RESUME, **reopen(tmp_path, session))
        missed = await back(await home.editor(NUMBERS), session, result["_meta"]["acp-broker"]["seq"])
        past = numbered(late.heard)
        await editor.prompt(session, "third")

    assert ([], []) == (past, missed)
    assert numbered(late.heard)[1:] == numbered(editor.heard)[-len(numbered(late.heard)) + 1 :]


async def test_the_answer_to_a_load_says_how_far_it_went(tmp_path):
    """What comes behind it is new."""
    async with house(tmp_path, primary=SAYS) as home:
        _, session = await two_turns(home)
        late = await home.editor(NUMBERS)
        result = await late.result(LOAD, **reopen(tmp_path, session))
        number = result["_meta"]["acp-broker"]["seq"]
        again = await back(await home.editor(NUMBERS), session, number)

    assert (True, []) == (numbered(late.heard)[-1][0] <= number, again)


async def test_answers_and_questions_of_the_past_are_for_nobody(tmp_path):
    """A connection that closes a session and comes back to it knows its own already; ids may be used anew."""
    asks = {"turns": [[{"do": "say", "text": "x"}, {"do": "askPermission"}, {"do": "sayAnswer"}]]}
    async with house(tmp_path, primary=asks) as home:
        editor = await home.editor(NUMBERS)
        editor.answers["session/request_permission"] = {"outcome": {"outcome": "selected", "optionId": "allow"}}
        session = await editor.new()
        turn = await editor.prompt(session)
        await editor.result("session/close", sessionId=session)
        since = len(editor.heard)
        await back(editor, session, 0, RESUME)
        again = editor.heard[since:]

    assert (1, [], "say x") == (
        len(editor.replies(turn.request)),
        [one for one in again if one.get("method") == "session/request_permission"],
        words(numbered(again))[0],
    )


async def test_numbers_outlive_the_broker(tmp_path):
    """A bridge comes back to the next one with what it knows of the last one."""
    async with house(tmp_path, primary=SAYS) as home:
        _, session = await two_turns(home)
        everything = await back(await home.editor(NUMBERS), session)
    async with house(tmp_path, primary=SAYS) as home:
        first = await back(await home.editor(NUMBERS), session, 0)
        missed = await back(await home.editor(NUMBERS), session, everything[4][0], RESUME)

    assert (everything, everything[5:]) == (first, missed)


async def test_another_process_shows_what_it_has_under_the_same_numbers(tmp_path):
    """Whichever a bridge comes back to."""
    async with house(tmp_path, primary=SAYS) as home, house(tmp_path, primary=SAYS) as elsewhere:
        editor = await home.editor(NUMBERS)
        session = await editor.new()
        there = await elsewhere.editor(NUMBERS)
        await there.result(RESUME, **reopen(tmp_path, session))
        turn = await editor.prompt(session, "here")
        await there.prompt(session, "there")
        end = numbered(turn.heard)

    assert set(end) < set(numbered(there.heard))


@pytest.mark.parametrize("method", [LOAD, RESUME])
async def test_who_comes_from_another_process_is_not_refused_for_what_it_saw_there(tmp_path, method):
    """This one has yet to read it: what the client has seen of it is not shown again, and the rest is not missing."""
    async with house(tmp_path, primary=SAYS) as home, house(tmp_path, primary=SAYS) as elsewhere:
        editor, other = await home.editor(NUMBERS), await elsewhere.editor()
        session = await editor.new()
        await other.result(RESUME, **reopen(tmp_path, session))
        turn = await editor.prompt(session, "here")
        last_word = numbered(turn.heard)[-2][0]
        late = await elsewhere.editor(NUMBERS)
        await back(late, session, last_word, method)
        await other.prompt(session, "there")
        ended, *rest = [word for _, word in numbered(late.heard)]

    assert ("ended end_turn primary", "echo there") == (ended, rest[0])
    assert ["say o", "say n", "say e"] == [word for word in rest if word.startswith("say")]


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (10**9, "this session's log ends before 1000000000: it was cut, or is another one; load the session without"),
        (-1, "session/load: Expected `int` >= 0"),
        ("7", "session/load: Expected `int | null`, got `str`"),
        (1.5, "session/load: Expected `int | null`, got `float`"),
    ],
)
async def test_a_number_that_is_none_of_the_sessions_is_refused(tmp_path, number, why):
    """Taken for another, it would hide words or show them twice."""
    async with house(tmp_path, primary=SAYS) as home:
        _, session = await two_turns(home)
        late = await home.editor(NUMBERS)
        error = (await late.call(LOAD, **reopen(tmp_path, session), **after(number)))["error"]

    assert (-32602, True) == (error["code"], error["message"].startswith(why)), error


@pytest.mark.parametrize("method", [LOAD, RESUME, "session/prompt"])
async def test_who_asked_for_no_numbers_cannot_say_where_it_was(tmp_path, method):
    """It would wait for numbers that never come."""
    async with house(tmp_path, primary=SAYS) as home:
        _, session = await two_turns(home)
        late = await home.editor()
        members = {"prompt": [{"type": "text", "text": "x"}]} if method == "session/prompt" else {}
        error = (await late.call(method, **reopen(tmp_path, session), **members, **after(0)))["error"]

    text = 'after is for clients that have declared clientCapabilities._meta["acp-broker"].seq: nothing is numbered'
    assert (-32602, text) == (error["code"], error["message"])


async def test_a_prompt_that_was_refused_for_its_number_did_not_run(tmp_path):
    """It may be sent again, without."""
    async with house(tmp_path, primary=SAYS) as home:
        _, session = await two_turns(home)
        before = len(home.records(session))
        await (await home.editor(NUMBERS)).prompt(session, **after(10**9))

        assert before == len(home.records(session))


async def test_a_turn_whose_process_died_says_so_under_a_number(tmp_path):
    """To who comes back, once."""
    async with house(tmp_path, primary=HOLDS) as home:
        editor = await home.editor(NUMBERS)
        session = await editor.new()
        await editor.prompt(session)
    forget(tmp_path, session, "accepted")
    async with house(tmp_path, primary=SAYS, is_whole=False) as home:
        past = await back(await home.editor(NUMBERS), session)
        again = await back(await home.editor(NUMBERS), session, past[-1][0])

    assert (["echo hello", "started", f"say {NOTE}", "ended -33005"], []) == ([word for _, word in past], again)


# --- a disk that fails


@pytest.fixture
def disk(monkeypatch) -> Disk:
    return Disk(monkeypatch)


async def test_what_the_disk_did_not_take_is_shown_without_a_number(tmp_path, disk):
    """No past has it; but a person waits for it."""
    async with house(tmp_path, is_whole=False, primary=HOLDS) as home:
        editor = await home.editor(NUMBERS)
        session = await editor.new()
        turn = await editor.prompt(session)
        disk.room = 0
        await home.clock.advance(1)

    last = [message for message in turn.heard if is_update(message)][-1]
    assert (["say half", "say whole"], None, "end_turn") == (turn.words, seq(last), turn.outcome)


async def test_numbers_are_right_again_once_the_disk_is(tmp_path, disk):
    """They are places in the file, and stay what they are for the next process."""
    async with house(tmp_path, is_whole=False, primary=HOLDS) as home:
        editor = await home.editor(NUMBERS)
        session = await editor.new()
        await editor.prompt(session)
        disk.room = 0
        await home.clock.advance(1)
        disk.room = None
        await editor.prompt(session, "again")
        await home.clock.advance(1)
        live = numbered(editor.heard)
    async with house(tmp_path, is_whole=False, primary=HOLDS) as home:
        past = await back(await home.editor(NUMBERS), session)

    assert set(live) < set(past)


async def test_who_comes_while_the_disk_fails_is_shown_what_is_new(tmp_path, disk):
    """What was lost before it came is nowhere to be had."""
    async with house(tmp_path, is_whole=False, primary=HOLDS) as home:
        editor = await home.editor()
        session = await editor.new()
        await editor.prompt(session)
        disk.room = 0
        home.session(session).show([], 0)
        late = await home.editor(NUMBERS)
        past = await back(late, session, 0, RESUME)
        await home.clock.advance(1)
        await settled()

    assert (["say half"], ["say half", "say whole"]) == (words(past), [one for one in late.words if "say" in one])
