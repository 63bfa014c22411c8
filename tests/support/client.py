"""A recording `Client` and `Tools` for the tests of backends."""

import os
from collections.abc import Callable, Mapping, Sequence

import anyio
import msgspec
from msgspec import Raw, Struct

from acp_broker.clock import Clock, SystemClock
from acp_broker.contract import CancelAsked, SessionSetup, TurnRequest
from acp_broker.core.history import Exchange
from acp_broker.core.names import BackendId, Phase, Projects, SessionId, TurnId
from acp_broker.errors import RpcError
from acp_broker.wire.acp import Answer, Update, text_of
from acp_broker.wire.framing import MAX_LINE_BYTES

# A test that waits this long has failed: it bounds a hang, nothing is measured by it.
DEADLINE_S = 20.0


class Question(Struct, eq=False):
    """A request that was put to the fake client."""

    method: str
    params: dict[str, Raw]
    answered: Callable[[Answer], None]
    is_withdrawn: bool = False

    def answer(self, result: object) -> None:
        self.answered(result if isinstance(result, RpcError) else raw(result))

    def withdraw(self) -> None:
        self.is_withdrawn = True
        self.answered(RpcError(-32800, "withdrawn"))


class FakeClient:
    """Keeps everything in `story`, in order: ("reached", phase), ("show", update), ("ask", method), ("tell", method).

    `replies` answers requests at once, by method; what it does not know stays open in `questions`.
    """

    def __init__(self, replies: Mapping[str, object] | None = None) -> None:
        self.story: list[tuple[str, object]] = []
        self.updates: list[Update] = []
        self.reads: list[int] = []
        self.questions: list[Question] = []
        self.told: list[tuple[str, object]] = []
        self._replies = replies or {}
        self._changed = anyio.Event()

    def reached(self, phase: Phase) -> None:
        self._note("reached", phase)

    def show(self, updates: Sequence[Update]) -> None:
        self.reads.append(len(updates))
        for update in updates:
            self.updates.append(update)
            self._note("show", body(update))

    def ask(self, method: str, params: dict[str, Raw], answered: Callable[[Answer], None]) -> Question:
        question = Question(method, params, answered)
        self.questions.append(question)
        self._note("ask", method)
        if method in self._replies:
            question.answer(self._replies[method])
        return question

    def tell(self, method: str, params: dict[str, Raw] | None) -> None:
        self.told.append((method, None if params is None else {name: plain(value) for name, value in params.items()}))
        self._note("tell", method)

    @property
    def texts(self) -> list[str]:
        """The text of every message chunk, in order."""
        return [text_of(update) or "" for update in self.updates if update.kind == "agent_message_chunk"]

    @property
    def phases(self) -> list[object]:
        return [what for happened, what in self.story if happened == "reached"]

    async def until(self, is_so: Callable[["FakeClient"], bool]) -> None:
        """Wait until `is_so` holds, looking after each thing that happens."""
        with anyio.fail_after(DEADLINE_S):
            while not is_so(self):
                await self._changed.wait()

    def _note(self, happened: str, what: object) -> None:
        self.story.append((happened, what))
        self._changed.set()
        self._changed = anyio.Event()


class FakeTools:
    """What a backend is given at `open`. `between` hears what belongs to no attempt; `logged` keeps the log's lines."""

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        setup: SessionSetup | None = None,
        environment: Mapping[str, str] | None = None,
        authenticated_by: str | None = None,
        credential: str | None = None,
        is_token: bool = False,
        projects: Projects = Projects(),  # noqa: B008
    ) -> None:
        self.backend = BackendId("under-test")
        self.clock = clock or SystemClock()
        self.setup = setup
        self.is_followed = False
        self.max_message_bytes = MAX_LINE_BYTES
        self.client_capabilities = Raw(b"{}")
        self.client_info: Raw | None = None
        self.authenticated_by = authenticated_by
        self.credential = credential
        self.is_token = is_token
        self.projects = projects
        self.environment = dict(os.environ) if environment is None else environment
        self.between = FakeClient()
        self.phases: list[Phase] = []
        self.logged: list[tuple[str, dict[str, str | float | None]]] = []
        self._runtime_session: str | None = None

    def reached(self, phase: Phase) -> None:
        self.phases.append(phase)

    def remember(self, runtime_session: str) -> None:
        self._runtime_session = runtime_session

    def remembered(self) -> str | None:
        return self._runtime_session

    def log(self, event: str, **fields: str | float | None) -> None:
        self.logged.append((event, fields))


def setup(cwd: str) -> SessionSetup:
    return SessionSetup(SessionId("session-of-the-broker"), cwd)


def turn(text: str = "hello", cancel_asked: CancelAsked | None = None) -> TurnRequest:
    """The order for one attempt, its prompt one text block."""
    prompt = raw([{"type": "text", "text": text}])
    return TurnRequest(TurnId("turn-1"), 1, prompt, cancel_asked or CancelAsked())


def body(update: Update) -> object:
    return plain(update.params["update"])


def prompted(blocks: list[dict], past: tuple[Exchange, ...] = ()) -> TurnRequest:
    """The order for a prompt of these blocks, behind these turns."""

    async def told(_limit: int) -> tuple[Exchange, ...]:
        return past

    return msgspec.structs.replace(turn(), prompt=raw(blocks), past=told)


def raw(value: object) -> Raw:
    return Raw(msgspec.json.encode(value))


def plain(value: Raw) -> object:
    return msgspec.json.decode(value)
