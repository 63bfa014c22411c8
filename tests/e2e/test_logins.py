"""Logins that the broker renews: a turn gets its token, whoever died with it, and nobody waits for a provider."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from acp_broker.auth.lease import Held, Logins
from acp_broker.clock import SystemClock
from acp_broker.core.names import ProfileId
from acp_broker.core.ownership import Owner, written
from tests.support.broker import ROLE, BrokerProcess, agent, chain
from tests.support.daemon import Daemon
from tests.support.namespaces import needs_namespaces
from tests.support.renewing import WORK, stored
from tests.support.rotating import Rotating, rotating

SPARE = ProfileId("spare")
LEASING_S = 2.0


def says(text: str) -> dict:
    return {"turns": [[{"do": "say", "text": text}]] * 3}


def oauth(server: Rotating) -> dict:
    return {"type": "oauth", "clientId": "me", "tokenUrl": server.url, "env": "THE_TOKEN"}


def config(*servers: Rotating, leasing_s: float = 10.0) -> dict:
    """A primary with the login WORK at the first server; a spare, with the login SPARE if there is a second."""
    profiles = {name: oauth(server) for name, server in zip(("work", "spare"), servers, strict=False)}
    has_spare = "spare" in profiles
    made = chain(
        primary=agent(says("primary"), auth="work"),
        spare=agent(says("spare"), **({"auth": "spare"} if has_spare else {})),
        limits={"leasingMs": int(leasing_s * 1000), "learnMs": 100, "sessionNewMs": 100},
    )
    return {**made, "auth": {"profiles": profiles}}


def put(home: Path, server: Rotating, profile: ProfileId = WORK) -> None:
    """A login whose access token has ended."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    login = stored(home, server.refresh)
    if profile is not WORK:
        Logins(home, SystemClock()).remove(WORK)
        Logins(home, SystemClock()).put(profile, login.tokens)


def tokens_of(broker: BrokerProcess, name: str) -> set[str]:
    """What its agents were given."""
    entries = [
        entry.decode()
        for one in broker.agents(name)
        for entry in Path(f"/proc/{one.pid}/environ").read_bytes().split(b"\0")
    ]
    return {entry.partition("=")[2] for entry in entries if entry.startswith("THE_TOKEN=")}


def test_an_agent_is_started_with_a_token_that_is_good(tmp_path: Path) -> None:
    """Renewed before it is started, once, however many sessions want it."""
    with rotating(Rotating()) as server:
        put(tmp_path / "home", server)
        with BrokerProcess(tmp_path, config(server), home=tmp_path / "home") as broker:
            turns = [broker.prompt(broker.open()) for _ in range(2)]
            given = tokens_of(broker, "primary")

    assert ([["say primary"]] * 2, {"canary-access-1"}, 1) == ([one.words for one in turns], given, len(server.asked))


def test_an_agent_whose_token_has_ended_is_started_anew_with_another(tmp_path: Path) -> None:
    """Its environment is what it was started with: a token that has ended there would fail the turn."""
    with rotating(Rotating(lasts_s=1.0)) as server:
        put(tmp_path / "home", server)
        with BrokerProcess(tmp_path, config(server), home=tmp_path / "home") as broker:
            session = broker.open()
            first = broker.prompt(session)
            before = tokens_of(broker, "primary")
            _until(lambda: not broker_has_good_token(tmp_path / "home"))
            second = broker.prompt(session)
            after = tokens_of(broker, "primary")

    assert (["say primary"], ["say primary"]) == (first.words, second.words)
    assert not before & after


def broker_has_good_token(home: Path) -> bool:
    login = Logins(home, SystemClock()).read(WORK)
    return time.time() < login.tokens.expires_at


