"""A script: what a whole scripted runtime claims to be, and what it plays when."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct, field

from backends.scripted.steps import Echo, Fail, Object, Steps


def _usual_capabilities() -> Object:
    return {
        "loadSession": True,
        "promptCapabilities": {"embeddedContext": True},
        "sessionCapabilities": {"resume": {}, "close": {}},
    }


class Script(Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """One runtime. Everything has a default: the empty script echoes.

    The hooks play before the answer to the request they are named after; `prompt` before each turn's own steps;
    `cancel` when a cancel ends a turn; `exit` when stdin ends; `terminate` on SIGTERM, which otherwise just kills.
    Turn n plays `turns[n]`; the last one repeats.
    """

    protocol_version: int = 1
    agent_info: Object = field(default_factory=lambda: {"name": "scripted", "version": "1"})
    capabilities: Object = field(default_factory=_usual_capabilities)
    auth_methods: tuple[Object, ...] = ()
    needs_auth: bool = False
    modes: Object | None = None
    config_options: tuple[Object, ...] = ()
    initialize: Steps = ()
    new: Steps = ()
    load: Steps = ()
    resume: Steps = ()
    prompt: Steps = ()
    cancel: Steps = ()
    exit: Steps = ()
    terminate: Steps | None = None
    turns: Annotated[tuple[Steps, ...], Meta(min_length=1)] = ((Echo(),),)
    calls: dict[str, Steps] = {}
    unknown_session: Steps = (Fail(-32002, "Session not found"),)
    busy: Literal["queue", "reject", "cancelFirst", "failFirst", "overlap", "drop"] = "queue"
    request_ids: Literal["numbers", "strings"] = "numbers"


_decode = msgspec.json.Decoder(Script).decode


def parse(text: str | bytes) -> Script:
    """A script from its JSON; raises msgspec.DecodeError with the place of the first fault."""
    return _decode(text)
