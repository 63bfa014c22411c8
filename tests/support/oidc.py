"""A real OAuth server, the npm package oidc-provider, and a person who logs in there with a browser."""

import html
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin

import anyio
import httpx2
from msgspec import Struct

from tests.support import npm

HERE = Path(__file__).parents[1] / "oidc"
CLIENT_SECRET = "a s3cret: of + the & client"
# A test that waits this long has failed: it bounds a hang, nothing is measured by it.
DEADLINE_S = 60.0
# More pages than any login has.
MOST_PAGES = 20
_FORM = re.compile(r"<form[^>]*action=\"([^\"]*)\"[^>]*>(.*?)</form>", re.DOTALL | re.IGNORECASE)
_INPUT = re.compile(r"<input[^>]*>", re.IGNORECASE)


class OidcServer(Struct, frozen=True):
    """Where it answers. Its clients are `public`, and `kept:secret` with CLIENT_SECRET."""

    issuer: str

    @property
    def token_url(self) -> str:
        return f"{self.issuer}/token"

    @property
    def authorization_url(self) -> str:
        return f"{self.issuer}/auth"

    @property
    def device_url(self) -> str:
        return f"{self.issuer}/device/auth"

    @property
    def revocation_url(self) -> str:
        return f"{self.issuer}/token/revocation"


@contextmanager
def oidc_server() -> Iterator[OidcServer]:
    """It runs until the end of the block, on a port that the kernel chooses, and keeps everything in memory."""
    npm.install(HERE)
    process = subprocess.Popen(
        ["node", str(HERE / "server.mjs")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "CLIENT_SECRET": CLIENT_SECRET},
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield OidcServer(json.loads(process.stdout.readline())["issuer"])
        finally:
            process.stdin.close()
            process.wait(DEADLINE_S)


async def visit(address: str, answers: dict[str, str]) -> str:
    """What a person sees in the end who opens an address and fills in every form; `answers` by the field's name.

    A field that is not among them keeps what the page put there, and a button is pressed.
    """
    async with httpx2.AsyncClient(follow_redirects=True, trust_env=False, timeout=DEADLINE_S) as browser:
        page = await browser.get(address)
        for _ in range(MOST_PAGES):
            form = _FORM.search(page.text)
            if form is None:
                return page.text
            fields = {name: answers.get(name, value) for name, value in _fields(form[2])}
            page = await browser.post(urljoin(str(page.url), html.unescape(form[1])), data=fields)
    raise AssertionError(f"forms without end: {page.text}")


def _fields(form: str) -> Iterator[tuple[str, str]]:
    for field in _INPUT.findall(form):
        found = dict(re.findall(r"([\w-]+)=\"([^\"]*)\"", field))
        if "name" in found:
            yield found["name"], html.unescape(found.get("value", ""))


if __name__ == "__main__":
    anyio.run(visit, sys.argv[1], {"login": "me", "password": "any"})
