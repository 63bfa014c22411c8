"""Google's credentials: where they are looked for, what is sent for each kind, and what is said of a bad file."""

import base64
import json
import os
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from acp_broker.auth.google import GoogleSource
from acp_broker.auth.google_file import AuthorizedUser, ServiceAccount, place, projects, read
from acp_broker.auth.tokens import TokenSet
from acp_broker.core.names import ProjectId, Projects
from acp_broker.errors import AuthRejected, AuthUnavailable, Unresolved
from tests.auth.programs import kept
from tests.support.clock import FakeClock
from tests.support.token_server import said, token_server

pytestmark = pytest.mark.anyio

CLOCK = FakeClock()
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
MEMBERS = ("type", "client_email", "private_key", "client_id", "client_secret", "refresh_token", "token_uri")
SCOPES = ("https://www.googleapis.com/auth/cloud-platform", "openid")
GOOD = said({"access_token": "ya29.new", "expires_in": 3599, "token_type": "Bearer"})
NEW = TokenSet(access="ya29.new", obtained_at=CLOCK.wall(), expires_at=CLOCK.wall() + 3599)
FILE = "application_default_credentials.json"


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def pem(key: object = KEY) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def account(url: str = "https://127.0.0.1:9/token", **members: object) -> str:
    whole = {
        "type": "service_account",
        "project_id": "p",
        "private_key_id": "k1",
        "private_key": pem(),
        "client_email": "bot@p.iam.gserviceaccount.com",
        "token_uri": url,
        **members,
    }
    return json.dumps({name: value for name, value in whole.items() if value is not None})


def login(url: str = "https://127.0.0.1:9/token", **members: object) -> str:
    whole = {"client_id": "gcloud", "client_secret": "cs3cret", "refresh_token": "rs3cret", "token_uri": url}
    return json.dumps({"type": "authorized_user", **whole, **members})


def source(folder: Path, file: Path | None = None, **members: object) -> GoogleSource:
    environ = {"HOME": str(folder), **members.pop("environ", {})}
    return GoogleSource(CLOCK, environ, SCOPES, file, **members)


async def rejected(source: GoogleSource) -> str:
    with pytest.raises(AuthRejected) as raised:
        await source.refresh(None)
    text = str(raised.value)
    assert (False, []) == (raised.value.is_final, [one for one in ("s3cret", "PRIVATE") if one in text])
    return text


# --- what is asked --------------------------------------------------------------------------------------------------


