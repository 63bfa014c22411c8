"""What an SDK was sent in one long conversation, and what of it is equal whoever stands between it and the agent.

The conversation is the one of tests/support/sdk_agent.py: shows, questions, a cancel, an error, a goodbye.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tests.support.sdk_agent import SCRIPT

Message = Mapping[str, object]

# What only the selected backend may say: a fallback's settings are never shown, since set_mode goes elsewhere.
SETTINGS = {"available_commands_update", "current_mode_update", "config_option_update", "session_info_update"}
# How the primary of a failover in the middle fails, before the first word of anything but "show me", which it answers,
# and after two notes that must not be shown. `between turns` it is dead already, and what starts in its place dies too.
_NOTES = [{"do": "usage", "used": 666, "size": 667}, {"do": "note", "info": {"title": "Mine"}}]
_FAULTS: Mapping[str, list] = {
    "killed": [*_NOTES, {"do": "die"}],
    "killed between turns": [*_NOTES, {"do": "die"}],
    "dressed": [*_NOTES, {"do": "say", "text": "API Error: 503 Service Unavailable"}, {"do": "end"}],
    "error": [*_NOTES, {"do": "fail", "message": "Internal error: overloaded", "data": {"errorKind": "server_error"}}],
}


def fails_in_the_middle(fault: str) -> dict:
    """The script of such a primary. The one that takes over knows the conversation from its second turn on."""
    shows = SCRIPT["turns"][0]
    if fault == "killed between turns":
        shows = [{"do": "lateUpdates", "steps": [{"do": "die"}]}, *shows]
    turn = [{"do": "ifText", "contains": "show me", "steps": shows, "else": _FAULTS[fault]}]
    return {**SCRIPT, "turns": [turn]}


DIES_IN_THE_MIDDLE = fails_in_the_middle("killed")
TAKES_OVER_THERE = {**SCRIPT, "turns": SCRIPT["turns"][1:]}
# The first turn switches the session to `code`; a fallback must have a mode for that, or it is passed over.
SAME_MODES = {"modes": {"code": "code"}}

# Message ids that the broker gives to chunks which come without one.
_GIVEN_ID = re.compile(r"m[0-9a-f]{8}-\d+")


class Transcript(NamedTuple):
    """What an editor was sent: while the session was set up, in any order, and from the first prompt on."""

    set_up: list[str]
    talk: list[Message]


class Told(NamedTuple):
    """One whole conversation, from the editor's side: `mishaps` is what the SDK complained of."""

    transcript: Transcript
    heard: list[dict]
    understood: list[str]
    error: str
    mishaps: list[str]


def is_update(message: Message) -> bool:
    return message.get("method") == "session/update"


def shows(message: Message) -> dict:
    return message["params"]["update"]


def titles(told: Told) -> set[str]:
    """What the session was called."""
    return {shows(message).get("title") for message in told.heard if is_update(message)}


def answered(talk: Sequence[Message]) -> list[Message]:
    """Without the errors, which carry the broker's story: those are looked at by themselves."""
    return [message for message in talk if "error" not in message]


def words(talk: Sequence[Message]) -> list[Message]:
    """Without settings, and without the usage of a set-up: the primary that died opens again, some time later."""
    return [
        message
        for message in answered(talk)
        if not (
            is_update(message) and (shows(message)["sessionUpdate"] in SETTINGS or shows(message).get("used") == 10)
        )
    ]


def attempts(heard: Sequence[Message]) -> list[list[str]]:
    """Who was tried in each turn that was answered: `[["main"], ["main crashed", "spare"]]`."""
    results = [message["result"] for message in heard if "stopReason" in message.get("result", {})]
    return [
        [
            " ".join(filter(None, (one["backend"], one.get("failure"))))
            for one in result["_meta"]["acp-broker"]["attempts"]
        ]
        for result in results
    ]


def transcript(heard: Sequence[dict], session: str, first_prompt: int) -> Transcript:
    """All that was heard after `initialize`, less what may differ: ids, and what is the broker's own.

    `first_prompt` is the number of messages that were heard before the first prompt.
    """
    asks: dict[object, str] = {}
    all_plain = [_with_named_asks(plain(message, {session: "<session>"}), asks) for message in heard]
    set_up = sorted(json.dumps(message, sort_keys=True) for message in all_plain[1:first_prompt])
    return Transcript(set_up, all_plain[first_prompt:])


def plain(message: dict, names: Mapping[str, str]) -> dict:
    """A message with other names for some texts, and without what is the broker's; ids of requests stay."""
    return _without_ours(_renamed(message, names))


def _with_named_asks(message: dict, asks: dict[object, str]) -> Message:
    if "method" in message and "id" in message:
        asks[message["id"]] = message["id"] = f"ask {len(asks)}"
    return message


def _renamed(value: object, names: Mapping[str, str]) -> object:
    match value:
        case dict():
            return {key: _renamed(one, names) for key, one in value.items()}
        case list():
            return [_renamed(one, names) for one in value]
        case str():
            for text, name in names.items():
                value = value.replace(text, name)
            return value
        case _:
            return value


def _without_ours(message: dict) -> dict:
    """Without the ids that chunks were given, and without `_meta["acp-broker"]`."""
    if is_update(message):
        update = message["params"]["update"]
        if _GIVEN_ID.fullmatch(str(update.get("messageId"))):
            del update["messageId"]
    result = message.get("result")
    if isinstance(result, dict) and "acp-broker" in result.get("_meta", {}):
        del result["_meta"]["acp-broker"]
        if not result["_meta"]:
            del result["_meta"]
    return message
