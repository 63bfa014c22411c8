"""The ids of the domain. A bare `str` that is an id is a defect."""

from typing import Literal, NewType

from msgspec import Struct

TurnId = NewType("TurnId", str)
SessionId = NewType("SessionId", str)
BackendId = NewType("BackendId", str)
ProfileId = NewType("ProfileId", str)
# A project of a cloud's.
ProjectId = NewType("ProjectId", str)

# The phases of an attempt, in order; each has its own limit. `retrying` is evidence that the agent's provider has
# failed and the agent is trying again by itself: it shortens the wait for first output.
Phase = Literal["leasing", "starting", "opening", "submitted", "retrying"]

# ACP v1 schema, StopReason.
StopReason = Literal["end_turn", "max_tokens", "max_turn_requests", "refusal", "cancelled"]

CommitPoint = Literal["first_output", "submitted"]


class Projects(Struct, frozen=True, omit_defaults=True):
    """What credentials say of a cloud's projects: the one to work in, and the one whose quota is used."""

    main: ProjectId | None = None
    quota: ProjectId | None = None


class Candidate(Struct, frozen=True):
    """A backend with one of its profile's credentials: what an attempt is started on. The first `credential` is 0."""

    backend: BackendId
    profile: ProfileId | None = None
    model: str | None = None
    credential: int = 0
