"""How long a token is good for: when a newer one should be had, and when it can no longer be used.

Times are seconds of the wall clock, as the provider's answer said them; None for a token that does not end.
"""

# A request is still under way when its token is looked at; clocks differ by seconds.
MARGIN_S = 10.0
# Of a short life the margin must not be all.
_MARGIN_SHARE = 0.1
# Once so much of its life is over, or so little is left, whichever comes later.
_DUE_SHARE = 0.8
_DUE_BEFORE_S = 300.0
# How much of what is left then may pass until it is asked for.
_SPREAD_SHARE = 0.25


def is_spent(obtained_at: float, expires_at: float | None, wall: float) -> bool:
    """Whether it must not be used any more. A clock that was set forward makes it so early, which costs a refresh."""
    if expires_at is None:
        return False
    return wall >= expires_at - min(MARGIN_S, _MARGIN_SHARE * max(0.0, expires_at - obtained_at))


def due_at(obtained_at: float, expires_at: float | None, spread: float) -> float | None:
    """When a newer one should be asked for. `spread`, 0 to 1, keeps those who hold it from asking all at once."""
    if expires_at is None:
        return None
    life_s = max(0.0, expires_at - obtained_at)
    due = max(obtained_at + _DUE_SHARE * life_s, expires_at - _DUE_BEFORE_S)
    return due + spread * _SPREAD_SHARE * (expires_at - due)
