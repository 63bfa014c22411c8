"""What was asked of the server."""

from msgspec import Struct


class Seen(Struct, frozen=True):
    """One request. Header names are in lower case.

    `api` is `anthropic`, `chat`, `responses`, `gemini`, `anthropic-vertex` or `gemini-vertex` for one to the model,
    else `models`, `tokens` or `other`.
    `fault` names what was played; "" where faults do not apply. `is_main`: the model was offered tools, which an
    agent does for the turn itself and not for titles or suggestions.
    """

    method: str
    path: str
    api: str
    fault: str
    is_main: bool
    headers: dict[str, str]
    body: bytes

    @property
    def brief(self) -> dict[str, object]:
        return {"method": self.method, "path": self.path, "api": self.api, "fault": self.fault, "main": self.is_main}
