"""OAuth 2.0 (RFC 6749): who we are to a token server, what it answers, and the grant that refreshes a login."""

import base64
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal
from urllib.parse import quote_plus

import msgspec
from msgspec import Struct

from acp_broker.auth.exchange import Limits, Reply, post
from acp_broker.auth.tokens import TokenSet
from acp_broker.clock import Clock
from acp_broker.core.redact import plain
from acp_broker.errors import AuthRejected, AuthUnavailable, Unresolved

# What servers say of a refresh token that is spent, expired or revoked: RFC 6749, section 5.2, and OpenAI's own words.
_LOGIN_IS_OVER = frozenset(
    {"invalid_grant", "refresh_token_expired", "refresh_token_reused", "refresh_token_invalidated"}
)
# RFC 6749, section 5.2: what config.json says is wrong, and which of it.
_WRONG_IN_CONFIG: Mapping[str, str] = {
    "invalid_client": "does not take the client: look at clientId, clientSecret and clientAuthentication",
    "unauthorized_client": "does not let this client do that: look at clientId, and at what it is registered for",
    "invalid_scope": "does not give these scopes",
    "unsupported_grant_type": "does not know this kind of login",
    "invalid_request": "does not understand the question: look at the addresses and at parameters",
}
# RFC 6749, appendix A.12, less the space: it stands in a header, and in a variable.
_TOKEN = re.compile(r"[\x21-\x7e]+")
# What a form holds that only the server may see.
_TOLD = ("refresh_token", "code", "code_verifier", "device_code", "assertion", "token")
_TOO_MANY = 429
# Ten years: more is a time stamp or a mistake, and such a token is believed until it is refused.
_LONGEST_S = 10 * 365 * 86_400.0


class Client(Struct, frozen=True):
    """Who we are to a server. `secret` looks it up (Unresolved); None: a public client, which shows its id alone.

    `id` is None where the grant itself says who asks.
    """

    id: str | None
    secret: Callable[[], Awaitable[str]] | None = None
    shown: Literal["basic", "post"] = "basic"

    async def ask(self, url: str, form: Mapping[str, str], limits: Limits) -> tuple[Reply, tuple[str, ...]]:
        """The answer to a form, and what of it nobody may quote. Raises AuthUnavailable, AuthRejected."""
        told = tuple(form[name] for name in _TOLD if name in form)
        if self.id is None:
            return await post(url, form, limits=limits), told
        if self.secret is None:
            return await post(url, {**form, "client_id": self.id}, limits=limits), told
        try:
            secret = await self.secret()
        except Unresolved as error:
            why = f"the client's secret cannot be had: {error}"
            raise (AuthUnavailable(why) if error.is_late else AuthRejected(why, is_final=False)) from None
        told = (*told, secret)
        # RFC 6749, section 2.3.1.
        if self.shown == "post":
            return await post(url, {**form, "client_id": self.id, "client_secret": secret}, limits=limits), told
        pair = base64.b64encode(f"{quote_plus(self.id)}:{quote_plus(secret)}".encode()).decode()
        return await post(url, form, headers={"Authorization": f"Basic {pair}"}, limits=limits), (*told, pair)


class Refusal(Struct, frozen=True):
    """A server's own error: its code (RFC 6749, section 5.2), and a sentence on it, without secrets."""

    host: str
    code: str
    said: str

    def error(self) -> AuthRejected | AuthUnavailable:
        """What it means for a login that is to be refreshed."""
        if self.code in _LOGIN_IS_OVER:
            return AuthRejected(f"{self.host} refuses the stored login: {self.said}", code=self.code)
        if self.code in _WRONG_IN_CONFIG:
            why = f"{self.host} {_WRONG_IN_CONFIG[self.code]}: {self.said}"
            return AuthRejected(why, code=self.code, is_final=False)
        return AuthUnavailable(f"{self.host} gives no token: {self.said}")


class Endpoint(Struct, frozen=True):
    """Where tokens come from, and who asks for them."""

    url: str
    client: Client
    clock: Clock
    limits: Limits = Limits()

    async def grant(self, form: Mapping[str, str]) -> TokenSet | Refusal:
        """The answer to this grant. Raises AuthUnavailable, and AuthRejected where we cannot say who we are."""
        asked_at = self.clock.wall()
        reply, told = await self.client.ask(self.url, form, self.limits)
        return tokens_of(reply, told, asked_at)


