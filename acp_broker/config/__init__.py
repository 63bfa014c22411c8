"""config.json: where it is, what may be in it, and everything that is wrong with it.

`load` gives a Config or raises a ConfigError with every problem. Nothing here resolves a secret or starts anything.
"""

from acp_broker.config.credentials import (
    AgentProfile,
    ApiKeyProfile,
    Auth,
    EnvProvider,
    EnvSecret,
    ExecProvider,
    ExecSecret,
    FileProvider,
    FileSecret,
    GoogleProfile,
    KeyringProvider,
    KeyringSecret,
    OAuthProfile,
    Profile,
    Provider,
    Secret,
    SecretRef,
    Secrets,
    TokenProfile,
    child_variable,
    reference,
    secrets_of,
    source_variables,
)
from acp_broker.config.load import Kinds, load
from acp_broker.config.place import find, state_dir
from acp_broker.config.schema import schema
from acp_broker.config.shape import Acp, Config, Document, Frontends, Limits, Log, Notice, Sessions, WebSocket

__all__ = [
    "Acp",
    "AgentProfile",
    "ApiKeyProfile",
    "Auth",
    "Config",
    "Document",
    "EnvProvider",
    "EnvSecret",
    "ExecProvider",
    "ExecSecret",
    "FileProvider",
    "FileSecret",
    "Frontends",
    "GoogleProfile",
    "KeyringProvider",
    "KeyringSecret",
    "Kinds",
    "Limits",
    "Log",
    "Notice",
    "OAuthProfile",
    "Profile",
    "Provider",
    "Secret",
    "SecretRef",
    "Secrets",
    "Sessions",
    "TokenProfile",
    "WebSocket",
    "child_variable",
    "find",
    "load",
    "reference",
    "schema",
    "secrets_of",
    "source_variables",
    "state_dir",
]
