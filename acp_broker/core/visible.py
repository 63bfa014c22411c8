"""What commits a turn: everything that a person sees, or that acts on their machine; kinds we do not know included.

Read for every update before the commit point: set look-ups only.
"""

# Show nothing by themselves. ACP v1, SessionUpdate; `user_message_chunk` during a prompt is an echo of it (vibe).
NOTES = frozenset(
    {
        "usage_update",
        "available_commands_update",
        "current_mode_update",
        "config_option_update",
        "session_info_update",
        "user_message_chunk",
    }
)

# What the model says. Empty or blank it is a note: qwen opens with "", vibe answers an empty reply with " ".
CHUNKS = frozenset({"agent_message_chunk", "agent_thought_chunk"})

# Looks at a file and changes nothing. Every other request acts (terminal, write, `_x`) or asks a person.
_ONLY_READS = "fs/read_text_file"


def commits(method: str) -> bool:
    """Whether an agent's request to the client ends the time in which another candidate may be tried."""
    return method != _ONLY_READS
