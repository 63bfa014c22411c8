"""Tells an agent that begins the same answer again and again from one that goes on.

When a provider's stream breaks in the middle, most agents ask again and say what they then get, from its first word on,
in the same turn. Nothing marks the repeat, but that it comes as a new message, behind the agent's own word of a retry,
or after a pause. Some never stop, and each repeat is output, so that no limit on silence ends them.

What it costs. An agent whose provider breaks off three times, and would then answer, is cut off in its fourth attempt.
A line of progress may be said as often as an adapter likes: what comes in one piece is not counted.
"""

# Of each message, in characters: two answers that begin alike for as long are one.
COMPARED = 200
# The beginning that is one too many. Agents that give up by themselves do so after four to six.
ONE_TOO_MANY = 4


# Less may be a heartbeat, or chance.
_LEAST_CHARS = 8
_LEAST_PIECES = 2


class Beginnings:
    """Is told the messages of one turn, piece by piece."""

    def __init__(self) -> None:
        # The message that the others are compared with; none yet.
        self._first = ""
        self._now = ""
        self._pieces = 0
        self._times = 1
        self._is_counted = True

    def something_else(self) -> None:
        """A tool call, a plan: what is said next may well be what was said before."""
        self._first = self._now = ""
        self._pieces, self._times, self._is_counted = 0, 1, True

    def next(self, *, is_retry: bool = False) -> None:
        """A new message begins; said again before it has, it is the same one.

        `is_retry`: the agent has said that it asks again. Then a single word before it is half an answer.
        """
        if not self._pieces:
            return
        if not (is_retry or self._is_telling()):
            self.something_else()
            return
        if not self._is_alike():
            self._first, self._times = self._now, 1
        elif not self._is_counted:  # broken off earlier than the first
            self._times += 1
        self._now, self._pieces, self._is_counted = "", 0, False

    def says(self, text: str) -> bool:
        """Add to the message; whether it is the same beginning once too often."""
        self._pieces += 1
        if len(self._now) < COMPARED:
            self._now = (self._now + text)[:COMPARED]
        if not self._is_counted and self._has_said_as_much() and self._is_alike():
            self._times, self._is_counted = self._times + 1, True
        return self._times >= ONE_TOO_MANY

    @property
    def is_settled(self) -> bool:
        """Whether more of this message would change nothing."""
        return len(self._now) >= COMPARED and self._pieces >= _LEAST_PIECES

    def _has_said_as_much(self) -> bool:
        return len(self._now) >= len(self._first) and self._is_telling()

    def _is_telling(self) -> bool:
        return len(self._now) >= _LEAST_CHARS and self._pieces >= _LEAST_PIECES

    def _is_alike(self) -> bool:
        return bool(self._first) and (self._first.startswith(self._now) or self._now.startswith(self._first))
