"""References in config.json: what each means, and how an error names it."""

from collections.abc import Mapping

from acp_broker.config import (
    AgentProfile,
    Config,
    EnvProvider,
    EnvSecret,
    KeyringProvider,
    KeyringSecret,
    Profile,
    Provider,
    SecretRef,
    child_variable,
    secrets_of,
)
from acp_broker.core.names import BackendId
from acp_broker.errors import Unresolved


def shown(config: Config, wanted: SecretRef) -> str:
    """A reference, as an error names it: `$NAME`, `file secret /team/key of "vault"`."""
    if isinstance(wanted, EnvSecret):
        return f"${wanted.id}"
    return f'{_source_of(wanted)} secret {wanted.id} of "{provider_id(config, wanted)}"'


def from_environment(config: Config, wanted: EnvSecret, environ: Mapping[str, str]) -> str:
    """Raises Unresolved."""
    check_allowed(config, wanted)
    value = environ.get(wanted.id)
    if not value:
        raise Unresolved(f"is {'not set' if value is None else 'empty'} in this environment")
    return value


def fingerprint(config: Config, name: BackendId) -> list[object]:
    """What beside the profile itself says which credential a backend gets."""
    kept = [wanted for wanted in wanted_by(config, name) if not isinstance(wanted, EnvSecret)]
    return [part for wanted in kept for part in (provider_id(config, wanted), provider_of(config, wanted))]


def wanted_by(config: Config, name: BackendId) -> tuple[SecretRef, ...]:
    """Where the secrets are of which a backend is given one; none where nothing of it would take one."""
    return secrets_of(profile_of(config, name)) if takes_secret(config, name) else ()


def takes_secret(config: Config, name: BackendId) -> bool:
    """Whether there is a way to give a backend its profile's secret: itself, or its child by a variable."""
    profile = profile_of(config, name)
    if config.backends[name].takes_credential:
        return profile is not None and not isinstance(profile, AgentProfile)
    return child_variable(profile) is not None


def profile_of(config: Config, name: BackendId) -> Profile | None:
    """The profile that a backend resolves, and no other."""
    auth = config.backends[name].auth
    return config.auth.profiles[auth] if auth is not None else None


def check_allowed(config: Config, wanted: EnvSecret) -> None:
    """Raises Unresolved."""
    provider = provider_of(config, wanted)
    if isinstance(provider, EnvProvider) and provider.allowlist is not None and wanted.id not in provider.allowlist:
        raise Unresolved(f'is not in the allowlist of "{provider_id(config, wanted)}"')


def provider_id(config: Config, wanted: SecretRef) -> str:
    """What the provider of a reference is called in config.json."""
    return wanted.provider or getattr(config.secrets.defaults, _source_of(wanted)) or "default"


def provider_of(config: Config, wanted: SecretRef) -> Provider:
    """The declared one, or one of the two that need no declaration."""
    declared = {str(name): provider for name, provider in config.secrets.providers.items()}
    built_in = KeyringProvider() if isinstance(wanted, KeyringSecret) else EnvProvider()
    return declared.get(provider_id(config, wanted), built_in)


def _source_of(wanted: SecretRef) -> str:
    return str(wanted.__struct_config__.tag)
