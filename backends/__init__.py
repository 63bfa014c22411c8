"""The runtimes: one module per kind of backend. A module is imported when a backend of its kind is configured."""

# Kind name -> module. An outside package adds a kind through the entry-point group `acp_broker.backends`.
KINDS: dict[str, str] = {
    "acp": "backends.acp",
    "anthropic": "backends.anthropic",
    "anthropic-vertex": "backends.anthropic_vertex",
    "anthropic-cli": "backends.anthropic_cli",
    "gemini": "backends.gemini",
    "openai": "backends.openai",
    "scripted": "backends.scripted",
}
