"""A look at Vertex AI that costs nothing: the tokens of one word are counted, with the rights of a turn and where it is
asked. A list of models would show less: it is the same for every project."""

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from acp_broker.clock import Clock
from acp_broker.contract import Looked
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.errors import BackendFailure
from backends.http import failing
from backends.http.client import Client
from backends.http.looking import UNLISTED, answered, fix
from backends.http.settings import HttpConfig

WORD = "hello"
# What may be said of counting alone: not every model is counted, nor in every place.
_OF_COUNTING = frozenset(
    {FailureKind.BAD_REQUEST, FailureKind.UNSUPPORTED, FailureKind.CONTEXT_OVERFLOW, FailureKind.UNCLASSIFIED}
)


class Counting(Struct, frozen=True):
    """The request, and what it is about, in the words of config.json. Without a `project`, of an API key."""

    url: str
    body: Mapping[str, object]
    model: str
    location: str
    project: str | None

    @property
    def name(self) -> str:
        """The model's, as errors have it."""
        return self.model.rpartition("/")[2].partition("@")[0]


class _Counted(Struct):
    by_google: int | None = msgspec.field(name="totalTokens", default=None)
    by_claude: int | None = msgspec.field(name="input_tokens", default=None)


class Counter:
    """Asks for one count, with the headers of a turn."""

    def __init__(
        self, settings: HttpConfig, counting: Counting, headers: Mapping[str, str], client: Client, clock: Clock
    ) -> None:
        self._settings = settings
        self._counting = counting
        self._headers = {**headers, "accept": "application/json"}
        self._client = client
        self._clock = clock

    async def look(self) -> Looked:
        status, counting = 0, self._counting
        asked = (f"POST {counting.url}",)
        body = msgspec.json.encode(counting.body)
        try:
            async with answered(
                self._client.post(counting.url, self._headers, body, _sending), self._client, self._clock
            ) as response:
                status = response.status_code
                await failing.check(response, self._client.host, self._clock)
                said = await failing.beginning(response)
        except BackendFailure as error:
            if _is_of_turns(error.failure, status, counting):
                return Looked(asked, failure=error.failure, fix=_fix(error.failure, self._settings, counting))
            return Looked(asked, says=f"{self._untold} (it says: {error.failure.text})")
        in_project = f", in project {counting.project}" if counting.project else ""
        counts = f"counts tokens of {counting.model} at {counting.location}{in_project}"
        return Looked(asked, says=counts if _is_count(said) else self._untold)

    @property
    def _untold(self) -> str:
        return (
            f"does not count tokens of {self._counting.model}; `acp-broker check --turn` finds out whether it answers"
        )


def _sending() -> None:
    """Nobody waits for it."""


def _is_count(said: bytes) -> bool:
    try:
        found = msgspec.json.decode(said, type=_Counted)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return found.by_google is not None or found.by_claude is not None


def _is_of_turns(failure: Failure, status: int, counting: Counting) -> bool:
    """Whether a turn would fail so, too. Tokens of Claude are counted at an address that is not the model's."""
    if failure.kind is FailureKind.MODEL_NOT_FOUND:
        return status == 403 or counting.name in failure.text
    return failure.kind not in _OF_COUNTING and status not in UNLISTED


def _fix(failure: Failure, settings: HttpConfig, counting: Counting) -> str:
    """What a person can do at Google's, beside logging in."""
    text, project = failure.text, counting.project or "its project"
    match failure.kind:
        case FailureKind.AUTH_REJECTED if "has not been used" in text:
            return f"gcloud services enable aiplatform.googleapis.com --project {project}"
        case FailureKind.AUTH_REJECTED if "serviceUsageConsumer" in text:
            return "gcloud auth application-default set-quota-project with a project of yours, or have the role granted"
        case FailureKind.AUTH_REJECTED if "on resource project" in text:
            return f"look whether {project} is the project's id, and who is logged in may use it"
        case FailureKind.AUTH_REJECTED | FailureKind.MODEL_NOT_FOUND if "' denied on" in text:
            return f"have roles/aiplatform.user granted in {project}, and look whether it has the model"
        case FailureKind.MODEL_NOT_FOUND:
            where = f"whether {counting.location} serves it, and whether its terms are accepted in {project}"
            return f"look in the Model Garden how `model` is written, {where}"
        case FailureKind.BILLING:
            return f"enable billing for {project}"
        case FailureKind.UNREACHABLE if settings.base_url is None and "is the name of no host" in text:
            return "look whether this machine is online, and `location` is written right"
        case _:
            return fix(failure, settings)
