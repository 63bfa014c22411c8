"""A login with a browser on this machine (RFC 8252): it comes back to a port of ours, with a code that is worth
nothing to anybody else (PKCE, RFC 7636).
"""

import base64
import hashlib
import secrets
from collections.abc import Callable, Mapping
from urllib.parse import urlencode, urlsplit

import anyio
from anyio.abc import SocketAttribute
from msgspec import Struct

from acp_broker.auth.landing import Landing
from acp_broker.auth.oauth import Endpoint, Refusal
from acp_broker.auth.tokens import TokenSet
from acp_broker.core.redact import plain
from acp_broker.errors import AuthRejected, AuthUnavailable, UsageError

# A person finds a password and a second factor in that time.
LIMIT_S = 600.0
# RFC 7636, section 4.1: 43 to 128 characters; 64 bytes are 86.
_VERIFIER_BYTES = 64
_STATE_BYTES = 32
# For the browser to take the last page.
_FAREWELL_S = 5.0


class Browser(Struct, frozen=True):
    """What a browser login asks: the page to open, where the browser comes back to (RFC 8252, section 7.3), and what
    is asked with. Without a port in `redirect_url` any free one is taken."""

    authorization_url: str
    redirect_url: str
    form: Mapping[str, str]


async def log_in(
    endpoint: Endpoint, browser: Browser, show: Callable[[str], None], limit_s: float = LIMIT_S
) -> TokenSet:
    """The tokens, once a person has logged in at the address that `show` is called with.

    Raises AuthRejected, AuthUnavailable, and UsageError where the port cannot be had.
    """
    back = urlsplit(browser.redirect_url)
    try:
        listener = await anyio.create_tcp_listener(
            local_host=back.hostname, local_port=back.port or 0, reuse_port=False
        )
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot listen for the browser at {browser.redirect_url}: {error}") from None
    port = listener.listeners[0].extra(SocketAttribute.local_port)  # noqa: S610 - no Django
    host = f"[{back.hostname}]" if ":" in (back.hostname or "") else back.hostname
    redirect_uri = f"http://{host}:{port}{back.path}"
    state, verifier = secrets.token_urlsafe(_STATE_BYTES), secrets.token_urlsafe(_VERIFIER_BYTES)
    landing = Landing(back.path or "/", state)
    address = _address(browser, endpoint.client.id or "", redirect_uri, state, verifier)
    outcome: TokenSet | AuthRejected | AuthUnavailable
    async with listener:
        show(address)
        async with anyio.create_task_group() as visitors:
            visitors.start_soon(listener.serve, landing.receive)
            came = None
            with anyio.move_on_after(limit_s):
                came = await landing.arrived()
            if came is None:
                outcome = AuthUnavailable(f"nobody logged in within {limit_s:g} s; begin again")
            else:
                outcome = await _redeemed(endpoint, came, redirect_uri, verifier)
                with anyio.move_on_after(_FAREWELL_S):
                    await landing.farewell("" if isinstance(outcome, TokenSet) else str(outcome))
            visitors.cancel_scope.cancel()
    if isinstance(outcome, TokenSet):
        return outcome
    raise outcome


def _address(browser: Browser, client_id: str, redirect_uri: str, state: str, verifier: str) -> str:
    """RFC 6749, section 4.1.1; RFC 7636, section 4.3."""
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    asked = {
        **browser.form,
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "state": state,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    return f"{browser.authorization_url}{'&' if '?' in browser.authorization_url else '?'}{urlencode(asked)}"


async def _redeemed(
    endpoint: Endpoint, came: Mapping[str, str], redirect_uri: str, verifier: str
) -> TokenSet | AuthRejected | AuthUnavailable:
    """What the browser brought, made tokens of. RFC 6749, sections 4.1.2.1 and 4.1.3."""
    if "code" not in came:
        said = "; ".join(plain(came[name]) for name in ("error", "error_description") if came.get(name))
        why = "the login was declined" if came.get("error") == "access_denied" else "the server refused the login"
        return AuthRejected(f"{why}: {said or 'it gave no code'}", code=came.get("error"))
    form = {
        "grant_type": "authorization_code",
        "code": came["code"],
        "redirect_uri": redirect_uri,
        "code_verifier": verifier,
    }
    try:
        answer = await endpoint.grant(form)
    except (AuthRejected, AuthUnavailable) as error:
        return error
    if not isinstance(answer, Refusal):
        return answer
    refused = answer.error()
    if isinstance(refused, AuthRejected) and refused.is_final:
        # The code, not a login that is stored.
        return AuthRejected(f"{answer.host} refuses the code of this login: {answer.said}", code=answer.code)
    return refused
