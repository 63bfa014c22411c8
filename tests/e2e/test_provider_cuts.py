"""The primary's connection is lost behind every single byte of its answer, in each wire format.

Whatever the byte: one whole answer of one backend, or an error that keeps exactly what was shown. Nobody is asked
twice, and what was cut is never told as finished. Each byte is tried on the kind alone; each so many on a whole broker.
"""

import pytest

from acp_broker.errors import BackendFailure
from tests.e2e.test_provider_faults import APIS, SPARE, SWITCHED, Api
from tests.support.answered import listening
from tests.support.client import FakeClient, FakeTools, setup, turn
from tests.support.cut_answers import cutting
from tests.support.harness import house

pytestmark = pytest.mark.anyio

WORDS = ("one ", "two")
WHOLE = "".join(WORDS)
REST_S = 30.0
# Bytes; a prime, so that no two formats are cut at like places.
STEP = 29
# Those with a decoder of their own.
FORMATS = [api for api in APIS if not api.name.endswith("-vertex")]
EVERY = pytest.mark.parametrize("api", FORMATS, ids=lambda api: api.name)


async def ended(backend, client: FakeClient) -> str:
    """`nothing`, `kept` or `whole`, or what is wrong."""
    try:
        finished = await backend.run(turn(), client)
    except BackendFailure as error:
        said = "".join(client.texts)
        is_right = WHOLE.startswith(said) and error.failure.kind is not None
        return ("kept" if said else "nothing") if is_right else f"{said} and {error.failure}"
    said = "".join(client.texts)
    return "whole" if (finished.stop_reason, said) == ("end_turn", WHOLE) else f"{finished} with {said}"


@EVERY
async def test_an_answer_that_ends_behind_any_byte_is_whole_or_known_to_be_cut(api: Api):
    """A body without a length: its end looks like the end of an answer, and only its format tells that it is none."""
    found: dict[str, list[int]] = {}
    async with cutting(*WORDS) as server, api.primary(server.url)(FakeTools(setup=setup("/"))) as backend:
        server.is_bare = True
        for _ in server.cuts(every=1):
            found.setdefault(await ended(backend, FakeClient()), []).append(server.may)

    assert ({"nothing", "kept", "whole"}, server.length + 1) == (set(found), server.requests), found
    assert max(found["nothing"]) < min(found["kept"]) <= max(found["kept"]) < min(found["whole"])


@EVERY
async def test_an_answer_that_is_reset_anywhere_is_whole_or_known_to_be_cut(api: Api):
    """A reset may take with it what had arrived."""
    found = set()
    async with cutting(*WORDS) as server, api.primary(server.url)(FakeTools(setup=setup("/"))) as backend:
        server.is_reset = True
        for _ in server.cuts(every=STEP):
            found.add(await ended(backend, FakeClient()))

    assert found <= {"nothing", "kept", "whole"}


def judged(turn, asked: int) -> str:
    """What became of a turn: `switched`, `kept`, `whole`, or what is wrong with it."""
    said = "".join(words.removeprefix("say ") for words in turn.words)
    tried = [attempt.partition(" ")[0] for attempt in turn.attempts]
    match turn.outcome:
        case "end_turn" if turn.words == SWITCHED and tried == ["primary", "spare"] and asked == 1:
            return "switched"
        case "end_turn" if said == WHOLE and turn.attempts == ["primary"] and asked == 1:
            return "whole"
        case -33002 if said and WHOLE.startswith(said) and tried == ["primary"] and asked == 1:
            return "kept"
        case outcome:
            return f"{outcome} {turn.words} {turn.attempts} {asked}"


@EVERY
async def test_a_turn_whose_primary_is_cut_anywhere_has_one_answer_or_one_error(tmp_path, api: Api):
    """Before the first word the spare answers; behind it nobody does; behind the end nobody needs to."""
    found: dict[str, list[int]] = {}
    async with (
        cutting(*WORDS) as server,
        house(tmp_path, primary=api.primary(server.url, historyBytes=0), spare=SPARE) as home,
    ):
        editor = await listening(home)
        session = await editor.new()
        for _ in server.cuts(every=STEP):
            before = server.requests
            turn = await editor.prompted(session)
            found.setdefault(judged(turn, server.requests - before), []).append(server.may)
            await home.clock.advance(REST_S)

    assert {"switched", "kept", "whole"} == set(found), found
    assert max(found["switched"]) < min(found["kept"]) <= max(found["kept"]) < min(found["whole"])
