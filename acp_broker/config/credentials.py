"""The shapes of `auth` and `secrets`: who a backend is to its provider, and where secrets are kept.

config.json holds references, never secrets. The references and providers have OpenClaw's shapes, so that its
`secrets` block can be taken over as it is.
"""

import re
from pathlib import Path
from typing import Annotated, Literal, NewType

from msgspec import Meta, Struct

from acp_broker.core.names import ProfileId

ProviderId = NewType("ProviderId", str)

VariableName = Annotated[
    str,
    Meta(
        pattern="^[A-Za-z_][A-Za-z0-9_]{0,127}$",
        extra={"expected": "the name of a variable, such as ANTHROPIC_API_KEY"},
    ),
]
_Bytes = Annotated[int, Meta(ge=1, le=16_777_216, description="Bytes.")]
_Milliseconds = Annotated[int, Meta(ge=1, le=600_000, description="Milliseconds.")]


class _Shape(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    pass


class _Reference(_Shape, frozen=True, tag_field="source"):
    pass


class EnvSecret(_Reference, frozen=True, tag="env"):
    """A secret in an environment variable of the broker; `id` is the variable's name."""

    id: Annotated[
        str,
        Meta(pattern="^[A-Z][A-Z0-9_]{0,127}$", extra={"expected": "a variable's name in capitals: ANTHROPIC_API_KEY"}),
    ]
    provider: ProviderId | None = None


class FileSecret(_Reference, frozen=True, tag="file"):
    """A secret in a file; `id` is a JSON pointer into it, or `value` when the file is the secret."""

    id: Annotated[
        str, Meta(pattern="^(value|(/[^/]*)+)$", extra={"expected": 'a JSON pointer such as "/team/key", or "value"'})
    ]
    provider: ProviderId | None = None


class ExecSecret(_Reference, frozen=True, tag="exec"):
    """A secret that a program hands out by `id`."""

    id: Annotated[
        str,
        Meta(
            pattern=r"^(?!.*(^|/)\.{1,2}(/|$))[A-Za-z0-9][A-Za-z0-9._:/#-]{0,255}$",
            extra={"expected": 'letters, digits and ._:/#- (256 at most), with no "." or ".." between slashes'},
        ),
    ]
    provider: ProviderId | None = None


class KeyringSecret(_Reference, frozen=True, tag="keyring"):
    """A secret in the keyring of the operating system; `id` is the entry's name."""

    id: Annotated[
        str, Meta(min_length=1, max_length=256, extra={"expected": "the name of an entry, 1 to 256 characters"})
    ]
    provider: ProviderId | None = None


SecretRef = EnvSecret | FileSecret | ExecSecret | KeyringSecret
_SHORTHAND = r"^\$(\{[A-Z][A-Z0-9_]{0,127}\}|[A-Z][A-Z0-9_]{0,127})$"
_A_REFERENCE = 'a reference such as "${ANTHROPIC_API_KEY}"; the secret itself is never written here'


def _shorthand_problem(text: str) -> str | None:
    return None if re.match(_SHORTHAND, text) else f"expected {_A_REFERENCE}"


# Not `pattern`: msgspec 0.22 frees what it must not when such a string stands in a union with objects and an array.
_Shorthand = Annotated[
    str,
    Meta(
        description='Short for {"source": "env", "id": "NAME"}: "${NAME}" or "$NAME".',
        extra={"expected": _A_REFERENCE, "check": _shorthand_problem},
        extra_json_schema={"pattern": _SHORTHAND},
    ),
]
Secret = _Shorthand | SecretRef
_Several = Annotated[tuple[Secret, ...], Meta(min_length=1, max_length=16, extra={"expected": "1 to 16 references"})]


def reference(secret: Secret) -> SecretRef:
    """The reference that a secret is, its shorthand spelled out."""
    return EnvSecret(id=re.sub(r"\W", "", secret)) if isinstance(secret, str) else secret


class _Profile(_Shape, frozen=True, tag_field="type"):
    pass


class ApiKeyProfile(_Profile, frozen=True, tag="api_key"):
    """An API key, or several that stand in for one another, in order; `env` is the variable in which a child process
    is given the one that it is started with."""

    key: Secret | _Several
    env: VariableName | None = None


class TokenProfile(_Profile, frozen=True, tag="token"):
    """A bearer token, or several, as with API keys."""

    token: Secret | _Several
    env: VariableName | None = None


_Address = Annotated[
    str,
    Meta(
        # RFC 6749, section 3.2: TLS. What stays on this machine needs none.
        pattern=r"^(https://[^\s/?#@]+|http://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?)([/?][^\s#]*)?$",
        extra={"expected": "an address that begins with https://"},
    ),
]


class OAuthProfile(_Profile, frozen=True, tag="oauth"):
    """An OAuth login that the broker refreshes; its token set lives in the state folder."""

    client_id: Annotated[str, Meta(min_length=1)]
    token_url: _Address
    authorization_url: _Address | None = None
    device_authorization_url: _Address | None = None
    revocation_url: _Address | None = None
    client_secret: Secret | None = None
    client_authentication: Literal["basic", "post"] = "basic"
    scopes: tuple[
        Annotated[str, Meta(pattern=r"^[^\s\"\\]+$", extra={"expected": "one scope, without spaces"})], ...
    ] = ()
    parameters: dict[str, str] = {}
    redirect_url: Annotated[
        str,
        Meta(
            pattern=r"^http://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?(/[^\s?#]*)?$",
            extra={"expected": 'an address of this machine, such as "http://127.0.0.1:1455/callback"'},
        ),
    ] = "http://127.0.0.1/callback"
    env: VariableName | None = None


class GoogleProfile(_Profile, frozen=True, tag="google"):
    """Google's application default credentials, or the service account in `credentialsFile`."""

    credentials_file: Path | None = None
    scopes: tuple[str, ...] = ("https://www.googleapis.com/auth/cloud-platform",)
    metadata_server: bool = False
    env: VariableName | None = None


class AgentProfile(_Profile, frozen=True, tag="agent"):
    """The agent logs itself in; the broker only knows that backends share the login."""


Profile = ApiKeyProfile | TokenProfile | OAuthProfile | GoogleProfile | AgentProfile


def secrets_of(profile: Profile | None) -> tuple[SecretRef, ...]:
    """The references to the keys or tokens that a profile is, in order; none where it is something else."""
    match profile:
        case ApiKeyProfile(key=secret) | TokenProfile(token=secret):
            several = secret if isinstance(secret, tuple) else (secret,)
            return tuple(reference(one) for one in several)
        case _:
            return ()


def source_variables(profile: Profile | None) -> tuple[str, ...]:
    """The broker's variables that a profile's secrets are read from, of those that are kept in one."""
    return tuple(found.id for found in secrets_of(profile) if isinstance(found, EnvSecret))


def child_variable(profile: Profile | None) -> str | None:
    """The variable in which a child process is given the secret: `env`, else the first that one is read from."""
    match profile:
        case ApiKeyProfile() | TokenProfile():
            return profile.env or next(iter(source_variables(profile)), None)
        case OAuthProfile(env=variable) | GoogleProfile(env=variable):
            return variable
        case _:
            return None


class Auth(_Shape, frozen=True):
    """Who the backends are to their providers."""

    profiles: dict[
        Annotated[
            ProfileId,
            Meta(
                pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@+-]{0,127}$",
                extra={"expected": "an id of letters, digits and ._:@+- (128 at most)"},
            ),
        ],
        Profile,
    ] = {}


