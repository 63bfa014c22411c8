"""The agents of the matrix: where each comes from, how it is started, and how it is pointed at a provider on loopback.

`$BASE` is the provider's address, `$HOME` the agent's own empty home. The settings are those that an agent needs to
answer at all; whatever it does about failures is left as it comes.
"""

from collections.abc import Mapping

import msgspec
from msgspec import Struct

# The model's name at every provider: none knows it, all take it.
MODEL = "fake-model"
KEY = "sk-matrix"


class Npm(Struct, frozen=True):
    """Packages of the npm registry, `name@version`."""

    packages: tuple[str, ...]


class Pip(Struct, frozen=True):
    """Packages of PyPI, `name==version`, and the Python that they need at least."""

    packages: tuple[str, ...]
    python: tuple[int, int] = (3, 12)


class Agent(Struct, frozen=True):
    """`command` begins with a program in the packages' own folder; `files` are written below its home.

    `prepare` are arguments with which that program is run once in each new home, before anything else.
    """

    name: str
    source: Npm | Pip
    command: tuple[str, ...]
    env: Mapping[str, str] = {}
    files: Mapping[str, str] = {}
    prepare: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        return ", ".join(self.source.packages)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


_CODEX = f"""
model = "{MODEL}"
model_provider = "fake"
[model_providers.fake]
name = "fake"
base_url = "$BASE/v1"
env_key = "FAKE_KEY"
wire_api = "responses"
"""

_VIBE = f"""
active_model = "fake"
enable_update_checks = false
enable_telemetry = false
[[providers]]
name = "fake"
api_base = "$BASE/v1"
api_key_env_var = "FAKE_KEY"
api_style = "openai"
backend = "generic"
[[models]]
name = "{MODEL}"
provider = "fake"
alias = "fake"
"""

_OPENCODE = {
    "autoupdate": False,
    "share": "disabled",
    "model": f"fake/{MODEL}",
    "small_model": f"fake/{MODEL}",
    "provider": {
        "fake": {
            "npm": "@ai-sdk/openai-compatible",
            "name": "fake",
            "options": {"baseURL": "$BASE/v1", "apiKey": KEY},
            "models": {MODEL: {"name": MODEL}},
        }
    },
}

_PI_MODELS = {
    "providers": {
        "fake": {"baseUrl": "$BASE/v1", "api": "openai-completions", "apiKey": KEY, "models": [{"id": MODEL}]}
    }
}

_CLINE = {
    "version": 1,
    "lastUsedProvider": "openai-compatible",
    "providers": {
        "openai-compatible": {
            "settings": {
                "provider": "openai-compatible",
                "apiKey": KEY,
                "model": MODEL,
                "baseUrl": "$BASE/v1",
            },
            "updatedAt": "2026-01-01T00:00:00.000Z",
            "tokenSource": "manual",
        }
    },
}

_OPENHANDS = {
    "llm": {"model": f"openai/{MODEL}", "api_key": KEY, "base_url": "$BASE/v1"},
}