def _until(is_so, within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_fallback_answers_and_renews_its_own_while_the_primarys_renewal_hangs(tmp_path: Path) -> None:
    """Within the primary's limit for a credential; and what the primary's provider says at last is kept."""
    answered = threading.Event()
    with rotating(Rotating()) as hangs, rotating(Rotating()) as well:
        hangs.hold = lambda: answered.wait(30)
        put(tmp_path / "home", well, SPARE)
        put(tmp_path / "home", hangs)
        both = config(hangs, well, leasing_s=LEASING_S)
        with BrokerProcess(tmp_path, both, home=tmp_path / "home") as broker:
            session = broker.open()
            began = time.monotonic()
            turn = broker.prompt(session)
            took = time.monotonic() - began
            given = tokens_of(broker, "spare")
            answered.set()
            _until(lambda: broker.log("login_renewed")[1:])
            again = broker.prompt(session)
            login = Logins(tmp_path / "home", SystemClock()).read(WORK)

    assert (["say spare"], ["primary profile_busy", "spare"]) == (turn.words, turn.attempts)
    assert ({well.access}, 1, 1) == (given, len(well.asked), len(hangs.asked))
    # The limit, and what it takes to start the spare on a busy machine.
    assert took < LEASING_S + 5
    assert (["say primary"], hangs.access) == (again.words, login.tokens.access)


def test_a_login_that_is_refused_is_said_once_and_rests_until_there_is_another(tmp_path: Path) -> None:
    """Its provider is asked once; a new login is noticed, and the primary is back at once."""
    with rotating(Rotating()) as server:
        put(tmp_path / "home", server)
        server.is_revoked = True
        with BrokerProcess(tmp_path, config(server), home=tmp_path / "home") as broker:
            turns = [broker.prompt(broker.open()) for _ in range(2)]
            server.is_revoked = False
            stored(tmp_path / "home", server.refresh, left_s=3600)
            _until(lambda: broker.log("login_found"))
            back = broker.prompt(broker.open())
            said = broker.log("login_refused")
            why = broker.log("attempt_failed")[0]["why"]

    assert [["primary auth_rejected", "spare"], ["spare"]] == [one.attempts for one in turns]
    assert (1, 1, ["say primary"]) == (len(server.asked), len(said), back.words)
    assert why.startswith("profile work: 127.0.0.1 refuses the stored login: invalid_grant"), why
    assert why.endswith("; log in anew: acp-broker login work"), why


def test_nobody_is_logged_in_until_somebody_is(tmp_path: Path) -> None:
    """Said with the command, and the spare answers; the next turn after a login is the primary's."""
    home = tmp_path / "home"
    with rotating(Rotating()) as server, BrokerProcess(tmp_path, config(server), home=home) as broker:
        turn = broker.prompt(broker.open())
        why = [line["why"] for line in broker.log("attempt_failed")]
        stored(home, server.refresh, left_s=3600)
        _until(lambda: broker.log("login_found"))
        back = broker.prompt(broker.open())

    assert (["primary auth_missing", "spare"], ["primary"]) == (turn.attempts, back.attempts)
    assert ["profile work has no credential: nobody is logged in: acp-broker login work"] == why


# A claim of the process that runs this, which dies at once and leaves it.
_CLAIM = """
import os, signal, sys
from pathlib import Path
from acp_broker.auth.lease import Logins
from acp_broker.clock import SystemClock
Logins(Path(sys.argv[1]), SystemClock()).claim("work", lambda _: False, "renewing the login")
os.kill(os.getpid(), signal.SIGKILL)
"""


def claim_left_by(home: Path, *, wrapped: tuple[str, ...] = (), **members: object) -> None:
    """A claim on WORK by a process that is dead; then as if its record said something else."""
    subprocess.run([*wrapped, sys.executable, "-c", _CLAIM, str(home)], check=False, timeout=60)
    path = Logins(home, SystemClock()).claim_path(WORK)
    owner = replace(_owner(path), **members)
    path.write_bytes(written(owner))


def _owner(path: Path) -> Owner:
    return Owner(**json.loads(path.read_text()))


@pytest.mark.parametrize(
    ("left", "verdict"),
    [
        ({}, "dead"),
        ({"pid": 1, "start": 1}, "recycled pid"),
        ({"boot": "another"}, "rebooted"),
    ],
)
def test_a_claim_that_a_dead_process_left_holds_up_no_turn(tmp_path: Path, left: dict, verdict: str) -> None:
    """Its owner is provably gone: the next turn renews at once, and the log says from whom it took over."""
    home = tmp_path / "home"
    with rotating(Rotating()) as server:
        put(home, server)
        claim_left_by(home, **left)
        with BrokerProcess(tmp_path, config(server), home=home) as broker:
            turn = broker.prompt(broker.open())
            [told], awaited = broker.log("claim_taken_over"), broker.log("claim_awaited")

    assert (["say primary"], 1, verdict, []) == (turn.words, len(server.asked), told["verdict"], awaited)
    assert "renewing the login for" in told["owner"]


def test_a_broker_that_is_killed_while_its_provider_answers_holds_up_no_turn_of_the_next(tmp_path: Path) -> None:
    """The next one asks once more, at a provider that says again what it has just said."""
    home, answered, asked = tmp_path / "home", threading.Event(), threading.Event()

    def hold() -> None:
        asked.set()
        answered.wait(30)

    with rotating(Rotating(is_forgiving=True)) as server:
        server.hold = hold
        put(home, server)
        made = config(server)
        with BrokerProcess(tmp_path, made, home=home) as broker:
            broker.open()
            assert asked.wait(30)
            broker.kill()
        answered.set()
        with BrokerProcess(tmp_path, made, home=home) as broker:
            turn = broker.prompt(broker.open())
            told = broker.log("claim_taken_over")

    assert (["say primary"], 2, False) == (turn.words, len(server.asked), server.is_revoked)
    assert ["dead"] == [line["verdict"] for line in told]


@needs_namespaces
def test_a_claim_of_the_first_process_of_a_container_is_taken_in_time(tmp_path: Path) -> None:
    """Whether its pid 1 lives cannot be seen: it has as long as a renewal can take, and the log says so."""
    home = tmp_path / "home"
    with rotating(Rotating()) as server:
        put(home, server)
        claim_left_by(home, wrapped=("unshare", "--pid", "--fork", "--mount-proc"))
        path = Logins(home, SystemClock()).claim_path(WORK)
        owner = _owner(path)
        # As if it had been there for nearly as long: four seconds are left.
        path.write_bytes(written(replace(owner, since=owner.since - 56, since_wall=owner.since_wall - 56)))
        with BrokerProcess(tmp_path, config(server), home=home) as broker:
            began = time.monotonic()
            turn = broker.prompt(broker.open())
            took = time.monotonic() - began
            awaited, taken = broker.log("claim_awaited"), broker.log("claim_taken_over")

    assert (1, ["say primary"], 1) == (owner.pid, turn.words, len(server.asked))
    assert 1 < took < 10
    assert ["another pid namespace"] == [line["verdict"] for line in awaited]
    assert ["another pid namespace"] == [line["verdict"] for line in taken]


def test_a_living_owner_is_not_robbed_and_the_turn_goes_on_elsewhere(tmp_path: Path) -> None:
    """Within the limit; who reads the log knows whom to ask, and which command settles it."""
    home = tmp_path / "home"
    with rotating(Rotating()) as server:
        put(home, server)
        ours = Logins(home, SystemClock())
        held = ours.claim(WORK, lambda _: False, "renewing the login")
        with BrokerProcess(tmp_path, config(server, leasing_s=LEASING_S), home=home) as broker:
            turn = broker.prompt(broker.open())
            [why] = [line["why"] for line in broker.log("attempt_failed")]
            said = broker.log("claim_not_had")

    assert isinstance(held, Held)
    assert {("live", "acp-broker auth unlock work")} >= {(line["verdict"], line["fix"]) for line in said}
    assert (["primary profile_busy", "spare"], 0) == (turn.attempts, len(server.asked))
    assert f"pid {held.owner.pid} " in why, why
    assert why.endswith("is not taken from it; if that is wrong: acp-broker auth unlock work"), why


# Says its token in an error, as providers do.
_TELLS = """
import json, os, sys
failing = {"turns": [[{"do": "fail", "code": 401, "message": "the token " + os.environ["THE_TOKEN"] + " is invalid"}]]}
os.execv(sys.executable, [sys.executable, "-m", "backends.scripted", "--script", json.dumps(failing)])
"""


def test_no_token_is_anywhere_but_in_the_file_of_its_login(tmp_path: Path) -> None:
    """Neither in logs, session logs, errors, status nor with another backend's agent, whoever quotes it."""
    home = tmp_path / "home"
    with rotating(Rotating()) as server, rotating(Rotating()) as other:
        put(home, other, SPARE)
        other.is_revoked = True
        put(home, server)
        made = config(server, other)
        made["backends"]["primary"]["command"] = [sys.executable, "-c", _TELLS]
        made["backends"]["third"] = agent(says("third"), env={ROLE: "third"})
        made["acp"]["fallbacks"].append("third")
        for profile in made["auth"]["profiles"].values():
            profile["clientSecret"] = "${CLIENT_SECRET}"
        with Daemon(tmp_path, made, home=home, env={"CLIENT_SECRET": "canary-client"}) as daemon:
            editor = daemon.unix()
            turn = editor.prompt(editor.open())
            given = tokens_of(daemon, "primary")
            others = [Path(f"/proc/{one.pid}/environ").read_bytes() for one in daemon.agents("third")]
            said = [daemon.ask("status", "--json"), daemon.ask("config", "check"), daemon.ask("sessions", "list")]
    kept = {Logins(home, SystemClock()).path(profile) for profile in (WORK, SPARE)}
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path not in kept]

    assert ["primary auth_rejected", "spare auth_rejected", "third"] == turn.attempts
    assert {"canary-access-1"} == given
    assert others
    assert not [one for one in others if b"canary" in one]
    assert "canary" not in json.dumps(turn.heard) + "".join(one.stdout + one.stderr for one in said)
    assert [] == [path for path in files if b"canary" in path.read_bytes()]


def test_an_agent_is_given_googles_token(tmp_path: Path) -> None:
    """Of application default credentials; made once for all sessions, and written nowhere."""
    file = tmp_path / "adc.json"
    with rotating(Rotating()) as server:
        login = {"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": server.refresh}
        file.write_text(json.dumps({**login, "token_uri": server.url}))
        file.chmod(0o600)
        made = config(server)
        made["auth"]["profiles"]["work"] = {"type": "google", "credentialsFile": str(file), "env": "THE_TOKEN"}
        with BrokerProcess(tmp_path, made, home=tmp_path / "home") as broker:
            turns = [broker.prompt(broker.open()) for _ in range(2)]
            given = tokens_of(broker, "primary")
            is_written = (tmp_path / "home" / "auth").exists()

    assert [["say primary"]] * 2 == [one.words for one in turns]
    assert ({"canary-access-1"}, 1, False) == (given, len(server.asked), is_written)