class _Provider(_Shape, frozen=True, tag_field="source"):
    pass


class EnvProvider(_Provider, frozen=True, tag="env"):
    """The broker's environment; `allowlist` names the only variables that may be read."""

    allowlist: tuple[VariableName, ...] | None = None


class FileProvider(_Provider, frozen=True, tag="file"):
    """A file of secrets that only its owner may read: a JSON object, or one single value."""

    path: Path
    mode: Literal["json", "singleValue"] = "json"
    timeout_ms: _Milliseconds = 5_000
    max_bytes: _Bytes = 1_048_576


class ExecProvider(_Provider, frozen=True, tag="exec"):
    """A program that hands out secrets, started without a shell."""

    command: Path
    args: tuple[str, ...] = ()
    timeout_ms: _Milliseconds = 5_000
    no_output_timeout_ms: _Milliseconds | None = None
    max_output_bytes: _Bytes = 1_048_576
    env: dict[VariableName, str] = {}
    pass_env: tuple[VariableName, ...] = ()
    json_only: bool = True
    allow_symlink_command: bool = False
    trusted_dirs: tuple[Path, ...] = ()


class KeyringProvider(_Provider, frozen=True, tag="keyring"):
    """The keyring of the operating system; `service` is the service name that its entries are kept under."""

    service: Annotated[str, Meta(min_length=1)] = "acp-broker"
    timeout_ms: _Milliseconds = 5_000


Provider = EnvProvider | FileProvider | ExecProvider | KeyringProvider


class SecretDefaults(_Shape, frozen=True):
    """The provider meant by a reference that names none, by source."""

    env: ProviderId | None = None
    file: ProviderId | None = None
    exec: ProviderId | None = None
    keyring: ProviderId | None = None


class SecretResolution(_Shape, frozen=True):
    """Bounds on looking secrets up."""

    max_provider_concurrency: Annotated[int, Meta(ge=1, le=64)] = 4
    max_refs_per_provider: Annotated[int, Meta(ge=1, le=65_536)] = 512
    max_batch_bytes: _Bytes = 262_144


class Secrets(_Shape, frozen=True):
    """Where secrets are kept."""

    providers: dict[
        Annotated[
            ProviderId,
            Meta(
                pattern="^[a-z][a-z0-9_-]{0,63}$",
                extra={"expected": "an id of small letters, digits, _ and - (64 at most)"},
            ),
        ],
        Provider,
    ] = {}
    defaults: SecretDefaults = SecretDefaults()
    resolution: SecretResolution = SecretResolution()
