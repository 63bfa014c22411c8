"""What Claude Code says on stdout in `--output-format stream-json`, as far as it is read; one JSON object a line.

    init, per turn     {"type":"system","subtype":"init",...}
    pieces             {"type":"stream_event","event":{...}}            the Messages API's own events
    whole blocks       {"type":"assistant","message":{...}}             `error` marks a failure that it words itself
    results of tools   {"type":"user","message":{...}}
    the turn's end     {"type":"result","subtype":"success","is_error":false,...}
    both ways          {"type":"control_request"}, {"type":"control_response"}, {"type":"control_cancel_request"}

Measured with version 2.1.329. What is not read here is passed over.
"""

from typing import Literal

import msgspec
from msgspec import Raw, Struct, field

_EMPTY = Raw(b"{}")


class Head(Struct):
    """Of every message: what it is, and the tool call of the main agent in which a lesser one said it."""

    type: str = ""
    subtype: str | None = None
    parent: str | None = field(name="parent_tool_use_id", default=None)


class Tokens(Struct):
    input: int = field(name="input_tokens", default=0)
    output: int = field(name="output_tokens", default=0)
    written: int | None = field(name="cache_creation_input_tokens", default=None)
    read: int | None = field(name="cache_read_input_tokens", default=None)

    @property
    def all(self) -> int:
        return self.input + self.output + (self.written or 0) + (self.read or 0)


class Source(Struct):
    data: str = ""
    media_type: str = "image/png"


class Block(Struct):
    """A content block of the Messages API."""

    type: str = ""
    text: str = ""
    thinking: str = ""
    id: str = ""
    name: str = ""
    input: Raw = _EMPTY
    tool_use_id: str = ""
    content: Raw = Raw(b'""')
    is_error: bool | None = None
    source: Source = field(default_factory=Source)


class ApiMessage(Struct):
    """`content` is a list of blocks, or a text."""

    id: str = ""
    content: list[Block] | str = ""
    usage: Tokens | None = None


class Delta(Struct):
    type: str = ""
    text: str = ""
    thinking: str = ""


class Event(Struct):
    type: str = ""
    message: ApiMessage = field(default_factory=ApiMessage)
    content_block: Block = field(default_factory=Block)
    delta: Delta = field(default_factory=Delta)
    usage: Tokens | None = None


class Streamed(Struct):
    event: Event


class Said(Struct):
    """An `assistant` or `user` message."""

    message: ApiMessage
    error: str | None = None


class Window(Struct):
    context: int = field(name="contextWindow", default=0)


class Result(Struct):
    """The end of a turn. `errors` are told where there is no `result`; times and costs are of the whole session."""

    subtype: str = ""
    is_error: bool = False
    result: str | None = None
    errors: list[str] | None = None
    stop_reason: str | None = None
    terminal_reason: str | None = None
    api_error_status: int | None = None
    api_error_type: str | None = None
    api_error: str | None = None
    total_cost_usd: float = 0.0
    usage: Tokens | None = None
    models: dict[str, Window] | None = field(name="modelUsage", default=None)
    prompt: str | None = field(name="user_message_uuid", default=None)
    prompts: list[str] | None = field(name="user_message_uuids", default=None)

    def ends(self, prompt: str, *, is_queued: bool) -> bool:
        """Whether it is the end of that prompt's turn. One that names no prompt is, unless ours still waits."""
        if self.prompt is None:
            return not is_queued
        return prompt in (self.prompt, *(self.prompts or ()))


class Limit(Struct):
    status: str = ""
    resets_at: float | None = field(name="resetsAt", default=None)


class Limited(Struct):
    """`rate_limit_event`: of a subscription."""

    limit: Limit = field(name="rate_limit_info")


class Lifecycle(Struct):
    """`command_lifecycle`: what became of the prompt that was sent with this uuid."""

    prompt: str = field(name="command_uuid")
    state: str = ""


class Status(Struct):
    mode: str | None = field(name="permissionMode", default=None)


class Asking(Struct):
    """`can_use_tool`. The suggestions are changes of permission that would make it ask no more."""

    subtype: str = ""
    tool: str = field(name="tool_name", default="")
    call: str = field(name="tool_use_id", default="")
    input: Raw = _EMPTY
    suggestions: list[dict[str, Raw]] | None = field(name="permission_suggestions", default=None)
    no_always: bool | None = field(name="suppress_always_allow_rule", default=None)


class Control(Struct):
    """`control_request` of its own, and `control_cancel_request`, which has no `request`."""

    request_id: str
    request: Raw = _EMPTY


class Reply(Struct):
    subtype: Literal["success", "error"]
    request_id: str = ""
    response: Raw = _EMPTY
    error: str = ""


class Replied(Struct):
    response: Reply


class Command(Struct):
    name: str
    description: str = ""
    hint: str = field(name="argumentHint", default="")


class Account(Struct):
    """What it is logged in by. `token` is "none" where it has looked for one in vain."""

    token: str | None = field(name="tokenSource", default=None)
    key: str | None = field(name="apiKeySource", default=None)
    provider: str | None = field(name="apiProvider", default=None)

    @property
    def is_missing(self) -> bool:
        """Other providers than Anthropic's own have logins that it does not see."""
        return (self.token, self.provider) == ("none", "firstParty") and self.key in (None, "none")


class Hello(Struct):
    """Its answer to `initialize`."""

    commands: list[Command] = []
    account: Account = field(default_factory=Account)
    mode: str | None = field(name="current_permission_mode", default=None)
    version: str = field(name="claude_code_version", default="")


class ServersSet(Struct):
    """Its answer to `mcp_set_servers`."""

    errors: dict[str, str] = {}


head = msgspec.json.Decoder(Head).decode
streamed = msgspec.json.Decoder(Streamed).decode
said = msgspec.json.Decoder(Said).decode
result = msgspec.json.Decoder(Result).decode
limited = msgspec.json.Decoder(Limited).decode
lifecycle = msgspec.json.Decoder(Lifecycle).decode
status = msgspec.json.Decoder(Status).decode
control = msgspec.json.Decoder(Control).decode
asking = msgspec.json.Decoder(Asking).decode
replied = msgspec.json.Decoder(Replied).decode
hello = msgspec.json.Decoder(Hello).decode
servers_set = msgspec.json.Decoder(ServersSet).decode
blocks = msgspec.json.Decoder(list[Block] | str).decode

_encode = msgspec.json.encode


def asks(number: int, subtype: str, **members: object) -> bytes:
    """A control request of ours."""
    return _line({"type": "control_request", "request_id": str(number), "request": {"subtype": subtype, **members}})


def answers(request_id: str, response: object) -> bytes:
    """Our answer to one of its own."""
    return _line(
        {
            "type": "control_response",
            "response": {"subtype": "success", "request_id": request_id, "response": response},
        }
    )


def refuses(request_id: str, why: str) -> bytes:
    return _line({"type": "control_response", "response": {"subtype": "error", "request_id": request_id, "error": why}})


def prompts(uuid: str, message: Raw) -> bytes:
    return _line({"type": "user", "uuid": uuid, "message": message, "parent_tool_use_id": None, "session_id": ""})


def _line(value: object) -> bytes:
    return _encode(value) + b"\n"
