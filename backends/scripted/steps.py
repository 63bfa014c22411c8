"""The steps of the script language: say, stall, fail, lie, die. docs/scripted.md teaches it.

Data only: nothing here plays. Every struct with a tag is one step; its members are the JSON object's, in camelCase.
"""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct, field

from acp_broker.core.failures import FailureKind

Json: TypeAlias = Annotated[object, Meta(extra_json_schema={"description": "any JSON value"})]
Object: TypeAlias = dict[str, Json]
Voice = Literal["agent", "thought", "user"]


class Part(Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    pass


class _Step(Part, frozen=True, tag_field="do"):
    pass


# Steps that show something.


class Say(_Step, frozen=True, tag="say"):
    """Message chunks: `text` cut into `chunks` pieces, `every_ms` apart."""

    text: str
    chunks: int = 1
    every_ms: float = 0
    message_id: str | None = None


class Think(_Step, frozen=True, tag="think"):
    """Thought chunks, cut like those of `say`."""

    text: str
    chunks: int = 1
    every_ms: float = 0
    message_id: str | None = None


class Echo(_Step, frozen=True, tag="echo"):
    """The prompt's text, said back; in the voice `user` it is the repeat of the prompt that some agents send."""

    chunks: int = 3
    every_ms: float = 0
    voice: Voice = "agent"


class RawUpdate(_Step, frozen=True, tag="update"):
    """Any update, as it stands: known, unknown or malformed."""

    update: Object


class ToolCall(_Step, frozen=True, tag="toolCall"):
    tool_call_id: str
    title: str
    kind: str | None = None
    status: str | None = None
    content: tuple[Object, ...] | None = None
    locations: tuple[Object, ...] | None = None
    raw_input: Json = None
    raw_output: Json = None


class ToolCallUpdate(_Step, frozen=True, tag="toolCallUpdate"):
    tool_call_id: str
    title: str | None = None
    kind: str | None = None
    status: str | None = None
    content: tuple[Object, ...] | None = None
    locations: tuple[Object, ...] | None = None
    raw_input: Json = None
    raw_output: Json = None


class Plan(_Step, frozen=True, tag="plan"):
    entries: tuple[Object, ...]


class Usage(_Step, frozen=True, tag="usage"):
    used: int
    size: int
    cost: Object | None = None


class Commands(_Step, frozen=True, tag="commands"):
    available_commands: tuple[Object, ...]


class Note(_Step, frozen=True, tag="note"):
    """A `session_info_update` with these members: a title, `_meta`, or anything else."""

    info: Object = {}


class Flood(_Step, frozen=True, tag="flood"):
    """`count` equal message chunks, `per_write` of them in one write."""

    count: int
    text: str = "x"
    per_write: Annotated[int, Meta(ge=1)] = 1000


# Steps that ask the client. `branches` names what is played for each outcome; no branch: the play goes on.


class _Asking(_Step, frozen=True, kw_only=True):
    branches: "dict[str, Steps]" = {}
    withdraw_ms: float | None = None


class AskPermission(_Asking, frozen=True, tag="askPermission"):
    """Outcomes: the option's id, `cancelled`, `error`, `withdrawn`."""

    tool_call_id: str = "call-1"
    title: str = "Do it"
    options: tuple[Object, ...] = (
        {"optionId": "allow", "name": "Allow", "kind": "allow_once"},
        {"optionId": "reject", "name": "Reject", "kind": "reject_once"},
    )


class ReadFile(_Asking, frozen=True, tag="readFile"):
    """A relative path is below the session's cwd. Outcomes: `ok`, `error`, `withdrawn`."""

    path: str


class WriteFile(_Asking, frozen=True, tag="writeFile"):
    path: str
    text: str


class Terminal(_Asking, frozen=True, tag="terminal"):
    """Create, wait (or `kill`), output, release. Outcomes: the exit code, the signal, `error`, `withdrawn`."""

    command: str
    args: tuple[str, ...] = ()
    kill: bool = False
    release: bool = True


class Elicit(_Asking, frozen=True, tag="elicit"):
    """`params` are those of `elicitation/create` beside `mode` and `message`. Outcomes: the action, `error`, ..."""

    message: str
    mode: str = "form"
    params: Object = {}


class Ext(_Asking, frozen=True, tag="ext"):
    """Any method of any name: a notification, or a request when `request`. `session` adds the session's id."""

    method: str
    params: Object = {}
    request: bool = False
    session: bool = False


class SayAnswer(_Step, frozen=True, tag="sayAnswer"):
    """Says what the last request was answered with: option, file, terminal output; anything else as JSON."""


# Steps that steer.


class Repeat(_Step, frozen=True, tag="repeat"):
    """Plays `steps` so many times; without `times` forever."""

    steps: "Steps"
    times: int | None = None


class Stall(_Step, frozen=True, tag="stall"):
    """Silence for `ms`; without `ms` forever. A cancel ends it."""

    ms: float | None = None


class WaitCancel(_Step, frozen=True, tag="waitCancel"):
    """Waits for the cancel, plays `steps`, and ends `cancelled` unless they end it otherwise."""

    steps: "Steps" = ()


class IgnoreCancel(_Step, frozen=True, tag="ignoreCancel"):
    """From here on a cancel changes nothing in this turn."""


class LateUpdates(_Step, frozen=True, tag="lateUpdates"):
    """Plays `steps` once the answer is out."""

    steps: "Steps"


class Branch(Part, frozen=True):
    steps: "Steps" = ()
    weight: Annotated[float, Meta(ge=0)] = 1


class Choose(_Step, frozen=True, tag="choose"):
    """One branch by weight; the same seed, turn and place always choose the same."""

    branches: Annotated[tuple[Branch, ...], Meta(min_length=1)]
    seed: int = 0


class IfText(_Step, frozen=True, tag="ifText"):
    contains: str
    steps: "Steps" = ()
    otherwise: "Steps" = field(name="else", default=())


# Steps that go wrong.


class Exit(_Step, frozen=True, tag="exit"):
    code: int = 1


class Die(_Step, frozen=True, tag="die"):
    """A signal to itself."""

    signal: Literal["KILL", "TERM", "INT", "HUP", "ABRT", "SEGV"] = "KILL"


class Garbage(_Step, frozen=True, tag="garbage"):
    """Bytes on stdout, as they stand, those of `hex` last: no newline is added."""

    text: str = ""
    hex: str = ""

    def __post_init__(self) -> None:
        bytes.fromhex(self.hex)


class BadJson(_Step, frozen=True, tag="badJson"):
    """A line on stdout that starts like a message and is none."""


class CloseStdout(_Step, frozen=True, tag="closeStdout"):
    """The process lives on, mute."""


class Stderr(_Step, frozen=True, tag="stderr"):
    text: str


class Spawn(_Step, frozen=True, tag="spawn"):
    """A child of the agent that sleeps forever; its pid goes to stderr as `spawned PID`."""

    setsid: bool = False
    ignore_term: bool = False
    hold_stdout: bool = False


class AnswerTwice(_Step, frozen=True, tag="answerTwice"):
    """The answer to this request is sent two times."""


# Steps that end a play.


class End(_Step, frozen=True, tag="end"):
    """The turn's answer. Any word may stand as stop reason: scripts may lie."""

    stop_reason: str = "end_turn"
    usage: Object | None = None
    meta: Object | None = None


class Fail(_Step, frozen=True, tag="fail"):
    """An error reply. `kind` names the failure in process, where it is otherwise read off the code and the words."""

    code: int = -32603
    message: str = "Internal error"
    data: Json = None
    kind: FailureKind | None = None


class Answer(_Step, frozen=True, tag="answer"):
    """The whole result, as it stands."""

    result: Json = None


Shown = Say | Think | Echo | RawUpdate | ToolCall | ToolCallUpdate | Plan | Usage | Commands | Note | Flood | SayAnswer
Asking = AskPermission | ReadFile | WriteFile | Terminal | Elicit | Ext
Steering = Repeat | Stall | WaitCancel | IgnoreCancel | LateUpdates | Choose | IfText
Fault = Exit | Die | Garbage | BadJson | CloseStdout | Stderr | Spawn | AnswerTwice
Ending = End | Fail | Answer
Step = Shown | Asking | Steering | Fault | Ending
Steps: TypeAlias = tuple[Step, ...]