class OAuthSource(Struct, frozen=True):
    """Refreshes a login (RFC 6749, section 6): a TokenSource."""

    endpoint: Endpoint

    @property
    def needs_login(self) -> bool:
        return True

    async def refresh(self, tokens: TokenSet | None) -> TokenSet:
        """As in TokenSource. It asks once: whether the same token may be shown again is not decided here."""
        if tokens is None or tokens.refresh is None:
            raise AuthRejected("it cannot be refreshed: its server gave no refresh token")
        answer = await self.endpoint.grant({"grant_type": "refresh_token", "refresh_token": tokens.refresh})
        if isinstance(answer, Refusal):
            raise answer.error()
        return msgspec.structs.replace(
            answer,
            # A server that gives no other one goes on with this one.
            refresh=answer.refresh or tokens.refresh,
            scopes=answer.scopes or tokens.scopes,
            account=answer.account or tokens.account,
        )


async def revoke(url: str, client: Client, tokens: TokenSet, limits: Limits | None = None) -> None:
    """Make a login invalid (RFC 7009): the refresh token, which takes the others with it, else the access token.

    Raises AuthUnavailable, AuthRejected.
    """
    kind, token = ("refresh_token", tokens.refresh) if tokens.refresh else ("access_token", tokens.access)
    reply, told = await client.ask(url, {"token": token, "token_type_hint": kind}, limits or Limits())
    if reply.status >= 300:
        raise refusal(reply, told).error()


def members(reply: Reply) -> Mapping[str, object]:
    """The JSON object that it is; an empty one for anything else."""
    try:
        found = msgspec.json.decode(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def refusal(reply: Reply, told: Sequence[str]) -> Refusal:
    """What an answer with an error says. Raises AuthUnavailable where it is the server that has the trouble."""
    found = members(reply)
    # OpenAI: {"error": {"code": "...", "message": "..."}}.
    error = found.get("error")
    code, text = found.get("error"), found.get("error_description")
    if isinstance(error, dict):
        code, text = error.get("code") or error.get("type"), error.get("message")
    said = "; ".join(_quoted(word, told) for word in (code, text) if isinstance(word, str) and word)
    if reply.status >= 500 or reply.status == _TOO_MANY or not isinstance(code, str):
        raise reply.unavailable(f"answered with status {reply.status}" + (f": {said}" if said else ""))
    return Refusal(reply.host, _quoted(code, told), said)


def text_of(value: object) -> str | None:
    """A token, or another word that can stand in a header and in a variable."""
    return value if isinstance(value, str) and _TOKEN.fullmatch(value) else None


def seconds_of(value: object) -> float | None:
    """A length of time that can be believed; some servers write the number as text."""
    try:
        seconds = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else 0.0
    except (ValueError, OverflowError):
        return None
    return seconds if 0 < seconds <= _LONGEST_S else None


def tokens_of(reply: Reply, told: Sequence[str], asked_at: float) -> TokenSet | Refusal:
    """What an answer to a grant holds. Raises AuthUnavailable."""
    found = members(reply)
    # GitHub refuses with status 200.
    if reply.status >= 300 or "error" in found:
        return refusal(reply, told)
    access, lasts_s = text_of(found.get("access_token")), seconds_of(found.get("expires_in"))
    if access is None:
        raise reply.unavailable("answered with something that holds no access token")
    scope, kind = found.get("scope"), found.get("token_type")
    return TokenSet(
        access=access,
        refresh=text_of(found.get("refresh_token")),
        obtained_at=asked_at,
        expires_at=None if lasts_s is None else asked_at + lasts_s,
        scopes=tuple(scope.split()) if isinstance(scope, str) else (),
        token_type=kind if isinstance(kind, str) and kind.lower() != "bearer" else "Bearer",
        account=_account(found.get("id_token")),
    )


def _account(id_token: object) -> str | None:
    """Who an id token is about, to be shown: it came from the server itself, so nobody signs it to us."""
    parts = id_token.split(".") if isinstance(id_token, str) else []
    if len(parts) != 3:
        return None
    try:
        claims = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    names = [claims.get(name) for name in ("email", "preferred_username", "sub")] if isinstance(claims, dict) else []
    return next((plain(name, 200) for name in names if isinstance(name, str) and name), None)


def _quoted(text: str, told: Sequence[str]) -> str:
    """A server's words without what it was told in confidence."""
    for secret in told:
        text = text.replace(secret, "[redacted]")
    return plain(text)
