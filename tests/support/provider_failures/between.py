"""Who stands between: proxies, captive portals, edges; connections that break; waits that nobody can mean."""

from collections.abc import Mapping

from tests.support.provider.wire import head
from tests.support.provider_failures.case import Case, Provider, cut, data, status, stream
from tests.support.provider_failures.openai import BEGUN, WORDS, error

_ENTRY: Mapping[str, object] = {"kind": "openai", "model": "m"}
_NGINX = (
    "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n<center><h1>{0}</h1></center>\r\n</body>\r\n</html>\r\n"
)
_CHALLENGE = '<!DOCTYPE html><html lang="en-US"><head><title>Just a moment...</title></head><body></body></html>'
_CLOUDFLARE = (
    "<!DOCTYPE html>\n<!--[if lt IE 7]> <html class='no-js ie6'> <![endif]-->\n<html lang='en-US'><head>\n"
    "<title>api.example.com | 522: Connection timed out</title></head><body>Cloudflare Ray ID: 1</body></html>"
)
_PORTAL = "<!DOCTYPE HTML><html><head><title>Welcome to Hotel WiFi</title></head><body>Log in</body></html>"
_BLOCKED = "<HTML><HEAD><TITLE>Access Denied</TITLE></HEAD><BODY>Blocked by your organisation: AI tools</BODY></HTML>"


def _whole(body: str, kind: str) -> bytes:
    return head(200, kind, len(body.encode()), {"connection": "close"}) + body.encode()


def _nginx(title: str) -> bytes:
    return status(int(title[:3]), _NGINX.format(title), server="nginx/1.27.0")


BETWEEN = Provider(
    "Who stands between",
    _ENTRY,
    (
        *(
            Case(f"nginx: {title}", kind, _nginx(title))
            for title, kind in {
                "400 Bad Request": "garbled",
                "403 Forbidden": "garbled",
                "404 Not Found": "garbled",
                "413 Request Entity Too Large": "garbled",
                "405 Not Allowed": "unreachable",
                "429 Too Many Requests": "rate_limited",
                "500 Internal Server Error": "server_error",
                "502 Bad Gateway": "server_error",
                "503 Service Temporarily Unavailable": "server_error",
                "504 Gateway Time-out": "server_error",
            }.items()
        ),
        Case("Cloudflare: 522 as a page", "server_error", status(522, _CLOUDFLARE, server="cloudflare")),
        Case("Cloudflare: 502 as a line", "server_error", status(502, "error code: 502", server="cloudflare")),
        Case("Cloudflare: 1015 as a line", "rate_limited", status(429, "error code: 1015", server="cloudflare")),
        Case("Cloudflare: a challenge", "garbled", status(403, _CHALLENGE, cf_mitigated="challenge")),
        Case("company's proxy: 403 as a page", "garbled", status(403, _BLOCKED)),
        Case("company's proxy: 407", "unreachable", status(407, "", proxy_authenticate="Negotiate")),
        Case("captive portal: a page with 200", "garbled", _whole(_PORTAL, "text/html; charset=utf-8")),
        Case("captive portal: the same, called a plain text", "garbled", _whole(_PORTAL, "text/plain")),
        Case("captive portal: 511", "unreachable", status(511, _PORTAL)),
        *(
            Case(f"{number}, a redirect", "unreachable", status(number, "", location="https://elsewhere.example/v1"))
            for number in (301, 302, 303, 307, 308)
        ),
        Case("a wrong path: 404 of another server", "model_not_found", status(404, {"detail": "Not Found"})),
        Case("200, an empty body", "server_error", stream()),
        Case("200, an empty body that is called JSON", "server_error", _whole("", "application/json")),
        Case(
            "200, an error that is called JSON",
            "overloaded",
            _whole('{"error": {"message": "overloaded", "type": "server_error", "code": 503}}', "application/json"),
        ),
        Case("a status of 5xx that nobody has heard of", "server_error", status(599, "")),
        Case("418", "bad_request", status(418, "")),
        Case("451", "auth_rejected", status(451, "")),
    ),
)

BROKEN = Provider(
    "The connection",
    _ENTRY,
    (
        Case("closed before an answer", "unreachable", b""),
        Case("reset before an answer", "unreachable", b"", end="reset"),
        Case("reset within the head of the answer", "unreachable", b"HTTP/1.1 200 OK\r\ncontent-ty", end="reset"),
        Case("an answer that is no HTTP", "unreachable", b"SSH-2.0-OpenSSH_9.6\r\n"),
        Case("reset behind the head of the answer", "server_error", cut(), end="reset"),
        Case("closed behind the head of the answer", "server_error", cut()),
        Case("closed behind words", "server_error", cut(BEGUN, WORDS)),
        Case("reset within an event", "server_error", cut(BEGUN, data({"choices": []})[:9]), end="reset"),
    ),
)

_TOKENS = {"x_ratelimit_remaining_tokens": "0"}


def _limited(**headers: str) -> bytes:
    return status(429, error("Slower, please.", "tokens", "rate_limit_exceeded"), **headers)


WAITS = Provider(
    "How long to wait",
    _ENTRY,
    (
        *(
            Case(f"`retry-after: {value}`", "rate_limited", _limited(retry_after=value), wait_s)
            for value, wait_s in {
                "30": 30.0,
                "2.5": 2.5,
                "Fri, 20 Nov 2026 18:01:00 GMT": 60.0,
                "Fri, 20 Nov 2026 17:59:00 GMT": None,
                "Fri, 31 Dec 9999 23:59:59 GMT": None,
                "0": None,
                "-1": None,
                "NaN": None,
                "1e12": None,
                "99999999": None,
                "soon": None,
            }.items()
        ),
        *(
            Case(f"`retry-after-ms: {value}`", "rate_limited", _limited(retry_after_ms=value), wait_s)
            for value, wait_s in {"1500": 1.5, "0": None, "-5": None, "1e12": None}.items()
        ),
        *(
            Case(
                f"`x-ratelimit-remaining-tokens: 0` and `x-ratelimit-reset-tokens: {value}`",
                "rate_limited",
                _limited(x_ratelimit_reset_tokens=value, **_TOKENS),
                wait_s,
            )
            for value, wait_s in {
                "1s": 1.0,
                "120ms": 0.12,
                "6m0s": 360.0,
                "1h2m3s": 3723.0,
                "17": 17.0,
                "1795197617": 17.0,
                "2026-11-20T18:00:17Z": 17.0,
                "9999-12-31T23:59:59Z": None,
            }.items()
        ),
        Case(
            "`x-ratelimit-reset-tokens: 6m0s`, and some remain",
            "rate_limited",
            _limited(x_ratelimit_remaining_tokens="5", x_ratelimit_reset_tokens="6m0s"),
        ),
        Case(
            "`retry-after-ms: 1500`, `retry-after: 2`, a reset of 6m0s: the most exact wins",
            "rate_limited",
            _limited(retry_after_ms="1500", retry_after="2", x_ratelimit_reset_tokens="6m0s", **_TOKENS),
            1.5,
        ),
        Case(
            "`retry-after: 2`, a reset of 6m0s: what is said to us wins",
            "rate_limited",
            _limited(retry_after="2", x_ratelimit_reset_tokens="6m0s", **_TOKENS),
            2.0,
        ),
        Case(
            "`retry-after-ms: -5`, `retry-after: 2`: the absurd is passed over",
            "rate_limited",
            _limited(retry_after_ms="-5", retry_after="2"),
            2.0,
        ),
    ),
    "Each on a 429 with nothing else in it. What is absurd, past, or more than a week is not believed.",
)
