"""What a client that asked for numbers was shown, as values that a test can compare."""

from collections.abc import Iterable, Mapping

from tests.support.harness import EVERYTHING, Editor
from tests.support.heard import shown

NUMBERS = {**EVERYTHING, "_meta": {"acp-broker": {"seq": True}}}
TURN = "_acp-broker/turn"


def seq(message: Mapping[str, object]) -> int | None:
    """The number of a notification."""
    return message["params"].get("_meta", {}).get("acp-broker", {}).get("seq")


def told(message: Mapping[str, object]) -> str:
    """`say hello`, `echo hi`; `started`, `ended end_turn primary`, `ended -33001`, `queued 2`."""
    params = message["params"]
    if message["method"] == "session/update":
        return shown(params["update"])
    more = params.get("position", params.get("stopReason", params.get("error", {}).get("code")))
    return " ".join(str(part) for part in (params["state"], more, params.get("backend")) if part is not None)


def numbered(heard: Iterable[Mapping[str, object]]) -> list[tuple[int, str]]:
    """Everything that had a number, in the order that it came."""
    news = [message for message in heard if message.get("method") in ("session/update", TURN)]
    return [(seq(message), told(message)) for message in news if seq(message) is not None]


def news(heard: Iterable[Mapping[str, object]]) -> list[str]:
    """What was told of turns."""
    return [told(message) for message in heard if message.get("method") == TURN]


def after(number: object, **more: object) -> dict[str, object]:
    return {"_meta": {"acp-broker": {"after": number, **more}}}


async def back(
    editor: Editor, session: str, number: object = None, method: str = "session/load"
) -> list[tuple[int, str]]:
    """What a client that has seen so much is shown that it has not."""
    since = len(editor.heard)
    meta = {} if number is None else after(number)
    await editor.result(method, sessionId=session, cwd=str(editor.home.path), mcpServers=[], **meta)
    return numbered(editor.heard[since:])
