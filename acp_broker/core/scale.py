"""What one attempt has said before its turn's commit point, weighed chunk by chunk and judged at its end. Pure."""

from acp_broker.core.doubt import is_in_doubt_still, judge, judge_silence
from acp_broker.core.failures import Failure
from acp_broker.core.habits import Habits
from acp_broker.core.look import first_look, mentions_trouble
from acp_broker.core.names import StopReason
from acp_broker.core.weight import Weight


class Scale:
    """Of one attempt, by its agent's habits."""

    def __init__(self, habits: Habits) -> None:
        self.habits = habits
        # What is held in doubt: messages, else thoughts; and the lines that may be an adapter's warning.
        self._doubted: list[str] = []
        self._thoughts: list[str] = []
        self._warnings: list[str] = []
        # Whether it said that it tries its provider again.
        self.has_retried = False

    def weigh(self, text: str, *, is_thought: bool, is_doubting: bool) -> Weight:
        """What a chunk that is not blank is. `is_doubting`: words that are doubted are held already."""
        weight = first_look(text, self.habits, is_thought=is_thought)
        if weight is Weight.PLAIN and not is_doubting:
            if not mentions_trouble(text) or judge(text, "end_turn", None, self.habits) is None:  # nearly all
                return weight
            # A whole notice, of which nobody knew how it begins.
            weight = Weight.DOUBTFUL
        held = self._thoughts if is_thought else self._doubted
        if is_doubting and weight not in (Weight.RETRYING, Weight.ASIDE):
            held.append(text)
            in_doubt = is_in_doubt_still("".join(held), len(held), self.habits)
            return Weight.DOUBTFUL if in_doubt else Weight.PLAIN
        if weight is Weight.DOUBTFUL:
            held.append(text)
        elif weight is Weight.RETRYING:
            self.has_retried = True
        elif weight is Weight.WARNING:
            self._warnings.append(text)
        return weight

    @property
    def has_warned(self) -> bool:
        """Whether it said a line that may be an adapter's warning, or a short answer."""
        return bool(self._warnings)

    def judge(self, stop_reason: StopReason, usage_present: bool | None) -> Failure | None:  # noqa: FBT001
        """The failure that its turn is, of which nothing was shown, or None; `usage_present` as in `doubt.judge`."""
        words = "".join(self._doubted or self._thoughts or self._warnings)
        if not words:
            return judge_silence(stop_reason, usage_present)
        return judge(words, stop_reason, usage_present, self.habits)