async def test_a_service_account_signs_for_its_token(tmp_path: Path) -> None:
    """RFC 7523, section 3, with Google's claims; the signature holds under the key's public half."""
    async with token_server(GOOD) as server:
        tokens = await source(tmp_path, kept(tmp_path, account(server.url))).refresh(None)
    form = dict(server.asked[0].form)
    head, claims, signature = form.pop("assertion").split(".")
    KEY.public_key().verify(_unpacked(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), SHA256())

    now = int(CLOCK.wall())
    of_p = replace(NEW, projects=Projects(ProjectId("p")))
    assert (of_p, {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer"}) == (tokens, form)
    assert {"alg": "RS256", "typ": "JWT", "kid": "k1"} == json.loads(_unpacked(head))
    assert {
        "iss": "bot@p.iam.gserviceaccount.com",
        "scope": " ".join(SCOPES),
        "aud": server.url,
        "iat": now,
        "exp": now + 3600,
    } == json.loads(_unpacked(claims))


async def test_a_persons_login_is_refreshed(tmp_path: Path) -> None:
    """As gcloud does it, with gcloud's client."""
    async with token_server(GOOD) as server:
        tokens = await source(tmp_path, kept(tmp_path, login(server.url))).refresh(None)

    expected = {"grant_type": "refresh_token", "refresh_token": "rs3cret", "client_id": "gcloud"}
    assert ({**expected, "client_secret": "cs3cret"}, "ya29.new") == (server.asked[0].form, tokens.access)


async def test_the_metadata_server_is_asked_where_config_says_so(tmp_path: Path) -> None:
    """With the header that keeps web pages from asking it."""
    async with token_server(GOOD) as server:
        environ = {"GCE_METADATA_HOST": f"127.0.0.1:{server.port}", "GOOGLE_CLOUD_PROJECT": "mine"}
        tokens = await source(tmp_path, may_ask_machine=True, environ=environ).refresh(None)
    [asked] = server.asked

    path = "/computeMetadata/v1/instance/service-accounts/default/token"
    query = "scopes=https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fcloud-platform%2Copenid"
    assert (replace(NEW, projects=Projects(ProjectId("mine"))), "GET", f"{path}?{query}", "Google") == (
        tokens,
        asked.method,
        asked.target,
        asked.headers["metadata-flavor"],
    )


@pytest.mark.parametrize(("answer", "expected"), [(said(b"theirs\n"), "theirs"), (said(b"<html>", 404), None)])
async def test_the_metadata_server_knows_the_machines_project(tmp_path: Path, answer: bytes, expected: str) -> None:
    """Asked where no variable says it; one that does not know it gives tokens all the same."""
    async with token_server(GOOD, answer) as server:
        environ = {"GCE_METADATA_HOST": f"127.0.0.1:{server.port}"}
        tokens = await source(tmp_path, may_ask_machine=True, environ=environ).refresh(None)
    asked = server.asked[1]

    assert ("ya29.new", expected) == (tokens.access, tokens.projects.main)
    assert ("/computeMetadata/v1/project/project-id", "Google") == (asked.target, asked.headers["metadata-flavor"])


async def test_it_is_asked_by_nobody_else(tmp_path: Path) -> None:
    """Who is near enough may answer for it: a stranger's network, for one."""
    async with token_server(GOOD) as server:
        await rejected(source(tmp_path, environ={"GCE_METADATA_HOST": f"127.0.0.1:{server.port}"}))

    assert [] == server.asked


# --- where it is looked for -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("named", "environ", "expected"),
    [
        (Path("/n.json"), {"GOOGLE_APPLICATION_CREDENTIALS": "/v.json"}, (Path("/n.json"), "credentialsFile")),
        (None, {"GOOGLE_APPLICATION_CREDENTIALS": "/v.json"}, (Path("/v.json"), "$GOOGLE_APPLICATION_CREDENTIALS")),
        (None, {"CLOUDSDK_CONFIG": "/cloud", "HOME": "/home/u"}, (Path("/cloud", FILE), "")),
        (None, {"HOME": "/home/u"}, (Path("/home/u/.config/gcloud", FILE), "")),
    ],
)
def test_the_order_is_googles(named: Path | None, environ: dict[str, str], expected: tuple[Path, str]) -> None:
    """So that a file that works with Google's tools works here."""
    assert expected == place(named, environ)


_VARIABLES = {"GOOGLE_CLOUD_PROJECT": "of-variable", "GOOGLE_CLOUD_QUOTA_PROJECT": "quota-of-variable"}
_BOTH = account(project_id="own", quota_project_id="quota")


@pytest.mark.parametrize(
    ("text", "environ", "is_named", "main", "quota"),
    [
        (account(project_id="own"), {}, False, "own", None),
        (_BOTH, {}, False, "own", "quota"),
        (_BOTH, _VARIABLES, False, "of-variable", "quota-of-variable"),
        (_BOTH, _VARIABLES, True, "own", "quota"),
        (login(), _VARIABLES, True, "of-variable", "quota-of-variable"),
        (login(quota_project_id="quota"), {}, False, "quota", "quota"),
        (login(quota_project_id="quota"), {"GOOGLE_CLOUD_PROJECT": "of-variable"}, False, "of-variable", "quota"),
        (login(quota_project_id=None), {}, False, None, None),
    ],
)
def test_credentials_say_which_project(
    tmp_path: Path, text: str, environ: dict[str, str], is_named: bool, main: str | None, quota: str | None
) -> None:
    """In the order of Google's clients; a file that config.json names is not overruled by a variable of the shell."""
    found = read(kept(tmp_path, text))

    assert Projects(main, quota) == projects(found, environ, is_named=is_named)


# --- what is wrong with it ------------------------------------------------------------------------------------------


async def test_no_credentials_at_all_are_said_with_the_fix(tmp_path: Path) -> None:
    """The commonest trouble of a new machine."""
    expected = (
        f"no application default credentials are at {tmp_path}/.config/gcloud/{FILE}: "
        "gcloud auth application-default login, or name a file in credentialsFile"
    )

    assert expected == await rejected(source(tmp_path))


async def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    """Taking another one in its place would be somebody else's account."""
    environ = {"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "none.json")}
    said_ = f"{tmp_path}/none.json is not there, but $GOOGLE_APPLICATION_CREDENTIALS names it"

    assert said_ == await rejected(source(tmp_path, environ=environ, may_ask_machine=True))


NEW_KEY = "gcloud auth application-default login, or a new key of the service account"
KNOWN = "a service account's key or what `gcloud auth application-default login` leaves"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", f"holds no credentials of Google: {NEW_KEY}"),
        ("[" * 50_000, f"holds no credentials of Google: {NEW_KEY}"),
        ('{"installed": {}}', f"is of type '', which we do not know; use {KNOWN}"),
        ('{"type": "external_account"}', f"is of type 'external_account', which we do not know; use {KNOWN}"),
        ('{"type": "service_account"}', f"is no whole service_account: {NEW_KEY}"),
        ('{"type": "authorized_user"}', f"is no whole authorized_user: {NEW_KEY}"),
        (account("http://tokens.test/"), f"is no whole service_account: {NEW_KEY}"),
    ],
)
async def test_a_file_that_is_no_use_is_named(tmp_path: Path, text: str, why: str) -> None:
    """With what it is, and what to put there."""
    file = kept(tmp_path, text)

    assert f"{file} {why}" == await rejected(source(tmp_path, file))


