"""What a backend without an agent answers to ACP's `initialize` and `session/new`: it talks, and does nothing else."""

import msgspec
from msgspec import Raw

from acp_broker import __version__
from acp_broker.contract import About, SessionSetup
from backends.http.settings import HttpConfig


def about(settings: HttpConfig, name: str, title: str, setup: SessionSetup | None) -> About:
    """No modes and no tools; its conversation is the session's log."""
    takes = {"image": settings.images, "audio": settings.audio, "embeddedContext": True}
    initialized = {
        "protocolVersion": 1,
        "agentCapabilities": {
            "loadSession": False,
            "promptCapabilities": takes,
            # It touches no file: whichever folders a session has, they are out of its reach.
            "sessionCapabilities": {"additionalDirectories": {}},
        },
        "agentInfo": {"name": name, "title": title, "version": __version__},
        "authMethods": [],
    }
    opened = {} if setup is None else {"sessionId": setup.session}
    return About(_raw(initialized), _raw(opened), has_no_memory=True)


def _raw(value: object) -> Raw:
    return Raw(msgspec.json.encode(value))
