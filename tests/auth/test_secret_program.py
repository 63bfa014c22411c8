"""Secrets from real programs: OpenClaw's exec protocol, what a program is given, and how it is ended."""

import json
import time
from pathlib import Path

import pytest

from acp_broker.auth.secret_program import SecretProgram
from acp_broker.auth.secrets import Secrets
from acp_broker.clock import SystemClock
from acp_broker.edge.household import Household
from acp_broker.errors import Unresolved
from tests.auth.programs import program
from tests.support import processes

pytestmark = pytest.mark.anyio

MARK = "SECRET_PROGRAM_TEST"


@pytest.fixture
async def household():
    async with Household(lambda *_, **__: None) as made:
        yield made


@pytest.fixture
def ask(household: Household, tmp_path: Path):
    """Asks a program that does this."""

    async def ask(body: str, name: str = "work/key", **members: object) -> str:
        source = SecretProgram("vault", program(tmp_path, body), household.spawn, **members)
        async with Secrets(SystemClock()) as secrets:
            return await secrets.resolve(source, name)

    return ask


async def refused(ask, *given: object, **members: object) -> str:
    with pytest.raises(Unresolved) as raised:
        await ask(*given, **members)
    assert "s3cret" not in str(raised.value)
    return str(raised.value)


async def test_a_program_is_asked_by_the_protocol(ask) -> None:
    """OpenClaw's, so that its programs can be used as they are."""
    said = json.loads(await ask("answer({name: json.dumps(asked)})"))

    assert {"protocolVersion": 1, "provider": "vault", "ids": ["work/key"]} == said


async def test_an_answer_may_be_pretty_and_without_a_last_newline(ask) -> None:
    """Whatever writes JSON."""
    body = 'sys.stdout.write(json.dumps({"protocolVersion": 1, "values": {name: "s3cret"}}, indent=2))'

    assert "s3cret" == await ask(body)


async def test_it_has_no_environment_but_its_own(ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the broker's that config.json does not pass on; ours mark it, so that it can be found and ended."""
    monkeypatch.setenv("OTHER_API_KEY", "k")
    given = json.loads(await ask("answer({name: json.dumps(dict(os.environ))})", env=(("ITS_OWN", "1"),)))
    ours = {key for key in given if key.startswith("ACP_BROKER_")}

    # LC_CTYPE: Python sets it for itself where there is no locale.
    assert {"ITS_OWN"} == set(given) - ours - {"LC_CTYPE"}


async def test_no_shell_reads_its_arguments(ask) -> None:
    """Nor the name of the secret."""
    assert "$HOME; *" == await ask("answer({name: sys.argv[1]})", args=("$HOME; *",))


async def test_it_is_asked_in_its_own_folder(ask, tmp_path: Path) -> None:
    """Not in whatever folder the broker was started in."""
    assert str(tmp_path) == await ask("answer({name: os.getcwd()})")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ('answer({}, errors={name: {"message": "sealed"}})', ": sealed"),
        ('answer({"other": "s3cret"})', ": no text for 'work/key' in its answer"),
        ('answer({name: ["s3cret"]})', ": no text for 'work/key' in its answer"),
        ('print("s3cret")', " gave no answer of the exec protocol"),
        ("pass", " gave no answer of the exec protocol"),
        ('print(json.dumps({"protocolVersion": 2, "values": {}}))', " speaks version 2 of the exec protocol, not 1"),
        (
            'sys.stderr.write("s3cret"); answer({name: "s3cret"}); sys.exit(3)',
            " exited with code 3; run it by hand to see why",
        ),
        ("os.kill(os.getpid(), 9)", " was killed by signal 9; run it by hand to see why"),
        ('print("s" * 2000)', " said more than 1000 bytes (maxOutputBytes)"),
        ('[print("s" * 99) for _ in range(99)]', " said more than 1000 bytes (maxOutputBytes)"),
        ("while True: sys.stdout.write('s' * 99)", " said more than 1000 bytes (maxOutputBytes)"),
    ],
)
async def test_what_it_says_instead_is_told(ask, tmp_path: Path, body: str, why: str) -> None:
    """And nothing of what may be a secret: neither its stderr, nor an answer that cannot be read."""
    assert f"{tmp_path / 'helper'}{why}" == await refused(ask, body, max_bytes=1000)


