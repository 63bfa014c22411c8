"""One tiny turn, judged as a turn of a session is: what was answered, or what failed, and how long it took."""

from collections.abc import Sequence

from msgspec import Struct

from acp_broker.app.checkup.watch import Watch
from acp_broker.broker.guard import guarded
from acp_broker.broker.limit import within
from acp_broker.broker.testimony import witnessed
from acp_broker.broker.weighing import Weighing
from acp_broker.clock import Clock
from acp_broker.contract import Backend, CancelAsked, Finished, TurnRequest
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.habits import Habits
from acp_broker.core.names import TurnId
from acp_broker.core.turnrules import Limits
from acp_broker.core.turnwords import Doubted, Noted, Reached, Spoke
from acp_broker.wire import jsonrpc
from acp_broker.wire.acp import Update, text_of

PROMPT = "Reply with the one word: ready"
# From the first word on; one word is asked for.
ANSWER_S = 60.0


class Turn(Struct, frozen=True):
    """What came of it; seconds from the prompt. `first_s` is None where nothing was shown."""

    words: str
    seconds: float
    first_s: float | None = None
    failure: Failure | None = None


class _Voice(Watch):
    """Hears the answer. Whoever is asked something says no."""

    def __init__(self, clock: Clock, limits: Limits, habits: Habits) -> None:
        super().__init__(clock, limits)
        self.weighing = Weighing()
        self.weighing.habits = habits
        self.is_doubting = self.has_spoken = False
        self.words = ""
        self.first_at: float | None = None

    def show(self, updates: Sequence[Update]) -> None:
        for update in updates:
            for event in self.weighing.events(1, update, is_doubting=self.is_doubting):
                if isinstance(event, Reached):
                    self.reached(event.phase)
                elif not isinstance(event, Noted):
                    self.is_doubting = isinstance(event, Doubted)
                    self.has_spoken |= isinstance(event, Spoke)
                    self._heard(update)

    def _heard(self, update: Update) -> None:
        if self.first_at is None:
            self.first_at = self._clock.now()
            self.let_run()
        if update.kind == "agent_message_chunk":
            self.words += text_of(update) or ""


async def take(backend: Backend, clock: Clock, limits: Limits) -> Turn:
    """Prompt it, and wait for its answer; one that takes too long leaves nothing that still acts."""
    voice, cancel = _Voice(clock, limits, backend.about.habits), CancelAsked()
    prompt = jsonrpc.encode([{"type": "text", "text": PROMPT}])
    request = TurnRequest(TurnId("acp-broker-check"), 1, prompt, cancel)
    began = clock.now()
    outcome: Finished | Failure | None = None
    with within(clock, (limits.first_output or 0.0) + ANSWER_S), voice.running("submitted"):
        outcome = await guarded(backend.run(request, voice), _unheard)
    late = Failure(FailureKind.SILENT, "it did not end its answer", seen_at="submitted")
    outcome = outcome if outcome is not None else voice.failure or late
    first_s = voice.first_at - began if voice.first_at is not None else None
    return Turn(voice.words, clock.now() - began, first_s, _failed(outcome, voice))


def _failed(outcome: Finished | Failure, voice: _Voice) -> Failure | None:
    if isinstance(outcome, Failure):
        return outcome
    if outcome.stop_reason == "cancelled":
        return Failure(FailureKind.CANCELLED, "it cancelled the turn, and nobody had asked it to", seen_at="submitted")
    said = witnessed(outcome.answer)
    failure = None if voice.has_spoken else voice.weighing.judged(outcome.stop_reason, said, reports_usage=None)
    if failure is None and voice.first_at is None and not voice.weighing.is_answered_by_notes(said):
        return Failure(FailureKind.EMPTY_TURN, "it ended the turn and said nothing", seen_at="submitted")
    return failure


def _unheard(event: str, **fields: object) -> None:
    """A fault is told by what comes back."""
