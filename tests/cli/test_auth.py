"""`acp-broker auth`: what is told of each profile, where a secret goes, and what becomes of a login."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import keyring
import pytest
from keyring.backends import fail

from acp_broker.auth.lease import Logins
from acp_broker.auth.secret_store import SecretStore
from acp_broker.auth.tokens import TokenSet
from acp_broker.cli import auth
from acp_broker.cli.main import main
from acp_broker.clock import SystemClock
from acp_broker.core.names import ProfileId
from tests.auth.programs import kept, program
from tests.support.config import write
from tests.support.ring import Ring

WORK = ProfileId("work")
OAUTH = {
    "type": "oauth",
    "clientId": "c",
    "tokenUrl": "https://t.test/token",
    "authorizationUrl": "https://t.test/auth",
    "env": "T",
}
KEYRING = {"source": "keyring", "id": "work-key"}
NO_ENTRY = """\
work: no keyring service is here, and {home}/auth/secrets.json has no entry 'work-key' of service 'acp-broker': \
acp-broker auth set work"""
VARIABLE = """\
reads $K: set that variable where acp-broker is started, or refer to {"source": "keyring", "id": "work"} in \
config.json"""


class Place:
    """A config with these profiles, each used by a backend of its own, and a state folder."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "state"
        self.file = folder / "config.json"
        self.folder = folder
        self.environ = {"ACP_BROKER_HOME": str(self.home), "HOME": str(folder)}
        self.logins = Logins(self.home, SystemClock())
        self.store = SecretStore(self.home / "auth" / "secrets.json")

    def configure(
        self,
        backends: dict[str, str | None] | None = None,
        secrets: object = None,
        script: object = None,
        **profiles: object,
    ) -> None:
        used = backends if backends is not None else {f"of-{name}": name for name in profiles}
        entries = {name: {"kind": "scripted", "auth": profile, "script": script} for name, profile in used.items()}
        entries = entries or {"one": {"kind": "scripted"}}
        first, *others = entries
        chain = {"backend": first, "fallbacks": others}
        write(
            self.folder,
            {"acp": chain, "backends": entries, "auth": {"profiles": profiles}, "secrets": secrets or {}},
        )

    def status(self) -> tuple[int, str]:
        return self.said(lambda: auth.status(self.file, self.environ, as_json=False))

    def told(self) -> tuple[int, dict[str, object]]:
        code, out = self.said(lambda: auth.status(self.file, self.environ, as_json=True))
        return code, json.loads(out)

    def run(self, action: str, name: str = "work", *words: str) -> tuple[int, str]:
        return self.said(lambda: auth.run(self.file, self.environ, action, name, words))

    def said(self, act) -> tuple[int, str]:
        self.capture.readouterr()
        code = act()
        out, err = self.capture.readouterr()
        return code, out + err


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Place:
    made = Place(tmp_path)
    made.capture = capsys
    return made


@pytest.fixture(autouse=True)
def ring():
    """This machine's keyring is nobody's to change; one of ours is in its place, or none."""
    before = keyring.get_keyring()
    keyring.set_keyring(fail.Keyring())
    yield keyring.set_keyring
    keyring.set_keyring(before)


