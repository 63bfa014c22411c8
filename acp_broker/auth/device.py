"""A login on another device (RFC 8628): a person types a code into a browser anywhere, and we ask until it is done."""

from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from msgspec import Struct

from acp_broker.auth.oauth import Endpoint, Refusal, members, refusal, seconds_of, text_of
from acp_broker.auth.tokens import TokenSet
from acp_broker.core.redact import plain
from acp_broker.errors import AuthRejected, AuthUnavailable

_DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
# RFC 8628, section 3.2 (what holds where a server does not say) and section 3.5 (how much slower).
_INTERVAL_S = 5.0
_SLOWER_S = 5.0
# Between two questions, whatever the server asks for or its trouble makes of it.
_LONGEST_INTERVAL_S = 60.0
# How long a code is good for: where a server does not say, and at most.
_LASTS_S = 900.0
_LONGEST_S = 3600.0
_OVER: Mapping[str, str] = {
    "access_denied": "the login was declined",
    "expired_token": "the code has run out; begin again",
}


class Code(Struct, frozen=True):
    """What a person is shown. `direct` is an address with the code in it, where the server has one."""

    address: str
    user_code: str
    lasts_s: float
    direct: str | None = None


class _Begun(Struct, frozen=True):
    code: Code
    device_code: str
    interval_s: float

    def __repr__(self) -> str:
        return f"_Begun({self.code.address})"


async def log_in(endpoint: Endpoint, url: str, form: Mapping[str, str], show: Callable[[Code], None]) -> TokenSet:
    """The tokens, once a person has used the code that `show` is called with; `form` is sent to `url` to begin.

    Takes as long as the code lasts. Raises AuthRejected, AuthUnavailable.
    """
    begun = await _begin(endpoint, url, form)
    show(begun.code)
    clock, interval_s = endpoint.clock, begun.interval_s
    ends_at = clock.now() + begun.code.lasts_s
    while clock.now() + interval_s < ends_at:
        await clock.sleep(interval_s)
        try:
            answer = await endpoint.grant({"grant_type": _DEVICE_CODE, "device_code": begun.device_code})
        except AuthUnavailable:
            # RFC 8628, section 3.5: where it does not answer, ask less often.
            interval_s = min(interval_s * 2, _LONGEST_INTERVAL_S)
            continue
        if isinstance(answer, TokenSet):
            return answer
        interval_s = min(interval_s + _slower_s(answer), _LONGEST_INTERVAL_S)
    raise AuthRejected(_OVER["expired_token"], code="expired_token")


def _slower_s(answer: Refusal) -> float:
    """How much longer to wait before the next question. Raises what ends the login."""
    if answer.code in _OVER:
        raise AuthRejected(_OVER[answer.code], code=answer.code)
    if answer.code not in ("authorization_pending", "slow_down"):
        error = answer.error()
        if isinstance(error, AuthRejected) and error.is_final:
            # The code, not a login that is stored.
            error = AuthRejected(f"{answer.host} refuses the code of this login: {answer.said}", code=answer.code)
        raise error
    return _SLOWER_S if answer.code == "slow_down" else 0.0


async def _begin(endpoint: Endpoint, url: str, form: Mapping[str, str]) -> _Begun:
    reply, told = await endpoint.client.ask(url, form, endpoint.limits)
    found = members(reply)
    if reply.status >= 300 or "error" in found:
        raise refusal(reply, told).error()
    # Google called it `verification_url` before there was an RFC.
    address = _address(found.get("verification_uri") or found.get("verification_url"))
    device_code, user_code = text_of(found.get("device_code")), found.get("user_code")
    if device_code is None or address is None or not isinstance(user_code, str) or not user_code:
        raise reply.unavailable("answered with something that holds no code")
    lasts_s, interval_s = seconds_of(found.get("expires_in")), seconds_of(found.get("interval"))
    return _Begun(
        Code(
            address,
            plain(user_code, 64),
            min(lasts_s or _LASTS_S, _LONGEST_S),
            _address(found.get("verification_uri_complete")),
        ),
        device_code,
        min(interval_s or _INTERVAL_S, _LONGEST_INTERVAL_S),
    )


def _address(value: object) -> str | None:
    """An address that a person can be sent to."""
    address = text_of(value)
    return address if address is not None and urlsplit(address).scheme in ("https", "http") else None
