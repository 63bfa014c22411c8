"""Which candidates a turn may be tried on, and in which order.

The user's pin alone, else the chain as configured, less those that cannot take the prompt and those who are somebody
before them under another name; then those whose rest is not over, the soonest first. Nobody is left out for resting:
when everybody rests, everybody is tried.
Same input, same output.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.health import Health, Probing, Ready, Resting, condition, key_of
from acp_broker.core.names import BackendId, Candidate


class Needs(Struct, frozen=True):
    """What a prompt and its session ask of a backend. `mode` is None for the default mode."""

    image: bool = False
    audio: bool = False
    additional_directories: bool = False
    mode: str | None = None


class Can(Struct, frozen=True):
    """What is known of a backend; None is unknown, and may. `modes` are those that it can draw.

    A mode that is not known to be drawn is not: it is a permission boundary.
    """

    image: bool | None = None
    audio: bool | None = None
    additional_directories: bool | None = None
    modes: frozenset[str] = frozenset()


class Skipped(Struct, frozen=True):
    """A candidate that is not tried, and why; nothing was started for it."""

    candidate: Candidate
    why: Failure


class Plan(Struct, frozen=True):
    """`candidates` in the order of trying. `is_all_resting`: nobody was well, so they are tried all the same."""

    candidates: tuple[Candidate, ...]
    skipped: tuple[Skipped, ...] = ()
    is_all_resting: bool = False


def make_plan(
    order: Sequence[Candidate],
    health: Health,
    now: float,
    wall: float,
    needs: Needs = Needs(),  # noqa: B008 - a frozen value
    can: Mapping[BackendId, Can] | None = None,
    pin: BackendId | None = None,
    twins: Mapping[BackendId, BackendId] | None = None,
) -> Plan:
    """Plan a turn. `order` is primary, then fallbacks; `can` holds the backends of which something is known.

    A pin is strict: its backend's candidates or nobody. `twins`: the backends that ask the same of the same as one
    before them, which they share their health with.
    """
    asked = [candidate for candidate in dict.fromkeys(order) if pin in (None, candidate.backend)]
    skipped: list[Skipped] = []
    taken: dict[Candidate, Candidate] = {}
    ready: list[Candidate] = []
    later: list[tuple[float, Candidate]] = []
    for candidate in asked:
        one = one_of(candidate, twins or {})
        why = _lacks(needs, (can or {}).get(candidate.backend, Can()))
        if why is None and one in taken:
            why = f"asks the same of the same provider as {taken[one].backend}, which is tried"
        if why is not None:
            skipped.append(Skipped(candidate, Failure(FailureKind.UNSUPPORTED, why)))
            continue
        taken[one] = candidate
        match condition(health, key_of(one), now, wall):
            case Ready():
                ready.append(candidate)
            case Probing():
                later.append((0.0, candidate))
            case Resting(left_s):
                later.append((left_s, candidate))
    later.sort(key=lambda one: one[0])
    tried = (*ready, *(candidate for _, candidate in later))
    return Plan(tried, tuple(skipped), is_all_resting=bool(later) and not ready)


def one_of(candidate: Candidate, twins: Mapping[BackendId, BackendId]) -> Candidate:
    """Under whose name its health is kept: the first of those that ask the same."""
    first = twins.get(candidate.backend)
    return candidate if first is None else replace(candidate, backend=first)


def _lacks(needs: Needs, can: Can) -> str | None:
    """What a backend is known not to take, as a text for people; None when it may."""
    if needs.image and can.image is False:
        return "it takes no images"
    if needs.audio and can.audio is False:
        return "it takes no audio"
    if needs.additional_directories and can.additional_directories is False:
        return "it takes no additional directories"
    if needs.mode is not None and needs.mode not in can.modes:
        return f"it has no counterpart of the mode {needs.mode!r}; map it under `modes` in config.json"
    return None
