"""What an answer has used, out of whatever its provider tells of it: no answer is lost for its bill."""

from collections.abc import Mapping
from typing import TypeGuard

from msgspec import Struct

# Frontends read numbers as JavaScript does: exact up to here.
_MOST = 2**53 - 1
_MOST_COST = 1e6


class Usage(Struct, frozen=True, rename="camel", omit_defaults=True):
    """ACP's `usage`, in tokens. `cost` is in US dollars, where the provider tells it."""

    total_tokens: int
    input_tokens: int
    output_tokens: int
    thought_tokens: int | None = None
    cached_read_tokens: int | None = None
    cached_write_tokens: int | None = None
    cost: float | None = None


def count(told: object, *names: str) -> int | None:
    """The number of tokens to which these names lead; None for what can be none."""
    for name in names:
        told = told.get(name) if isinstance(told, Mapping) else None
    return int(told) if _is_number(told, _MOST) else None


def cost(told: object) -> float | None:
    """Perplexity tells an object, OpenRouter a number."""
    price = told.get("cost") if isinstance(told, Mapping) else None
    return float(price) if _is_number(price, _MOST_COST) else None


def _is_number(told: object, most: float) -> TypeGuard[float]:
    return isinstance(told, int | float) and not isinstance(told, bool) and 0 <= told <= most
