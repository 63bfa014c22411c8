"""Tokens of Google: by a service account's key, by application default credentials, or by the metadata server of one
of Google's machines, which is asked only where config.json says so.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

import anyio
from msgspec import Struct
from msgspec.structs import replace

from acp_broker.auth.aside import aside
from acp_broker.auth.exchange import Limits, get
from acp_broker.auth.google_file import (
    LOGIN,
    PROJECT_VARIABLE,
    AuthorizedUser,
    ServiceAccount,
    assertion,
    place,
    projects,
    read,
)
from acp_broker.auth.oauth import Client, Endpoint, Refusal, tokens_of
from acp_broker.auth.tokens import TokenSet
from acp_broker.clock import Clock
from acp_broker.core.names import ProjectId, Projects
from acp_broker.errors import AuthRejected, AuthUnavailable, Unresolved

_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
# Google's own variable for a metadata server that is elsewhere.
_MACHINE_VARIABLE = "GCE_METADATA_HOST"
_MACHINE = "metadata.google.internal"
_MACHINE_TOKEN = "/computeMetadata/v1/instance/service-accounts/default/token"  # noqa: S105 - an address
_MACHINE_PROJECT = "/computeMetadata/v1/project/project-id"
_MACHINE_HEADERS = {"Metadata-Flavor": "Google"}
# It is one hop away; where it is not, we are not on such a machine.
_MACHINE_LIMITS = Limits(connect_s=2.0, read_s=5.0, total_s=6.0)
_FILE_S = 5.0


class GoogleSource(Struct, frozen=True):
    """A TokenSource. `environ` is the broker's, which says where application default credentials are."""

    clock: Clock
    environ: Mapping[str, str]
    scopes: tuple[str, ...]
    file: Path | None = None
    may_ask_machine: bool = False

    @property
    def needs_login(self) -> bool:
        return False

    def __repr__(self) -> str:
        return f"GoogleSource({self.file})"

    async def refresh(self, tokens: TokenSet | None) -> TokenSet:  # noqa: ARG002 - TokenSource's
        """As in TokenSource, whatever the `tokens`. What is wrong with a file is said with its name and the fix."""
        path, named_by = place(self.file, self.environ)
        try:
            with anyio.fail_after(_FILE_S):
                found = await aside(partial(read, path), path)
                if isinstance(found, ServiceAccount):
                    signed = await aside(partial(assertion, found, self.scopes, self.clock.wall()), path)
        except TimeoutError:
            raise AuthUnavailable(f"{path} could not be read within {_FILE_S:g} s") from None
        except Unresolved as error:
            why = str(error) if str(path) in str(error) else f"{path}: {error}"
            raise (AuthUnavailable(why) if error.is_late else AuthRejected(why, is_final=False)) from None
        match found:
            case ServiceAccount():
                made = await self._by_account(found, signed, path)
            case AuthorizedUser():
                made = await self._by_login(found, path)
            case None if named_by:
                raise AuthRejected(f"{path} is not there, but {named_by} names it", is_final=False)
            case None if self.may_ask_machine:
                return await self._by_machine()
            case None:
                why = f"no application default credentials are at {path}: {LOGIN}, or name a file in credentialsFile"
                raise AuthRejected(why, is_final=False)
        return replace(made, projects=projects(found, self.environ, is_named=self.file is not None))

    async def _by_account(self, account: ServiceAccount, signed: str, path: Path) -> TokenSet:
        # RFC 7523, section 2.1: the assertion says who asks.
        endpoint = Endpoint(account.token_uri, Client(None), self.clock)
        answer = await endpoint.grant({"grant_type": _JWT_BEARER, "assertion": signed})
        return _granted(answer, f"{path}: make a new key of {account.client_email}, or set this machine's clock")

    async def _by_login(self, login: AuthorizedUser, path: Path) -> TokenSet:
        async def secret() -> str:
            return login.client_secret

        endpoint = Endpoint(login.token_uri, Client(login.client_id, secret, "post"), self.clock)
        answer = await endpoint.grant({"grant_type": "refresh_token", "refresh_token": login.refresh_token})
        return _granted(answer, f"{path}: {LOGIN}")

    async def _by_machine(self) -> TokenSet:
        asked_at = self.clock.wall()
        host = self.environ.get(_MACHINE_VARIABLE) or _MACHINE
        url = f"http://{host}{_MACHINE_TOKEN}?{urlencode({'scopes': ','.join(self.scopes)})}"
        reply = await get(url, headers=_MACHINE_HEADERS, limits=_MACHINE_LIMITS)
        fix = "the metadata server: look at the machine's service account"
        tokens = _granted(tokens_of(reply, (), asked_at), fix)
        return replace(tokens, projects=Projects(await self._project_of_machine(host)))

    async def _project_of_machine(self, host: str) -> ProjectId | None:
        if said := self.environ.get(PROJECT_VARIABLE):
            return ProjectId(said)
        reply = await get(f"http://{host}{_MACHINE_PROJECT}", headers=_MACHINE_HEADERS, limits=_MACHINE_LIMITS)
        # Some speak for it that know of tokens alone.
        return ProjectId(reply.body.decode("utf-8", "replace").strip()) if reply.status == 200 else None


def _granted(answer: TokenSet | Refusal, fix: str) -> TokenSet:
    """The tokens. Google's refusals say nothing of files, so we do."""
    if isinstance(answer, TokenSet):
        return answer
    error = answer.error()
    if isinstance(error, AuthUnavailable):
        raise error
    raise AuthRejected(f"{answer.host} refuses {fix} ({answer.said})", code=answer.code, is_final=False)