@pytest.mark.parametrize("key", ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "elliptic"])
async def test_a_key_that_cannot_sign_is_said(tmp_path: Path, key: str) -> None:
    """Cut off in a copy, or of another kind."""
    file = kept(
        tmp_path, account(private_key=pem(ec.generate_private_key(ec.SECP256R1())) if key == "elliptic" else key)
    )

    said_ = f"{file}: its private_key is no RSA key; make a new key of the service account"
    assert said_ == await rejected(source(tmp_path, file))


async def test_a_file_that_others_can_change_is_not_trusted(tmp_path: Path) -> None:
    """It says where a secret is sent."""
    file = kept(tmp_path, account(), mode=0o622)

    assert f"others can change {file}: chmod go-w {file}, or chown it" == await rejected(source(tmp_path, file))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
async def test_a_file_of_somebody_else_is_not_trusted(tmp_path: Path) -> None:
    """Nor one that they can make writable whenever they like."""
    file = kept(tmp_path, account())
    os.chown(file, 12345, -1)

    assert f"others can change {file}: chmod go-w {file}, or chown it" == await rejected(source(tmp_path, file))


async def test_a_pipe_in_its_place_holds_nobody_up(tmp_path: Path) -> None:
    """It would be waited for without end."""
    os.mkfifo(tmp_path / "pipe", 0o600)

    assert f"{tmp_path}/pipe is no file" == await rejected(source(tmp_path, tmp_path / "pipe"))


def test_a_link_is_followed(tmp_path: Path) -> None:
    """Kubernetes mounts secrets as links, readable by their group."""
    kept(tmp_path, account(), mode=0o644)
    (tmp_path / "link").symlink_to("secrets.json")

    assert "bot@p.iam.gserviceaccount.com" == read(tmp_path / "link").client_email


@pytest.mark.parametrize(
    ("make", "fix"),
    [
        (login, "gcloud auth application-default login"),
        (account, "make a new key of bot@p.iam.gserviceaccount.com, or set this machine's clock"),
    ],
)
async def test_what_google_refuses_is_said_with_the_file_and_the_fix(tmp_path: Path, make, fix: str) -> None:
    """Its own words name neither. A file is mended by a person, at any time: nothing here is over for good."""
    async with token_server(said({"error": "invalid_grant", "error_description": "Bad Request"}, 400)) as server:
        file = kept(tmp_path, make(server.url))
        text = await rejected(source(tmp_path, file))

    assert f"127.0.0.1 refuses {file}: {fix} (invalid_grant; Bad Request)" == text


async def test_google_with_trouble_of_its_own_is_another_thing(tmp_path: Path) -> None:
    """The file is as good as before."""
    async with token_server(said(b"", 503, Retry_After="9")) as server:
        with pytest.raises(AuthUnavailable) as raised:
            await source(tmp_path, kept(tmp_path, account(server.url))).refresh(None)

    assert 9.0 == raised.value.retry_after_s


async def test_a_missing_package_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install."""
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric", None)
    file = kept(tmp_path, account())

    said_ = f"{file}: service accounts need a package more: pip install cryptography, where acp-broker is installed"
    assert said_ == await rejected(source(tmp_path, file))


@given(data=st.binary(max_size=200) | st.dictionaries(st.sampled_from(MEMBERS), st.text() | st.none()).map(_json))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_file_has_a_meaning(tmp_path: Path, data: bytes) -> None:
    """Credentials, or a sentence that names the file."""
    file = tmp_path / "any.json"
    file.write_bytes(data)
    try:
        found = read(file)
    except Unresolved as error:
        found = str(error)

    assert isinstance(found, ServiceAccount | AuthorizedUser) or str(file) in found


def test_nothing_shows_a_secret(tmp_path: Path) -> None:
    """Whatever prints it."""
    texts = [repr(read(kept(tmp_path, text, str(index)))) for index, text in enumerate((account(), login()))]

    assert ["ServiceAccount(bot@p.iam.gserviceaccount.com)", "AuthorizedUser(...)"] == texts


def _unpacked(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
