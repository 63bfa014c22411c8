"""Gemini, with a key of this machine's environment, or on Vertex AI."""

from collections.abc import Iterator, Mapping

from backends.offering import Offer, first_set

MODEL = "gemini-2.5-flash"
LIKES = (r"gemini-[\d.]+-flash", r"gemini-[\d.]+-pro", r"gemini-.*")


def offered(environment: Mapping[str, str]) -> Iterator[Offer]:
    variable = first_set(environment, "GEMINI_API_KEY", "GOOGLE_API_KEY")
    yield Offer("gemini-api", "Gemini", {"kind": "gemini"}, variable, model=MODEL, likes=LIKES)
    location = environment.get("GOOGLE_CLOUD_LOCATION")
    entry = {"kind": "gemini", "vertex": {"location": location} if location else {}}
    yield Offer("gemini-vertex", "Gemini on Vertex AI", entry, profile={"type": "google"}, model=MODEL)
