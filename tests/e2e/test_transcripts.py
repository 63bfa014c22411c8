"""What real agents said when their providers failed (scripts/matrix --record), said again to the broker.

The table of docs/matrix.md without the agents: the same rules and rows see through the same disguises.
"""

import pytest

from acp_broker.core import visible
from acp_broker.core.turnrules import Limits
from matrix.faults import UNTOLD
from tests.support import recorded
from tests.support.harness import Editor, Turn, house, is_update, shown

pytestmark = pytest.mark.anyio

# As in the matrix, but that no time passes.
LIMITS = Limits(first_output=20.0, idle=20.0)
# More than an agent and its fallback may take by these limits.
LONG_S = 60.0
ANSWER = "The spare one gives this whole answer instead."
TRANSCRIPTS = [recorded.read(path) for path in sorted(recorded.FOLDER.glob("*/*.jsonl"))]
HEALTHY = [one for one in TRANSCRIPTS if one.fault == "good"]
SILENT = [one for one in TRANSCRIPTS if one.fault != "good" and not one.words]
BROKEN_OFF = [one for one in TRANSCRIPTS if one.fault != "good" and one.words and (one.agent, one.fault) not in UNTOLD]
HALF = [one for one in TRANSCRIPTS if (one.agent, one.fault) in UNTOLD]


def each(transcripts):
    return pytest.mark.parametrize("transcript", transcripts, ids=lambda one: f"{one.agent}-{one.fault}")


@each(SILENT)
async def test_the_fallback_answers_and_no_word_of_the_failure_is_shown(transcript, tmp_path):
    """However an agent dresses its provider's failure."""
    turn = await played(transcript, tmp_path)

    assert (["say " + ANSWER], "end_turn") == (seen(turn), turn.outcome)


@each(BROKEN_OFF)
async def test_words_that_were_shown_stay_and_one_error_follows(transcript, tmp_path):
    """Nobody else is tried once something was shown."""
    turn = await played(transcript, tmp_path)

    assert -33002 == turn.outcome
    # Who begins again and again is cut off; what it had said is shown.
    assert transcript.words[0] in "".join(seen(turn))
    assert "say " + ANSWER not in seen(turn)


@each(HALF)
async def test_half_an_answer_that_an_agent_calls_whole_is_shown_as_it_is(transcript, tmp_path):
    """Nothing that it says differs from a healthy turn: nobody could tell who does not see its provider."""
    turn = await played(transcript, tmp_path)

    assert (transcript.words, "end_turn") == ([text.removeprefix("say ") for text in seen(turn)], turn.outcome)


@each(HEALTHY)
async def test_a_healthy_turn_is_the_agents_own(transcript, tmp_path):
    """What sees through failures takes no answer for one."""
    turn = await played(transcript, tmp_path)

    assert "end_turn" == turn.outcome
    assert transcript.agent == turn.told["backend"]


async def played(transcript: recorded.Transcript, path) -> Turn:
    """One prompt to the agent of the transcript, with a healthy fallback behind it."""
    spare = {"turns": [[{"do": "say", "text": ANSWER}]]}
    async with house(path, limits=LIMITS, primary={}, spare=spare) as home:
        primary = recorded.runtime(transcript, home.clock, LIMITS)
        await home.adopt(limits=LIMITS, **{transcript.agent: primary, "spare": spare})
        editor = await home.connected()
        await answered(editor, "initialize", protocolVersion=1, clientCapabilities={})
        session = (await answered(editor, "session/new", cwd=str(path), mcpServers=[]))["sessionId"]
        for _ in range(transcript.healthy):
            await prompted(editor, session)
        return await prompted(editor, session)


def seen(turn: Turn) -> list[str]:
    """What a person sees."""
    updates = [message["params"]["update"] for message in turn.heard if is_update(message)]
    return [shown(update) for update in updates if update["sessionUpdate"] not in visible.NOTES]


async def prompted(editor: Editor, session: str) -> Turn:
    turn = editor.start(session, "Say something.")
    await editor.home.clock.advance(LONG_S)
    return turn


async def answered(editor: Editor, method: str, **params: object) -> dict:
    """The result of a request that an agent needs time for."""
    request = editor.request(method, **params)
    await editor.home.clock.advance(LONG_S)
    return editor.reply(request)["result"]
