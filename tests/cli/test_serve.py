"""`acp-broker serve`: how it begins, and the one sentence of each reason why it cannot."""

import os
import pty
import select
import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.broker import chain
from tests.support.daemon import WEBSOCKET, Daemon
from tests.support.talk import DEADLINE_S

SCRIPTED = {"kind": "scripted"}


def config(**websocket: object) -> dict:
    return chain(one=SCRIPTED, frontends={"websocket": {"port": 0, **websocket}})


# Wherever these tests run.
NO_KEYRING = {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}
NO_ENTRY = """\
keyring secret k of "default": no keyring service is here, and {home}/auth/secrets.json has no entry 'k' of service \
'acp-broker' (acp-broker auth set)"""


def refused(folder: Path, content: dict, **members: object) -> str:
    """What it says instead of starting; nothing of it is left.

    Without the lines of its log: it may have swept what another broker on this machine has just left.
    """
    daemon = Daemon(folder, content, **members)
    ended = daemon.ask("serve")
    assert (1, "") == (ended.returncode, ended.stdout), ended
    assert not (daemon.home / "daemon.json").exists()
    return "".join(line for line in ended.stderr.splitlines(keepends=True) if not line.startswith("{"))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One of our own, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = folder / "key.pem"
    command = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return _certificate(folder, key), key


def _certificate(folder: Path, key: Path) -> Path:
    made = folder / "certificate.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    command = ["openssl", "req", "-x509", "-new", "-key", key, *names, "-out", made]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return made


def until_served(daemon: Daemon, wanted: Path) -> str:
    """Ask until that certificate is shown: nothing says that the signal has arrived."""
    place = ("127.0.0.1", urlsplit(daemon.url).port)
    deadline = time.monotonic() + DEADLINE_S
    while (now := ssl.get_server_certificate(place, timeout=DEADLINE_S)) != wanted.read_text():
        assert time.monotonic() < deadline
    return now


def test_it_says_where_it_listens(tmp_path: Path) -> None:
    """Once it answers there; and never the token."""
    with Daemon(tmp_path, config()) as daemon:
        said, token = daemon.stderr.read_text(), daemon.token
        where = (daemon.ready["socket"], daemon.ready["websocket"], daemon.ready["pid"])
        address = daemon.status()

    assert (address["socket"], address["websocket"], daemon.process.pid) == where
    assert token not in said


def test_without_websocket_in_config_there_is_none(tmp_path: Path) -> None:
    """Nobody listens on a port that nobody asked for; and no token is made."""
    with Daemon(tmp_path, chain(one=SCRIPTED)) as daemon:
        assert "websocket" not in daemon.ready
        assert not (daemon.home / "token").exists()


def test_the_log_is_where_config_says(tmp_path: Path) -> None:
    """Then stderr is for what cannot be written there."""
    place = tmp_path / "serve.jsonl"
    daemon = Daemon(tmp_path, {**chain(one=SCRIPTED), "log": {"file": str(place)}})
    daemon.log_file = place
    with daemon:
        daemon.unix().open()

    assert "" == daemon.stderr.read_text()


def test_a_person_is_told_in_words(tmp_path: Path) -> None:
    """On a terminal there is a line for them, and how to get the token."""
    daemon = Daemon(tmp_path, config(), env={"TERM": "dumb", "COLUMNS": "400"})
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        daemon.command("serve"), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs, env=daemon.env
    )
    os.close(theirs)
    said = b""
    try:
        while b"ready: " not in said or not said.endswith(b"\n"):
            assert select.select([ours], [], [], DEADLINE_S)[0], said
            said += os.read(ours, 4096)
    finally:
        process.terminate()
        process.wait(DEADLINE_S)
        os.close(ours)
    line = next(line for line in said.decode().splitlines() if line.startswith("ready: "))

    assert "bridges connect to ws://127.0.0.1:" in line
    assert line.endswith("with the token of `acp-broker token show`")


def test_many_files_may_be_open(tmp_path: Path) -> None:
    """Each session has a log and an agent's pipes: the usual 1024 are three hundred sessions."""
    daemon = Daemon(tmp_path, chain(one=SCRIPTED))
    daemon.wrapper = ["/bin/sh", "-c", 'ulimit -S -n 256; exec "$@"', "sh"]
    with daemon:
        limits = Path(f"/proc/{daemon.process.pid}/limits").read_text()
    soft, hard = next(line.split()[3:5] for line in limits.splitlines() if line.startswith("Max open files"))

    assert int(soft) == min(int(hard), 65_536)


# --- TLS


