"""What the demo plays: five turns, each with the scripts of its agents and the outcome that must follow."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from acp_broker.errors import EXHAUSTED, FAILED_AFTER_COMMIT

PROMPT = "6 times 7?"
ANSWER = "6 times 7 is 42."

Steps = Sequence[Mapping[str, object]]


class Outcome(Struct, frozen=True):
    """What the editor got: the words, who gave them, whom the reply names as tried, the code of the error."""

    words: str
    answered_by: str | None
    tried: tuple[str, ...]
    error: int | None = None


class Scene(Struct, frozen=True):
    """One turn. `agents` in the order of the chain, each with its script (docs/scripted.md); `moral`: what it shows."""

    title: str
    agents: Mapping[str, Mapping[str, object]]
    outcome: Outcome
    moral: str


def _turn(*steps: Mapping[str, object]) -> Mapping[str, object]:
    return {"turns": [steps]}


# The pauses are for the person who watches; docs/scripted.md explains the steps.
_THINKS: Mapping[str, object] = {"do": "stall", "ms": 300}
_ANSWERS = _turn({"do": "stall", "ms": 100}, {"do": "say", "text": ANSWER, "chunks": 2, "everyMs": 250})

SCENES = (
    Scene(
        "A healthy turn",
        {"primary": _ANSWERS, "spare": _ANSWERS},
        Outcome(ANSWER, "primary", ("primary",)),
        "the primary answers, and the spare is not even started",
    ),
    Scene(
        "The primary is killed in mid-turn, before its first word",
        {"primary": _turn({"do": "usage", "used": 900, "size": 200_000}, _THINKS, {"do": "die"}), "spare": _ANSWERS},
        Outcome(ANSWER, "spare", ("primary", "spare")),
        "one prompt, one answer: only _meta and the log tell that the primary died",
    ),
    Scene(
        "The primary dresses its provider's failure as an answer",
        {"primary": _turn(_THINKS, {"do": "say", "text": "API Error: 503"}), "spare": _ANSWERS},
        Outcome(ANSWER, "spare", ("primary", "spare")),
        "the words were held back for a moment, seen through, and never shown",
    ),
    Scene(
        "Everybody fails",
        {
            "primary": _turn(_THINKS, {"do": "fail", "code": 529, "message": "Overloaded"}),
            "spare": {"initialize": [{"do": "exit", "code": 1}]},
            "reserve": {"new": [{"do": "fail", "code": -32000, "message": "Not logged in"}]},
        },
        Outcome("", None, ("primary", "spare", "reserve"), EXHAUSTED),
        "one clear error, with each backend's own reason",
    ),
    Scene(
        "The primary is killed after it has begun to answer",
        {"primary": _turn(_THINKS, {"do": "say", "text": "6 times 7 is "}, _THINKS, {"do": "die"}), "spare": _ANSWERS},
        Outcome("6 times 7 is ", None, ("primary",), FAILED_AFTER_COMMIT),
        "its words stay, the error says so, and nobody talks over them",
    ),
)
