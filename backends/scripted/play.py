"""Drives the moves of one request through the shell around it. No I/O and no clock of its own; never waits."""

from collections.abc import Callable
from typing import Protocol

from acp_broker.wire.acp import Answer
from backends.scripted.actions import Ask, Deed, Moves, Wait
from backends.scripted.scene import Scene


class Timer(Protocol):
    def cancel(self) -> None: ...


class Question(Protocol):
    def withdraw(self) -> None: ...


class Stage(Protocol):
    """The shell of one play: in process, or a process."""

    def perform(self, deed: Deed) -> None:
        """Do it, now."""

    def ask(self, ask: Ask, answered: Callable[[Answer], None]) -> Question:
        """Put a request to the client; `answered` may be called at once, later, or never."""

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back after so many seconds; 0 is the shell's next free moment."""


class Play:
    """One request in progress. It goes on by itself until it is over; `is_over` also once it was closed."""

    def __init__(self, scene: Scene, moves: Moves[None], stage: Stage) -> None:
        self.is_over = False
        self._scene = scene
        self._moves = moves
        self._stage = stage
        self._timer: Timer | None = None
        self._question: Question | None = None
        # Numbers what the play waits for: an answer or a timer of an earlier wait comes too late.
        self._serial = 0
        self._is_waiting = False

    def start(self) -> None:
        self._advance(None)

    def cancel(self) -> None:
        """Ask the play to end; it goes on at once unless its script ignores cancels."""
        self._scene.cancel_asked = True
        if self._is_waiting and self._scene.heeds_cancel:
            self._resume(self._serial, None)

    def close(self) -> None:
        """End the play here and now; nothing of it can act any more."""
        self.is_over = True
        self._stop_waiting()
        self._moves.close()

    def _advance(self, answer: Answer | None) -> None:
        while True:
            try:
                action = self._moves.send(answer)
            except StopIteration:
                self.is_over = True
                return
            answer = None
            match action:
                case Wait():
                    self._wait(action.seconds)
                    return
                case Ask():
                    self._ask(action)
                    return
                case _:
                    self._stage.perform(action)

    def _wait(self, seconds: float | None) -> None:
        serial = self._begin_waiting()
        if seconds is not None:
            self._timer = self._stage.call_later(seconds, lambda: self._resume(serial, None))

    def _ask(self, ask: Ask) -> None:
        serial = self._begin_waiting()
        if ask.limit_s is not None:
            self._timer = self._stage.call_later(ask.limit_s, lambda: self._withdraw(serial))
        question = self._stage.ask(ask, lambda answer: self._resume(serial, answer))
        if serial == self._serial:
            self._question = question

    def _withdraw(self, serial: int) -> None:
        if serial == self._serial and self._question is not None:
            question = self._question
            self._stop_waiting()
            question.withdraw()
            self._advance(None)

    def _resume(self, serial: int, answer: Answer | None) -> None:
        if serial == self._serial and not self.is_over:
            self._stop_waiting()
            self._advance(answer)

    def _begin_waiting(self) -> int:
        self._is_waiting = True
        return self._serial

    def _stop_waiting(self) -> None:
        self._serial += 1
        self._is_waiting = False
        self._question = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