AGENTS = (
    Agent(
        "claude",
        Npm(("@agentclientprotocol/claude-agent-acp@0.100.0",)),
        ("claude-agent-acp",),
        {
            "ANTHROPIC_BASE_URL": "$BASE",
            "ANTHROPIC_API_KEY": KEY,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        },
    ),
    Agent(
        "codex-zed",
        Npm(("@zed-industries/codex-acp@0.16.0",)),
        ("codex-acp",),
        {"CODEX_HOME": "$HOME/.codex", "FAKE_KEY": KEY},
        {".codex/config.toml": _CODEX},
    ),
    Agent(
        "codex",
        Npm(("@agentclientprotocol/codex-acp@2.6.0",)),
        ("codex-acp",),
        {"CODEX_HOME": "$HOME/.codex", "FAKE_KEY": KEY},
        {".codex/config.toml": _CODEX},
    ),
    Agent(
        "gemini",
        Npm(("@google/gemini-cli@0.61.0",)),
        ("gemini", "--acp"),
        {"GOOGLE_GEMINI_BASE_URL": "$BASE", "GEMINI_API_KEY": KEY, "GEMINI_MODEL": MODEL},
        {
            ".gemini/settings.json": _json(
                {
                    "security": {"auth": {"selectedType": "gemini-api-key"}},
                    "general": {"disableAutoUpdate": True, "disableUpdateNag": True},
                    "privacy": {"usageStatisticsEnabled": False},
                }
            )
        },
    ),
    Agent(
        "opencode",
        Npm(("opencode-ai@1.18.33",)),
        ("opencode", "acp"),
        {"OPENCODE_DISABLE_AUTOUPDATE": "1", "OPENCODE_DISABLE_MODELS_FETCH": "1"},
        {".config/opencode/opencode.json": _json(_OPENCODE)},
    ),
    Agent(
        "qwen",
        Npm(("@qwen-code/qwen-code@0.24.4",)),
        ("qwen", "--acp"),
        {"OPENAI_BASE_URL": "$BASE/v1", "OPENAI_API_KEY": KEY, "OPENAI_MODEL": MODEL},
        {
            ".qwen/settings.json": _json(
                {
                    "security": {"auth": {"selectedType": "openai"}},
                    "general": {"enableAutoUpdate": False, "disableAutoUpdate": True},
                    "privacy": {"usageStatisticsEnabled": False},
                }
            )
        },
    ),
    Agent(
        "goose",
        Npm(("@aaif/goose@0.20.1",)),
        ("goose", "acp"),
        {
            "GOOSE_PROVIDER": "openai",
            "GOOSE_MODEL": MODEL,
            "OPENAI_HOST": "$BASE",
            "OPENAI_API_KEY": KEY,
            "GOOSE_DISABLE_KEYRING": "1",
            "GOOSE_TELEMETRY_ENABLED": "false",
        },
        # It makes its database at its first start, and a session that is asked for meanwhile may find none.
        prepare=("session", "list"),
    ),
    Agent(
        "pi",
        Npm(("pi-acp@0.0.34", "@earendil-works/pi-coding-agent@0.87.1")),
        ("pi-acp",),
        {"PI_OFFLINE": "1", "PI_TELEMETRY": "0"},
        {
            ".pi/agent/models.json": _json(_PI_MODELS),
            ".pi/agent/settings.json": _json({"defaultProvider": "fake", "defaultModel": MODEL}),
        },
    ),
    Agent(
        "cline",
        Npm(("cline@3.0.65",)),
        ("cline", "--acp"),
        {"CLINE_API_KEY": KEY, "CLINE_PROVIDER": "openai-compatible", "CLINE_TELEMETRY_DISABLED": "1"},
        {".cline/data/settings/providers.json": _json(_CLINE)},
    ),
    Agent(
        "vibe",
        Pip(("mistral-vibe==3.0.2",)),
        ("vibe-acp",),
        {"VIBE_HOME": "$HOME/.vibe", "FAKE_KEY": KEY},
        {".vibe/config.toml": _VIBE},
    ),
    Agent(
        "openhands",
        Pip(("openhands==1.16.0",)),
        ("openhands", "acp", "--override-with-envs"),
        {
            "LLM_BASE_URL": "$BASE/v1",
            "LLM_API_KEY": KEY,
            "LLM_MODEL": f"openai/{MODEL}",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        },
        {".openhands/agent_settings.json": _json(_OPENHANDS)},
    ),
    Agent(
        "deepagents",
        Pip(("deepagents-acp==0.0.13", "langchain-openai==1.7.3")),
        ("python", "-m", "deepagents_acp"),
        {"OPENAI_BASE_URL": "$BASE/v1", "OPENAI_API_KEY": KEY, "ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": "$BASE"},
    ),
)