def typed(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


# --- status ---------------------------------------------------------------------------------------------------------


def test_every_profile_is_told(place: Place) -> None:
    """Kind, who uses it, and where its secret comes from."""
    place.environ["WORK_KEY"] = "s3cret"
    place.configure(
        {"a": "key", "b": "file", "c": "program", "d": "agent", "e": "google", "f": "agent"},
        secrets={
            "providers": {
                "kept": {"source": "file", "path": str(kept(place.folder, '{"k": "s3cret"}'))},
                "vault": {"source": "exec", "command": str(program(place.folder, "never()"))},
            }
        },
        key={"type": "api_key", "key": "$WORK_KEY"},
        file={"type": "token", "token": {"source": "file", "provider": "kept", "id": "/k"}, "env": "T"},
        program={"type": "token", "token": {"source": "exec", "provider": "vault", "id": "k"}, "env": "T"},
        agent={"type": "agent"},
        google={"type": "google", "credentialsFile": str(place.folder / "key.json"), "env": "T"},
    )
    kept(
        place.folder,
        '{"type": "service_account", "client_email": "bot@p.test", "private_key": "s3cret"}',
        "key.json",
    )
    code, text = place.status()

    assert (0, False) == (code, "s3cret" in text)
    assert [
        ["profile", "type", "used by", "state", "from", "expires", "renewed"],
        ["key", "api_key", "a", "ok", "$WORK_KEY"],
        ["file", "token", "b", "ok", 'file secret /k of "kept"'],
        ["program", "token", "c", "unknown", 'exec secret k of "vault"'],
        ["agent", "agent", "d, f", "unknown", "its agent's own login"],
        ["google", "google", "e", "ok", f"bot@p.test in {place.folder}/key.json"],
    ] == [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()[:6]]


def test_each_credential_of_a_profile_is_told(place: Place) -> None:
    """One that can be had is enough for a turn."""
    place.environ["SECOND"] = "s3cret"
    place.configure(work={"type": "api_key", "key": ["$FIRST", "$SECOND"]})
    code, found = place.told()
    [profile] = found["profiles"]

    assert (0, [("$FIRST", "missing"), ("$SECOND", "ok")]) == (
        code,
        [(one["source"], one["state"]) for one in profile["credentials"]],
    )


@pytest.mark.parametrize(
    ("profile", "state", "line"),
    [
        (OAUTH, "missing", "work: nobody has logged in: acp-broker login work"),
        ({"type": "api_key", "key": "$NO_SUCH_KEY"}, "missing", "work: is not set in this environment"),
        (
            {"type": "token", "token": KEYRING, "env": "T"},
            "missing",
            NO_ENTRY,
        ),
        (
            {"type": "google", "env": "T"},
            "missing",
            "work: is not there: gcloud auth application-default login",
        ),
    ],
)
def test_what_is_missing_is_told_with_the_command_that_mends_it(
    place: Place, profile: object, state: str, line: str
) -> None:
    """And is an exit status that a script can ask for."""
    place.configure(work=profile)
    code, text = place.status()
    _, found = place.told()

    assert (1, state, True) == (
        code,
        found["profiles"][0]["credentials"][0]["state"],
        line.format(home=place.home) in text.splitlines(),
    )


def test_a_profile_that_no_turn_uses_may_be_without(place: Place) -> None:
    """It is told of all the same."""
    place.configure({"one": None}, work=OAUTH)
    code, found = place.told()

    assert (0, True, []) == (code, found["ok"], found["profiles"][0]["backends"])


def test_a_login_is_told_with_its_times_and_whose_it_is(place: Place) -> None:
    """And never a token."""
    place.configure(work=OAUTH)
    place.logins.put(
        WORK, TokenSet(access="s3cret", refresh="s3cret", obtained_at=100.0, expires_at=3700.0, account="me@x.test")
    )
    code, text = place.status()
    _, found = place.told()
    [profile] = found["profiles"]

    assert (0, "me@x.test", 100.0, 3700.0, True, False) == (
        code,
        profile["account"],
        profile["refreshedAt"],
        profile["expiresAt"],
        profile["isRenewed"],
        "s3cret" in text + json.dumps(found),
    )


def test_a_login_that_has_ended_for_good_is_told(place: Place) -> None:
    """Nothing can renew it but a person."""
    place.configure(work=OAUTH)
    place.logins.put(WORK, TokenSet(access="a", obtained_at=100.0, expires_at=3700.0))
    code, text = place.status()

    why = "work: it has ended, and its server gave no refresh token: acp-broker login work"
    assert (1, True) == (code, why in text.splitlines())


def test_a_login_that_was_refused_is_told(place: Place) -> None:
    """With what the server said."""
    place.configure(work=OAUTH)
    place.logins.put(WORK, TokenSet(access="a", refresh="r"))
    place.logins.refuse(place.logins.claim(WORK, lambda _: False, "renewing"), "t.test refuses the stored login")
    code, text = place.status()

    assert (1, True) == (code, "work: t.test refuses the stored login: acp-broker login work" in text.splitlines())


def test_who_renews_a_login_is_told(place: Place) -> None:
    """With the verdict on it: alive, here."""
    place.configure(work=OAUTH)
    place.logins.put(WORK, TokenSet(access="a", refresh="r"))
    place.logins.claim(WORK, lambda _: False, "renewing")
    _, text = place.status()
    _, found = place.told()

    assert ("live", None) == tuple(found["profiles"][0]["owner"][name] for name in ("verdict", "freeInS"))
    assert f"work: is being renewed by acp-broker (pid {os.getpid()} on " in text


def test_a_profile_that_rests_is_told_with_the_reason(place: Place) -> None:
    """Why a turn went elsewhere although all looks well."""
    clock = SystemClock()
    place.environ["WORK_KEY"] = "s3cret"
    place.configure(work={"type": "api_key", "key": "$WORK_KEY"})
    rest = {"wall": clock.wall() + 240.0, "now": clock.now() + 240.0, "length_s": 300.0}
    record = {"scope": {"type": "profile", "profile": "work"}, "last": "auth_rejected", "rests": 1, "rest": rest}
    place.home.mkdir()
    (place.home / "health.json").write_text(json.dumps({"health": {"records": [record]}, "fingerprints": {}}))
    _, text = place.status()
    _, found = place.told()

    assert "auth_rejected" == found["profiles"][0]["credentials"][0]["rest"]["why"]
    assert "s more, $WORK_KEY: auth_rejected" in text


@pytest.mark.parametrize(
    ("backends", "profiles", "what"),
    [
        ({"a": "work", "b": "work"}, {"work": OAUTH}, "the login of work"),
        ({"a": "work", "b": "work"}, {"work": {"type": "agent"}}, "the login of work"),
        (
            {"a": "work", "b": "home"},
            {"work": {"type": "api_key", "key": "$K"}, "home": {"type": "token", "token": "${K}", "env": "T"}},
            "$K",
        ),
    ],
)
def test_a_fallback_with_the_primarys_credential_is_warned_of(
    place: Place, backends: dict[str, str], profiles: dict[str, object], what: str
) -> None:
    """It fails when the primary does: that is no fallback."""
    place.configure(backends, **profiles)
    _, text = place.status()

    why = f"b has a credential of a, {what}: when it is refused, both are; a fallback needs one of its own"
    assert f"warning: acp.fallbacks[0]: {why}" in text.splitlines()


def test_a_config_without_profiles_is_no_trouble(place: Place) -> None:
    """Most begin so."""
    place.configure({})

    assert (0, f"{place.file} has no profiles: each agent has its own login\n") == place.status()


# --- set ------------------------------------------------------------------------------------------------------------


def test_a_secret_from_a_pipe_goes_into_the_keyring(place: Place, ring, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the name that config.json gives it; it is shown to nobody."""
    ring(there := Ring())
    typed(monkeypatch, b"n3w-s3cret\r\n")
    place.configure(work={"type": "token", "token": KEYRING, "env": "T"})
    code, text = place.run("set")

    assert (0, "n3w-s3cret", False) == (code, there.entries["acp-broker", "work-key"], "s3cret" in text)
    assert text.startswith("Kept in the keyring, as work-key.\n")


def test_without_a_keyring_it_goes_into_a_file_of_ours(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """And that is said."""
    typed(monkeypatch, b"n3w-s3cret")
    place.configure(work={"type": "token", "token": KEYRING, "env": "T"})
    code, text = place.run("set")

    file = f"{place.home}/auth/secrets.json"
    assert (0, "n3w-s3cret") == (code, place.store.get("acp-broker", "work-key"))
    assert text.startswith(
        f"No keyring service is here: kept in {file}, which you alone can read. It is not encrypted.\n"
    )
    assert (0, "ok") == (place.status()[0], place.told()[1]["profiles"][0]["credentials"][0]["state"])


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "a secret has at least one character, and no NUL; nothing was changed"),
        (b"\n", "a secret has at least one character, and no NUL; nothing was changed"),
        (b"a\0b", "a secret has at least one character, and no NUL; nothing was changed"),
        (b"\xff", "that is no text in UTF-8"),
        (b"a" * 70_000, "that is longer than any secret: more than 65536 bytes"),
    ],
)
def test_what_is_no_secret_changes_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch, data: bytes, why: str
) -> None:
    """A pipe whose program failed is empty."""
    typed(monkeypatch, data)
    place.configure(work={"type": "token", "token": KEYRING, "env": "T"})

    assert (1, f"acp-broker: {why}\n") == place.run("set")
    assert not place.store.path.exists()


def test_a_person_types_it_unseen(tmp_path: Path) -> None:
    """On a terminal nothing of it is echoed."""
    place = Place(tmp_path)
    place.configure(work={"type": "token", "token": KEYRING, "env": "T"})
    script = (
        "import os, pty, sys\n"
        "pid, fd = pty.fork()\n"
        "if pid == 0: os.execv(sys.executable, [sys.executable, '-m', 'acp_broker.cli.main', *sys.argv[1:]])\n"
        "said = b''\n"
        "while b'not shown' not in said: said += os.read(fd, 1024)\n"
        "os.write(fd, b'n3w-s3cret\\n')\n"
        "try:\n"
        "    while data := os.read(fd, 1024): said += data\n"
        "except OSError: pass\n"
        "print(said.decode())\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "--config", str(place.file), "auth", "set", "work"],
        env={**os.environ, **place.environ, "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (0, False, "n3w-s3cret") == (
        done.returncode,
        "s3cret" in done.stdout,
        place.store.get("acp-broker", "work-key"),
    )


def test_of_several_one_is_named(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the id that its reference has."""
    several = [{"source": "keyring", "id": "first"}, {"source": "keyring", "id": "second"}]
    place.configure(work={"type": "api_key", "key": several, "env": "T"})
    why = "acp-broker: profile work has these: first, second; name one of them behind work\n"

    assert [(1, why), (1, why)] == [place.run("set"), place.run("set", "work", "third")]
    typed(monkeypatch, b"n3w-s3cret")
    code, _ = place.run("set", "work", "second")
    assert (0, None, "n3w-s3cret") == (
        code,
        place.store.get("acp-broker", "first"),
        place.store.get("acp-broker", "second"),
    )


@pytest.mark.parametrize(
    ("profile", "why"),
    [
        (
            {"type": "api_key", "key": "$K"},
            VARIABLE,
        ),
        (
            {"type": "api_key", "key": {"source": "file", "provider": "kept", "id": "/k"}, "env": "T"},
            'reads file secret /k of "kept": it is kept in /kept.json',
        ),
        (
            {"type": "api_key", "key": {"source": "exec", "provider": "vault", "id": "k"}, "env": "T"},
            'reads exec secret k of "vault": the program of "vault" keeps it',
        ),
        (OAUTH, "holds no secret of its own: acp-broker login work"),
        ({"type": "agent"}, "holds no secret of its own: it is kept by the agent, or by Google's own tools"),
    ],
)
def test_what_is_kept_elsewhere_is_not_ours_to_set(place: Place, profile: object, why: str) -> None:
    """Where it is, is said; nobody is asked for a secret that would go nowhere."""
    providers = {"kept": {"source": "file", "path": "/kept.json"}, "vault": {"source": "exec", "command": "/vault"}}
    place.configure(secrets={"providers": providers}, work=profile)

    assert (1, f"acp-broker: profile work {why}\n") == place.run("set")


# --- logout ---------------------------------------------------------------------------------------------------------


def test_a_secret_is_removed(place: Place) -> None:
    """Once; then there is none."""
    place.configure(work={"type": "token", "token": KEYRING, "env": "T"})
    place.store.put("acp-broker", "work-key", "s3cret")
    first, second = place.run("logout"), place.run("logout")

    name = 'keyring secret work-key of "default"'
    assert (0, f"Removed {name}. Agents that run keep what they were started with.\n") == first
    assert (1, f"acp-broker: there is no {name}\n") == second


def test_a_login_is_ended(place: Place) -> None:
    """Where its server has no address for that, here alone."""
    place.configure(work=OAUTH)
    place.logins.put(WORK, TokenSet(access="a", refresh="r"))
    first, second = place.run("logout"), place.run("logout")

    assert (0, "Logged out of work. Agents that run keep what they were started with.\n") == first
    assert (1, "acp-broker: nobody is logged in to work\n") == second
    assert None is place.logins.read(WORK)


def test_a_server_that_cannot_be_told_keeps_nobody_logged_in(place: Place) -> None:
    """The file is gone all the same; that the tokens live on is said."""
    place.configure(work={**OAUTH, "revocationUrl": "http://127.0.0.1:9/revoke"})
    place.logins.put(WORK, TokenSet(access="a", refresh="r"))
    code, text = place.run("logout")

    assert (0, None) == (code, place.logins.read(WORK))
    assert "acp-broker: its server could not be told: cannot reach 127.0.0.1: " in text
    assert "revoked" not in text


AGENT = """
import json, pathlib, sys
for line in sys.stdin:
    asked = json.loads(line)
    if asked["method"] == "logout":
        pathlib.Path(sys.argv[1]).touch()
    said = {"protocolVersion": 1, "agentCapabilities": {"auth": {"logout": {}}}}
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": said}), flush=True)
"""


def test_an_agent_that_can_is_asked_to_log_out(place: Place) -> None:
    """ACP v1, authentication: its login is its own, and so is the end of it."""
    asked = place.folder / "asked"
    place.configure({"one": "work"}, work={"type": "agent"})
    config = json.loads(place.file.read_text())
    command = [sys.executable, "-c", AGENT, str(asked)]
    config["backends"]["one"] = {"kind": "acp", "command": command, "auth": "work"}
    write(place.folder, config)
    code, text = place.run("logout")

    assert (0, "The agent of one has logged out of work.\n", True) == (code, text, asked.exists())


@pytest.mark.parametrize(
    ("backends", "text"),
    [
        ({"one": "work"}, "the agent of one cannot be asked to log out; use its own command"),
        ({"one": None}, "no backend of the chain has profile work; log out with the agent's own command"),
    ],
)
def test_an_agent_that_cannot_log_out_has_a_command_of_its_own(place: Place, backends, text: str) -> None:
    """What to do instead is said."""
    place.configure(backends, script={}, work={"type": "agent"})

    assert (1, f"acp-broker: {text}\n") == place.run("logout")


# --- unlock ---------------------------------------------------------------------------------------------------------


def test_nothing_is_locked(place: Place) -> None:
    """That is no failure."""
    place.configure(work=OAUTH)

    assert (0, "Nobody renews work: nothing is locked.\n") == place.run("unlock")


def test_a_live_owner_is_not_robbed_by_mistake(place: Place) -> None:
    """Two that ask with one refresh token end the login. Who insists may."""
    place.configure(work=OAUTH)
    place.logins.put(WORK, TokenSet(access="a", refresh="r"))
    place.logins.claim(WORK, lambda _: False, "renewing")
    code, text = place.run("unlock")

    assert (1, True, True) == (code, "acp-broker auth unlock work --force\n" in text, f"pid {os.getpid()}" in text)
    assert place.logins.owner(WORK) is not None
    code, text = place.run("unlock", "work", "--force")
    assert (0, True, None) == (code, text.startswith("Removed the claim on work. "), place.logins.owner(WORK))


def test_a_claim_that_nobody_can_judge_is_taken(place: Place) -> None:
    """That is what the command is for."""
    place.configure(work=OAUTH)
    path = place.logins.claim_path(WORK)
    path.parent.mkdir(parents=True)
    path.write_text("half a rec")
    code, text = place.run("unlock")

    assert (0, False) == (code, path.exists())
    assert text.startswith("Removed the claim on work. the claim is no record of ours, or half of one, for 0 s, ")


@pytest.mark.parametrize("action", ["set", "logout", "unlock"])
def test_a_profile_that_is_not_there_is_said(place: Place, action: str) -> None:
    """With those that are."""
    place.configure(work={"type": "agent"}, other={"type": "agent"})

    why = f"no profile is called 'wrok' in {place.file}; known: work, other"
    assert (1, f"acp-broker: {why}\n") == place.run(action, "wrok")


def test_only_a_login_can_be_locked(place: Place) -> None:
    """The others are only read."""
    place.configure(work={"type": "agent"})

    assert (1, "acp-broker: work is no login: nobody renews it, so nothing of it is locked\n") == place.run("unlock")


@pytest.mark.parametrize(
    "words", [[], ["status", "x"], ["set"], ["set", "a", "b", "c"], ["unlock", "a", "b"], ["forget", "a"]]
)
def test_other_words_are_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The command line is wrong."""
    code = main(["auth", *words])

    why = "auth takes one of: status, set PROFILE, logout PROFILE, unlock PROFILE"
    assert (2, f"acp-broker: {why}; see acp-broker --help\n") == (code, capsys.readouterr().err)
