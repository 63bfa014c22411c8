"""Claude on Vertex AI, with Google's credentials of this machine."""

from collections.abc import Iterator, Mapping

from backends.offering import Offer

MODEL = "claude-sonnet-4-5@20250929"


def offered(environment: Mapping[str, str]) -> Iterator[Offer]:
    """`CLOUD_ML_REGION` is Claude Code's variable for it."""
    location = environment.get("CLOUD_ML_REGION")
    entry = {"kind": "anthropic-vertex", **({"location": location} if location else {})}
    yield Offer("claude-vertex", "Claude on Vertex AI", entry, profile={"type": "google"}, model=MODEL)
