"""One request being played, step by step, with no I/O: a generator of actions that is sent the client's answers.

The shell around it may set `cancel_asked` at any time; the scene looks at it after each step.
"""

import random
from collections.abc import Sequence
from typing import assert_never

import msgspec
from msgspec import Raw, Struct

from backends.scripted import steps as s
from backends.scripted.actions import Moves, Noise, Show, Wait
from backends.scripted.asking import ask
from backends.scripted.session import Session
from backends.scripted.words import as_update, chunk, members_of, pieces, reply

CANCELLED = s.End("cancelled")


class _Block(Struct):
    type: str = ""
    text: str = ""


class Scene:
    """What a request was asked with, and what has happened in it so far."""

    def __init__(self, session: Session | None = None, prompt: Sequence[Raw] = ()) -> None:
        self.session = session
        blocks = [msgspec.json.decode(block, type=_Block) for block in prompt]
        self.text = "\n".join(block.text for block in blocks if block.type == "text")
        self.cancel_asked = False
        self.heeds_cancel = True
        self.turn = 0
        self.heard = ""
        self._choices = 0
        self._answers = 1
        self._late: list[s.Step] = []

    @property
    def is_cancelled(self) -> bool:
        return self.cancel_asked and self.heeds_cancel

    def play(self, steps: s.Steps) -> Moves[s.Ending | None]:
        """Play until a step ends the play or a cancel does; None when the steps ran out."""
        for step in steps:
            if self.is_cancelled:
                return CANCELLED
            ending = yield from self._step(step)
            if ending is not None:
                return ending
        return CANCELLED if self.is_cancelled else None

    def answer(self, ending: s.Ending) -> Moves[None]:
        """Answer the request, then play what was kept for after the answer."""
        for _ in range(self._answers):
            yield reply(ending)
        if self._late:
            self.heeds_cancel = False
            yield Wait(0)
            yield from self.play(tuple(self._late))

    def show(self, update: dict[str, object]) -> Show:
        """The action that shows an update, which the session then remembers."""
        shown = as_update(msgspec.json.encode(update))
        if self.session is not None:
            self.session.show(shown.params["update"])
        return Show(shown)

    def _step(self, step: s.Step) -> Moves[s.Ending | None]:
        if isinstance(step, s.Ending):
            return step
        if isinstance(step, s.Steering):
            return (yield from self._steer(step))
        if isinstance(step, s.Asking):
            return (yield from self._ask(step))
        if isinstance(step, s.Shown):
            yield from self._show(step)
        elif isinstance(step, s.Fault):
            yield from self._go_wrong(step)
        else:
            assert_never(step)
        return None

    def _show(self, step: s.Shown) -> Moves[None]:
        match step:
            case s.Say():
                yield from self._speak("agent", step.text, step)
            case s.Think():
                yield from self._speak("thought", step.text, step)
            case s.Echo():
                yield from self._speak(step.voice, self.text, step)
            case s.SayAnswer():
                yield self.show(chunk("agent", self.heard))
            case s.Flood():
                yield from self._flood(step)
            case s.RawUpdate():
                yield self.show(step.update)
            case s.Note():
                yield self.show({"sessionUpdate": "session_info_update", **step.info})
            case _:
                yield self.show(members_of(step))

    def _speak(self, voice: s.Voice, text: str, step: s.Say | s.Think | s.Echo) -> Moves[None]:
        message_id = None if isinstance(step, s.Echo) else step.message_id
        for number, piece in enumerate(pieces(text, step.chunks)):
            if number and step.every_ms:
                yield from self._wait(step.every_ms)
                if self.is_cancelled:
                    return
            yield self.show(chunk(voice, piece, message_id))

    def _flood(self, step: s.Flood) -> Moves[None]:
        update = as_update(msgspec.json.encode(chunk("agent", step.text)))
        left = step.count
        while left > 0 and not self.is_cancelled:
            yield Show(update, min(left, step.per_write))
            yield Wait(0)
            left -= step.per_write

    def _steer(self, step: s.Steering) -> Moves[s.Ending | None]:
        match step:
            case s.Repeat():
                return (yield from self._repeat(step))
            case s.Stall():
                yield from self._wait(step.ms)
            case s.WaitCancel():
                self.heeds_cancel = True
                yield from self._wait(None)
                self.heeds_cancel = False
                return (yield from self.play(step.steps)) or CANCELLED
            case s.IgnoreCancel():
                self.heeds_cancel = False
            case s.LateUpdates():
                self._late.extend(step.steps)
            case s.Choose():
                return (yield from self.play(self._choose(step)))
            case s.IfText():
                return (yield from self.play(step.steps if step.contains in self.text else step.otherwise))
            case _:
                assert_never(step)
        return None

    def _repeat(self, step: s.Repeat) -> Moves[s.Ending | None]:
        played = 0
        while step.times is None or played < step.times:
            ending = yield from self.play(step.steps)
            if ending is not None:
                return ending
            yield from self._wait(0)
            if self.is_cancelled:
                return CANCELLED
            played += 1
        return None

    def _wait(self, ms: float | None) -> Moves[None]:
        if not self.is_cancelled:
            yield Wait(None if ms is None else ms / 1000)

    def _choose(self, step: s.Choose) -> s.Steps:
        self._choices += 1
        # Seeded by place, not drawn from one stream: other sessions and late plays cannot shift what is chosen.
        dice = random.Random(f"{step.seed} {self.turn} {self._choices}")  # noqa: S311 - a script's dice
        left = dice.random() * sum(branch.weight for branch in step.branches)
        for branch in step.branches:
            left -= branch.weight
            if left < 0:
                return branch.steps
        return step.branches[-1].steps

    def _ask(self, step: s.Asking) -> Moves[s.Ending | None]:
        where = ("", "/") if self.session is None else (self.session.id, self.session.cwd)
        outcome, self.heard = yield from ask(step, *where)
        if self.is_cancelled:
            return CANCELLED
        return (yield from self.play(step.branches.get(outcome, ())))

    def _go_wrong(self, step: s.Fault) -> Moves[None]:
        match step:
            case s.Garbage():
                yield Noise(step.text.encode() + bytes.fromhex(step.hex))
            case s.BadJson():
                yield Noise(b'{"jsonrpc":"2.0","method":"session/update","params":{\n')
            case s.AnswerTwice():
                self._answers = 2
            case _:
                yield step
