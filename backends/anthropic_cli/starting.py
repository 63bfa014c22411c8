"""How Claude Code is started: to speak, to ask us for permission, and without what would hold up a fallback."""

from collections.abc import Mapping

from acp_broker.contract import SessionSetup, Tools
from backends.acp import rows
from backends.anthropic_cli import CliConfig

_SPEAKS = ("--print", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose")
# It shows what it says while it says it, and asks us for permission. A question with a form to fill in would find
# nobody who can show it.
_BESIDE = ("--include-partial-messages", "--permission-prompt-tool", "stdio", "--disallowedTools", "AskUserQuestion")


def command(settings: CliConfig, setup: SessionSetup, session: str, *, is_new: bool) -> list[str]:
    """`session` is its own id of the session."""
    words = [*settings.command, *_SPEAKS, *_BESIDE, "--permission-mode", settings.permission_mode]
    if settings.model is not None:
        words += ["--model", settings.model]
    for folder in setup.additional_directories:
        words += ["--add-dir", folder]
    return [*words, "--session-id" if is_new else "--resume", session]


def environment(settings: CliConfig, tools: Tools) -> Mapping[str, str]:
    """What is known of it counts least. One that nobody follows keeps its own retries: they are all it has."""
    known = rows.known()["claude"].env if tools.is_followed else {}
    return {**known, **tools.environment, **settings.env}