def test_tls_is_spoken_where_config_has_a_certificate(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """The same conversation."""
    made, key = certificate
    with Daemon(tmp_path, config(tls={"certificate": str(made), "key": str(key)})) as daemon:
        bridge = daemon.websocket(ssl=ssl.create_default_context(cafile=made))
        turn = bridge.prompt(bridge.open())
        url = daemon.url

    assert ("wss://127.0.0.1:", "end_turn") == (url[:16], turn.reply["result"]["stopReason"])


def test_sighup_takes_up_another_certificate(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """A certificate that was renewed needs no restart; who is connected stays, and a broken one changes nothing."""
    made, key = certificate
    mine = tmp_path / "mine.pem"
    mine.write_bytes(made.read_bytes())
    with Daemon(tmp_path, config(tls={"certificate": str(mine), "key": str(key)})) as daemon:
        bridge = daemon.websocket(ssl=ssl.create_default_context(cafile=made))
        session = bridge.open()
        mine.write_text("no certificate")
        daemon.signal(signal.SIGHUP)
        why = daemon.until_logged("certificate_refused")["why"]
        still = ssl.get_server_certificate(("127.0.0.1", urlsplit(daemon.url).port), timeout=30)
        renewed = _certificate(tmp_path, key)
        mine.write_bytes(renewed.read_bytes())
        daemon.signal(signal.SIGHUP)
        now = until_served(daemon, renewed)
        turn = bridge.prompt(session)

    assert (True, made.read_text(), renewed.read_text()) == ("no certificate" not in why, still, now)
    assert "end_turn" == turn.reply["result"]["stopReason"]


# --- why it cannot begin


def test_a_second_one_is_refused_and_disturbs_nobody(tmp_path: Path) -> None:
    """One state folder, one daemon: the first goes on as if nothing had been."""
    with Daemon(tmp_path, config()) as daemon:
        editor = daemon.unix()
        session = editor.open()
        ended = daemon.ask("serve")
        turn = editor.prompt(session)
        later = daemon.unix().open()

    why = f"acp-broker: another acp-broker serve (pid {daemon.process.pid}) already runs for {daemon.home}\n"
    assert (1, why) == (ended.returncode, ended.stderr)
    assert ("end_turn", True) == (turn.reply["result"]["stopReason"], bool(later))


def test_a_second_one_leaves_the_log_of_the_first_where_it_is(tmp_path: Path) -> None:
    """Opening a log sets aside one that has grown too long: the first would go on writing to what was set aside."""
    place = tmp_path / "serve.jsonl"
    daemon = Daemon(tmp_path, {**chain(one=SCRIPTED), "log": {"file": str(place)}})
    daemon.log_file = place
    with daemon:
        os.truncate(place, 11 * 1024 * 1024)
        ended = daemon.ask("serve")

    assert (1, False) == (ended.returncode, (tmp_path / "serve.jsonl.1").exists())


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    """With what to do about it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(tmp_path, config(port=port))

    fix = "end what listens there, or set frontends.websocket.port (0: any free one) or .host"
    assert f"acp-broker: cannot listen on 127.0.0.1 port {port}: Address already in use; {fix}\n" == said


def test_a_certificate_that_is_not_there_is_named(tmp_path: Path) -> None:
    """It does not go on without TLS."""
    said = refused(tmp_path, config(tls={"certificate": "/nowhere/c.pem", "key": "/nowhere/k.pem"}))

    why = "cannot read /nowhere/c.pem: No such file or directory; name a PEM file that you may read"
    assert f"acp-broker: frontends.websocket.tls: {why}\n" == said


def test_a_certificate_that_is_none_is_named(tmp_path: Path) -> None:
    """In one line."""
    odd = tmp_path / "odd.pem"
    odd.write_text("hello")
    said = refused(tmp_path, config(tls={"certificate": str(odd), "key": str(odd)}))

    assert (1, True) == (said.count("\n"), said.startswith(f"acp-broker: frontends.websocket.tls: {odd} and {odd} "))


def test_a_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """It may be known."""
    token = tmp_path / "state" / "token"
    token.parent.mkdir(mode=0o700)
    token.write_text("x" * 32)
    token.chmod(0o644)
    said = refused(tmp_path, config())

    fix = f"chmod 600 {token}, and if anybody did: acp-broker token rotate"
    assert f"acp-broker: others may read {token} (mode 0644): {fix}\n" == said


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        ("${NO_SUCH_TOKEN}", "$NO_SUCH_TOKEN: is not set in this environment"),
        ({"source": "keyring", "id": "k"}, NO_ENTRY),
    ],
)
def test_a_token_that_cannot_be_looked_up_is_refused(tmp_path: Path, secret: object, why: str) -> None:
    """Neither an open door, nor another key than config.json names."""
    said = refused(tmp_path, config(token=secret), env=NO_KEYRING)

    assert f"acp-broker: frontends.websocket.token: {why.format(home=tmp_path / 'state')}\n" == said


def test_a_configured_token_lets_in_and_stays_with_us(tmp_path: Path) -> None:
    """Agents are not given what opens the door to all of them."""
    secret = "b" * 32
    content = chain(primary={}, frontends={"websocket": {"port": 0, "token": "${BRIDGE_TOKEN}"}})
    with Daemon(tmp_path, content, env={"BRIDGE_TOKEN": secret}) as daemon:
        bridge, editor = daemon.websocket(token=secret), daemon.unix()
        bridge.open()
        editor.open()
        environments = [Path(f"/proc/{one.pid}/environ").read_bytes() for one in daemon.agents("primary")]

    assert (2, False) == (len(environments), any(secret.encode() in one for one in environments))


def test_a_config_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    """As `config check` does."""
    said = refused(tmp_path, config(host="0.0.0.0"))

    assert "frontends.websocket  other machines can reach this host" in said


def test_a_state_folder_that_is_none_is_said(tmp_path: Path) -> None:
    """The disk's own words."""
    (tmp_path / "file").write_text("")
    said = Daemon(tmp_path, config(), home=tmp_path / "file").ask("serve").stderr

    why = f"{tmp_path / 'file'} is no folder; set ACP_BROKER_HOME to one, or move the file away"
    assert f"acp-broker: {why}\n" == said


# --- who may come in


@pytest.mark.parametrize(
    ("hello", "why"),
    [
        ({"version": "0.0.9"}, "acp-broker serve is version 0.1.0, this is 0.0.9: restart it"),
        ({"config": "/other.json"}, "acp-broker serve runs with another config: {config}"),
    ],
)
def test_a_relay_that_does_not_fit_is_told_why(tmp_path: Path, hello: dict, why: str) -> None:
    """It then runs its own broker, in process, and says so."""
    with Daemon(tmp_path, config()) as daemon:
        greeting = daemon.greeted(**hello)

    assert {"refused": why.format(config=daemon.config)} == greeting


def test_a_relay_may_reach_the_same_config_by_another_name(tmp_path: Path) -> None:
    """A link, or a folder above it that is one."""
    (tmp_path / "link").symlink_to(tmp_path)
    with Daemon(tmp_path, config()) as daemon:
        greeting = daemon.greeted(config=str(tmp_path / "link" / "config.json"))

    assert {"welcome": True} == greeting


def test_a_config_that_is_a_link_to_itself_is_another_one(tmp_path: Path) -> None:
    """A slip of one editor's setup, which the daemon and everybody else in it must survive."""
    (tmp_path / "loop.json").symlink_to(tmp_path / "loop.json")
    with Daemon(tmp_path, config()) as daemon:
        greeting = daemon.greeted(config=str(tmp_path / "loop.json"))

    assert {"refused": f"acp-broker serve runs with another config: {daemon.config}"} == greeting


def test_a_rotated_token_holds_at_once(tmp_path: Path) -> None:
    """Who came by the old one is cut off within a second or so, and does not come back with it."""
    with Daemon(tmp_path, chain(primary=SCRIPTED, frontends=WEBSOCKET)) as daemon:
        bridge, editor, old = daemon.websocket(), daemon.unix(), daemon.token
        bridge.open()
        session = editor.open()
        rotated = daemon.ask("token", "rotate")
        bridge.until_end()
        again = daemon.get("/acp", daemon.upgrade(old))
        anew = daemon.websocket()
        anew.open()
        turn = editor.prompt(session)

    assert (0, daemon.token) == (rotated.returncode, rotated.stdout.strip())
    assert (401, 1008, "the token has changed") == (again[0], bridge.code, bridge.reason)
    assert "end_turn" == turn.reply["result"]["stopReason"]


def test_a_token_that_becomes_readable_lets_nobody_in(tmp_path: Path) -> None:
    """Until its mode is right again; who is in stays."""
    with Daemon(tmp_path, chain(primary=SCRIPTED, frontends=WEBSOCKET)) as daemon:
        bridge = daemon.websocket()
        session = bridge.open()
        (daemon.home / "token").chmod(0o644)
        why = daemon.until_logged("token_unusable")["why"]
        closed = daemon.get("/acp", daemon.upgrade())
        turn = bridge.prompt(session)
        (daemon.home / "token").chmod(0o600)
        daemon.websocket().open()

    assert (401, True) == (closed[0], why.startswith("others may read"))
    assert "end_turn" == turn.reply["result"]["stopReason"]