async def test_an_answer_that_is_not_json_is_the_secret_where_config_says_so(ask) -> None:
    """jsonOnly: false."""
    assert "s3cret" == await ask('print("s3cret")', json_only=False)


async def test_a_program_that_hangs_is_ended_with_all_that_it_started(ask) -> None:
    """In time, and nothing of it is left."""
    body = "import subprocess; subprocess.Popen(['/bin/sleep', '600'], start_new_session=True); time.sleep(600)"
    began = time.monotonic()
    why = await refused(ask, body, limit_s=0.5, env=((MARK, "1"),))

    assert ("no answer within 0.5 s", []) == (why, list(processes.carrying(f"{MARK}=1")))
    assert time.monotonic() - began < 5


async def test_a_program_that_says_nothing_for_too_long_is_ended(ask, tmp_path: Path) -> None:
    """noOutputTimeoutMs: shorter than what a slow one may take in all."""
    why = await refused(ask, "time.sleep(600)", silence_s=0.3)

    assert f"{tmp_path / 'helper'} said nothing for 0.3 s" == why


async def test_what_it_leaves_behind_is_ended(ask) -> None:
    """A secret program has no business once it has answered."""
    body = "import subprocess; subprocess.Popen(['/bin/sleep', '600'], stdout=2); answer({name: 's3cret'})"

    assert ("s3cret", []) == (await ask(body, env=((MARK, "2"),)), list(processes.carrying(f"{MARK}=2")))


@pytest.mark.parametrize("mode", [0o702, 0o720])
async def test_a_program_that_others_can_change_is_not_started(household, tmp_path: Path, mode: int) -> None:
    """They would be handed what it is asked for, and run as us."""
    path = program(tmp_path, "Path('ran').touch()")
    path.chmod(mode)
    with pytest.raises(Unresolved) as raised:
        await SecretProgram("vault", path, household.spawn).look_up("k")

    assert (f"{path} can be changed by others: chmod go-w {path}", False) == (
        str(raised.value),
        (tmp_path / "ran").exists(),
    )


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({}, "{link} is a link; name {path}, or set allowSymlinkCommand"),
        ({"may_be_link": True}, None),
        ({"may_be_link": True, "trusted": ("{folder}",)}, None),
        ({"may_be_link": True, "trusted": ("{folder}/elsewhere",)}, "{link} is in none of the trustedDirs"),
    ],
)
def test_a_link_is_followed_where_config_lets_it(tmp_path: Path, members: dict, why: str | None) -> None:
    """OpenClaw's allowSymlinkCommand and trustedDirs."""
    path, link = program(tmp_path, ""), tmp_path / "link"
    link.symlink_to(path)
    trusted = tuple(Path(one.replace("{folder}", str(tmp_path))) for one in members.get("trusted", ()))
    source = SecretProgram("vault", link, None, **{**members, "trusted": trusted})
    found = None
    try:
        source.distrust()
    except Unresolved as error:
        found = str(error)

    assert (why and why.format(link=link, path=path)) == found


@pytest.mark.parametrize(
    ("mode", "why"),
    [(0o600, "{} is no program; make it executable (chmod +x)"), (None, "cannot start {}: No such file or directory")],
)
def test_a_program_that_cannot_be_started_is_said(tmp_path: Path, mode: int | None, why: str) -> None:
    """Without starting it: `config check` asks so."""
    path = program(tmp_path, "")
    path.unlink() if mode is None else path.chmod(mode)
    with pytest.raises(Unresolved) as raised:
        SecretProgram("vault", path, None).distrust()

    assert why.format(path) == str(raised.value)


def test_its_environment_is_in_no_repr() -> None:
    """It may hold what opens the vault."""
    assert "s3cret" not in repr(SecretProgram("vault", Path("/helper"), None, env=(("VAULT_TOKEN", "s3cret"),)))
