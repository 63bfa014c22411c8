"""Messages, with a key of this machine's environment."""

from collections.abc import Iterator, Mapping

from backends.offering import Offer, first_set

MODEL = "claude-sonnet-4-5"
# Newer ones come first in Anthropic's list.
LIKES = (r"claude-sonnet-.*", r"claude-.*sonnet.*", r"claude-.*")


def offered(environment: Mapping[str, str]) -> Iterator[Offer]:
    """`ANTHROPIC_BASE_URL` is where the key is for."""
    variable = first_set(environment, "ANTHROPIC_API_KEY")
    base = environment.get("ANTHROPIC_BASE_URL")
    entry = {"kind": "anthropic", **({"baseUrl": base} if base else {})}
    yield Offer("anthropic", "Anthropic", entry, variable, model=MODEL, likes=LIKES)
