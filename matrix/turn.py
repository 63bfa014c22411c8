"""One turn with an agent, or with the broker, as a client sees it; and what can be told from its lines alone."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from matrix.peer import CAPABILITIES, GoneError, Line, Peer, talking

PROMPT = "Say something."
# To start a program and open a session, on a machine that does other work.
OPEN_S = 90.0
# What a cancelled agent has to answer the prompt.
CANCEL_S = 10.0
# Words behind the answer, a second model call for a title among them.
AFTER_S = 0.3

# Show nothing by themselves.
_NOTES = frozenset(
    {"usage_update", "available_commands_update", "current_mode_update", "config_option_update", "session_info_update"}
)


class Update(Struct, frozen=True):
    """One `session/update`: `text` is a chunk's, or else the whole update."""

    kind: str
    text: str


class Turn(Struct, frozen=True):
    """`took_s`: from the prompt to its reply, or to the limit. `reply` is empty where there was none.

    `end` says how it came to its end; `stopped_at` is the request that the agent would not go beyond.
    """

    lines: tuple[Line, ...]
    took_s: float
    result: Raw = Raw()
    error: Raw = Raw()
    is_cut: bool = False
    is_deaf: bool = False
    stopped_at: str = ""

    @property
    def stop_reason(self) -> str | None:
        return msgspec.json.decode(self.result, type=_Stopped).reason if self.result else None

    @property
    def failure(self) -> "RpcError | None":
        return msgspec.json.decode(self.error, type=RpcError) if self.error else None

    @property
    def shown(self) -> list[Update]:
        """All that a person sees from the prompt on, in order."""
        asked = [at for at, line in enumerate(self.lines) if not line.is_of_agent and b'"session/prompt"' in line.text]
        said = [line.text for line in self.lines[max(asked, default=0) :] if line.is_of_agent]
        updates = [update for text in said if (update := _update(text)) is not None]
        return [update for update in updates if update.kind not in _NOTES and update.text.strip()]

    def text(self, kind: str = "agent_message_chunk") -> str:
        return "".join(update.text for update in self.shown if update.kind == kind)


class RpcError(Struct, frozen=True):
    code: int = 0
    message: str = ""


class _Stopped(Struct):
    reason: str = msgspec.field(name="stopReason", default="")


class _Content(Struct):
    text: str | None = None


class _Opened(Struct):
    session: str = msgspec.field(name="sessionId", default="")


class _Body(Struct):
    kind: str = msgspec.field(name="sessionUpdate", default="")
    content: Raw = Raw()


class _Params(Struct, frozen=True):
    update: Raw = Raw(b"{}")


class _Notified(Struct):
    method: str = ""
    params: _Params = _Params()


class Plan(Struct, frozen=True):
    """A turn that is cut off after `limit_s`, after so many healthy ones; `break_it` is called between."""

    limit_s: float
    healthy: int
    break_it: Callable[[], None]


async def take_turn(command: Sequence[str], environ: Mapping[str, str], cwd: Path, stderr: Path, plan: Plan) -> Turn:
    """Start it, open a session, prompt, leave. Whatever it does, this ends."""
    async with talking(command, environ, cwd, stderr) as peer:
        try:
            return await _turns(peer, cwd, plan)
        except GoneError:
            return Turn(tuple(peer.lines), peer.lines[-1].at_s, stopped_at="its end")


async def _turns(peer: Peer, cwd: Path, plan: Plan) -> Turn:
    hello = {"protocolVersion": 1, "clientCapabilities": CAPABILITIES}
    session = ""
    for method, params in (("initialize", hello), ("session/new", {"cwd": str(cwd), "mcpServers": []})):
        reply = await peer.reply(await peer.begin(method, params), OPEN_S)
        if reply is None or not reply.result:
            error = reply.error if reply is not None else Raw()
            return Turn(tuple(peer.lines), peer.lines[-1].at_s, error=error, stopped_at=method)
        session = msgspec.json.decode(reply.result, type=_Opened).session
    for _ in range(plan.healthy):
        turn = await _turn(peer, session, OPEN_S)
        if turn.stop_reason != "end_turn":
            return replace(turn, stopped_at="a healthy turn")
    plan.break_it()
    return await _turn(peer, session, plan.limit_s)


async def _turn(peer: Peer, session: str, limit_s: float) -> Turn:
    request = await peer.begin("session/prompt", {"sessionId": session, "prompt": [{"type": "text", "text": PROMPT}]})
    began_s = peer.lines[-1].at_s
    reply = await peer.reply(request, limit_s)
    if reply is None:
        await peer.tell("session/cancel", {"sessionId": session})
        late = await peer.reply(request, CANCEL_S)
        return Turn(tuple(peer.lines), limit_s, is_cut=True, is_deaf=late is None)
    await peer.pause(AFTER_S)
    return Turn(tuple(peer.lines), reply.at_s - began_s, reply.result, reply.error)


def _update(line: bytes) -> Update | None:
    try:
        said = msgspec.json.decode(line, type=_Notified)
        if said.method != "session/update":
            return None
        body = msgspec.json.decode(said.params.update, type=_Body)
    except msgspec.DecodeError:
        return None
    if body.kind.endswith("_chunk") and body.content:
        text = msgspec.json.decode(body.content, type=_Content).text
        return Update(body.kind, text or "")
    return Update(body.kind, bytes(said.params.update).decode())
