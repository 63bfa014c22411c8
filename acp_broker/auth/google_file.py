"""Google's credentials in a file: where it is, what it holds, and how a service account signs with its key.

The places are those of https://cloud.google.com/docs/authentication/application-default-credentials
"""

import base64
import os
import shlex
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from acp_broker.core.names import ProjectId, Projects
from acp_broker.errors import Unresolved

LOGIN = "gcloud auth application-default login"
VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"
PROJECT_VARIABLE, QUOTA_VARIABLE = "GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_QUOTA_PROJECT"
TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
# The longest that Google takes.
_ASSERTED_S = 3600
# Keys of the longest kind make files of 4 KB.
_MOST_BYTES = 65_536


# What is signed with the key, and a login even more, goes out over TLS or stays on this machine.
_Address = Annotated[str, Meta(pattern=r"^(https://|http://(127\.0\.0\.1|localhost|\[::1\])[:/])")]


class _Kept(Struct, frozen=True, tag_field="type", kw_only=True):
    project_id: str | None = None
    quota_project_id: str | None = None


class ServiceAccount(_Kept, frozen=True, tag="service_account"):
    """A key of a service account, as Google's console hands it out."""

    client_email: str
    private_key: str
    private_key_id: str = ""
    token_uri: _Address = TOKEN_URL

    def __repr__(self) -> str:
        return f"ServiceAccount({self.client_email})"


class AuthorizedUser(_Kept, frozen=True, tag="authorized_user"):
    """A person's login, as gcloud leaves it."""

    client_id: str
    client_secret: str
    refresh_token: str
    token_uri: _Address = TOKEN_URL

    def __repr__(self) -> str:
        return "AuthorizedUser(...)"


class _Other(Struct):
    type: str = ""


def place(named: Path | None, environ: Mapping[str, str]) -> tuple[Path, str]:
    """The file to look at, and who names it: "" for the place where gcloud leaves it, which may be empty."""
    if named is not None:
        return named, "credentialsFile"
    if said := environ.get(VARIABLE):
        return Path(said).absolute(), f"${VARIABLE}"
    folder = environ.get("CLOUDSDK_CONFIG") or Path(environ.get("HOME") or os.path.expanduser("~"), ".config", "gcloud")  # noqa: PTH111 - does not raise without a home
    return Path(folder).absolute() / "application_default_credentials.json", ""


def read(path: Path) -> ServiceAccount | AuthorizedUser | None:
    """What a file holds; None where there is none. Blocks. Raises Unresolved, with the file and the fix."""
    data = _load(path)
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=ServiceAccount | AuthorizedUser)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        kind = msgspec.json.decode(data, type=_Other).type
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Unresolved(
            f"{path} holds no credentials of Google: {LOGIN}, or a new key of the service account"
        ) from None
    if kind in ("service_account", "authorized_user"):
        raise Unresolved(f"{path} is no whole {kind}: {LOGIN}, or a new key of the service account")
    known = "a service account's key or what `gcloud auth application-default login` leaves"
    raise Unresolved(f"{path} is of type {kind[:40]!r}, which we do not know; use {known}")


def assertion(account: ServiceAccount, scopes: tuple[str, ...], now: float) -> str:
    """What a service account signs to get a token (RFC 7523, section 3). Blocks. Raises Unresolved."""
    try:
        # Here alone: few brokers need it, and where it is not, all else works.
        from cryptography.hazmat.primitives.asymmetric import padding, rsa  # noqa: PLC0415
        from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415
    except ImportError:
        raise Unresolved(
            "service accounts need a package more: pip install cryptography, where acp-broker is installed"
        ) from None
    head = {"alg": "RS256", "typ": "JWT", **({"kid": account.private_key_id} if account.private_key_id else {})}
    issued = int(now)
    claims = {
        "iss": account.client_email,
        "scope": " ".join(scopes),
        "aud": account.token_uri,
        "iat": issued,
        "exp": issued + _ASSERTED_S,
    }
    said = b".".join(_packed(msgspec.json.encode(part)) for part in (head, claims))
    try:
        key = load_pem_private_key(account.private_key.encode(), password=None)
    except (ValueError, TypeError):  # TypeError: it has a pass phrase
        key = None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise Unresolved("its private_key is no RSA key; make a new key of the service account")
    return b".".join((said, _packed(key.sign(said, padding.PKCS1v15(), SHA256())))).decode()


def projects(found: ServiceAccount | AuthorizedUser, environ: Mapping[str, str], *, is_named: bool) -> Projects:
    """The projects of a file: of one that config.json names they count first, else the variables do, as for Google's
    own clients. Whose quota is used is who is asked where nothing else says it."""

    def first(variable: str, said: str | None) -> ProjectId | None:
        known = said or "", environ.get(variable, "")
        chosen = known[0] or known[1] if is_named else known[1] or known[0]
        return ProjectId(chosen) if chosen else None

    quota = first(QUOTA_VARIABLE, found.quota_project_id)
    return Projects(first(PROJECT_VARIABLE, found.project_id) or quota, quota)


def _packed(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _load(path: Path) -> bytes | None:
    try:
        # A link is fine, Kubernetes mounts secrets as such; a fifo must not hold us up.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unresolved(f"cannot read {path}: {error.strerror}") from None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise Unresolved(f"{path} is no file")
        # Others may read it, as Google's own tools leave it; who writes it decides where our secrets go.
        if status.st_mode & 0o022 or status.st_uid not in (os.geteuid(), 0):
            raise Unresolved(f"others can change {path}: chmod go-w {shlex.quote(str(path))}, or chown it")
        data = os.read(fd, _MOST_BYTES)
    except OSError as error:
        raise Unresolved(f"cannot read {path}: {error.strerror}") from None
    finally:
        os.close(fd)
    return data
