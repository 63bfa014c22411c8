"""A fault server: one port on loopback that speaks the wire formats of the model providers, and fails as it is told.

It speaks Anthropic Messages, OpenAI Chat Completions and Responses, Gemini, and both as Vertex AI does, streamed and
not; lists one model and counts tokens; and answers anything else that agents ask at start with `{}`. In a test:

    async with provider("alpha beta gamma delta", "503") as server:
        ...                             # point an agent or a client at server.url
        server.fault = "stall-mid"      # for every request from now on
        assert 3 == len(server.asked("chat", main=True))

From the command line, where the first line printed is its URL and the second that of `control`:

    python -m tests.support.provider --fault 503 --says "alpha beta gamma delta"

`faults` names and describes every way to fail. Nothing here needs a package that the broker does not need itself.
"""

from tests.support.provider.faults import NAMES as NAMES
from tests.support.provider.playing import Pace as Pace
from tests.support.provider.seen import Seen as Seen
from tests.support.provider.server import Provider as Provider
from tests.support.provider.server import provider as provider
