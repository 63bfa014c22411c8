"""What Claude Code says and does in a turn, as ACP updates: words, thoughts, calls of tools, plans.

    message_start -> deltas -> the same block whole -> ... -> results of tools -> message_start -> ...

A block that was streamed is not shown a second time; what it words itself for a failure is never shown.
"""

from collections.abc import Iterator

from acp_broker.wire.acp import Update, update
from backends.anthropic_cli import wire
from backends.anthropic_cli.calls import Call, content_of, plan_of
from backends.http.speaking import Piece, Voice

# Its list of things to do: a plan, and no call of a tool.
_TODO = "TodoWrite"


class Showing:
    """One per process. `context` is how many tokens the last request and its answer had."""

    def __init__(self, cwd: str) -> None:
        self.context = 0
        self._cwd = cwd
        self._voice = Voice()
        # The id of the message that is being streamed; its blocks come again, whole.
        self._streaming: str | None = None
        self._calls: dict[str, Call] = {}
        self._input = 0

    def begin(self) -> None:
        """A turn begins."""
        self._calls.clear()

    def streamed(self, event: wire.Event) -> Iterator[Update]:
        match event.type:
            case "message_start":
                self._voice, self._streaming = Voice(), event.message.id
                self._count(event.message.usage)
            case "content_block_start" if event.content_block.type == "tool_use":
                yield from self._called(event.content_block, is_whole=False)
            case "content_block_delta":
                delta = event.delta
                piece = Piece(delta.thinking, is_thought=True) if delta.thinking else Piece(delta.text)
                yield from self._voice.updates([piece])
            case "message_delta":
                self._count(event.usage)

    def whole(self, message: wire.ApiMessage) -> Iterator[Update]:
        """An `assistant` message: the whole of a block that was streamed, or one that was not."""
        is_new = message.id != self._streaming
        if is_new:
            self._voice = Voice()
        for block in _blocks(message):
            if block.type == "tool_use":
                yield from self._called(block, is_whole=True)
            elif is_new:
                piece = Piece(block.thinking, is_thought=True) if block.type == "thinking" else Piece(block.text)
                yield from self._voice.updates([piece])

    def results(self, message: wire.ApiMessage) -> Iterator[Update]:
        """A `user` message: what came of the calls."""
        for block in _blocks(message):
            call = self._calls.pop(block.tool_use_id, None) if block.type == "tool_result" else None
            if call is not None:
                content = content_of(block, keeps_diff=call.kind == "edit" and not block.is_error)
                status = "failed" if block.is_error else "completed"
                yield update("tool_call_update", toolCallId=block.tool_use_id, status=status, **content)

    def call(self, asked: wire.Asking) -> dict[str, object]:
        """The call that permission is asked for, with all that is known of it."""
        return {"toolCallId": asked.call, **Call.read(asked.tool, asked.input, self._cwd).members, "status": "pending"}

    def _called(self, block: wire.Block, *, is_whole: bool) -> Iterator[Update]:
        if block.name == _TODO:
            if is_whole and (entries := plan_of(block.input)) is not None:
                yield update("plan", entries=entries)
            return
        kind = "tool_call_update" if block.id in self._calls else "tool_call"
        call = self._calls[block.id] = Call.read(block.name, block.input, self._cwd)
        yield update(kind, toolCallId=block.id, **call.members, status="in_progress" if is_whole else "pending")

    def _count(self, usage: wire.Tokens | None) -> None:
        """The first event of a message tells the input, a later one the output."""
        if usage is None:
            return
        if usage.input or usage.read or usage.written:
            self._input = usage.all - usage.output
        self.context = self._input + usage.output


def _blocks(message: wire.ApiMessage) -> list[wire.Block]:
    return [wire.Block("text", message.content)] if isinstance(message.content, str) else message.content
