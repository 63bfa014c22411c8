"""What `init` finds and how it chooses, with agents that are described here: no machine's own."""

import errno
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Barrier, Thread

import anyio
import pytest

from acp_broker.app.logins import Seen
from acp_broker.app.setup import choosing, finding, servers, writing
from acp_broker.app.setup.finding import Agent, Found
from acp_broker.app.setup.servers import Known, Server
from acp_broker.errors import UsageError
from backends.acp.row import Login, Pointing, Row
from tests.support.machine import Machine
from tests.support.talk import DEADLINE_S

FILE = Login(files=("~/.x/login",), environment=("X_KEY",))


def row(provider: str = "", **members: object) -> Row:
    return Row(**{"provider": provider, "command": ("x",), "login": FILE, **members})


def agent(
    name: str, provider: str = "", *, login: Seen | None = None, program: str | None = "/bin/x", **members
) -> Agent:
    """One that is installed and logged in, unless said otherwise."""
    return Agent(
        name, row(provider, **members), Seen(files=(f"~/.{name}",)) if login is None else login, ("x",), program
    )


def order(*agents: Agent, servers: tuple[Server, ...] = ()) -> list[str]:
    return [one.id for one in choosing.chosen(Found(agents, servers))]


# --- choosing


def test_nobody_makes_no_chain() -> None:
    """There is no config.json for that."""
    assert [] == order(Agent("a", row(), Seen()))


def test_the_order_is_that_of_the_known_agents() -> None:
    """Where nothing speaks for another one."""
    assert ["a", "b", "c"] == order(agent("a", "p"), agent("b", "q"), agent("c", "r"))


def test_those_that_are_logged_in_come_first() -> None:
    """Those whose login was not seen may have it where nobody looks, in a keychain; they come behind."""
    assert ["b", "a"] == order(agent("a", "p", login=Seen()), agent("b", "q"))


def test_an_agent_that_needs_no_login_is_logged_in() -> None:
    """It runs on this machine, say."""
    needs_none = Agent("b", Row(provider="q", command=("x",)), Seen(), ("x",), "/bin/x")

    assert ["b", "a"] == order(agent("a", "p", login=Seen()), needs_none)


def test_nobody_stands_behind_one_of_the_same_provider_while_another_is_left() -> None:
    """When a provider is down, the next agent should not ask it too."""
    assert ["a", "c", "b"] == order(agent("a", "p"), agent("b", "p"), agent("c", "q"))


def test_with_one_provider_alone_the_chain_is_kept() -> None:
    """It helps against a crash."""
    found = choosing.chosen(Found((agent("a", "p"), agent("b", "p")), ()))

    assert ["a", "b"] == [one.id for one in found]
    assert "logged in (~/.b); fails with a, but nobody else was left" == found[1].why


def test_what_is_not_known_of_a_provider_is_not_the_same() -> None:
    """Two agents of which nothing is known may well ask different ones."""
    assert ["a", "b", "c"] == order(agent("a"), agent("b"), agent("c", "q"))


def test_nobody_stands_behind_one_with_the_same_credential() -> None:
    """A key without credit stops both; an agent that reads several variables takes one that is free."""
    key = Seen(variables=("A_KEY",))
    found = order(agent("a", login=key), agent("b", login=key), agent("c", login=Seen(variables=("A_KEY", "B_KEY"))))

    assert ["a", "c", "b"] == found


def test_a_login_that_is_a_file_needs_no_variable() -> None:
    """What the agent finds by itself is left to it: a desktop's editor has no shell's variables."""
    both = Seen(files=("~/.x/login",), variables=("X_KEY",))

    found = choosing.chosen(Found((agent("a", login=both), agent("b", login=Seen(variables=("X_KEY",)))), ()))

    assert [None, "X_KEY"] == [one.variable for one in found]


@pytest.mark.parametrize(
    ("login", "expected"), [(Seen(files=("~/.a",)), ["a"]), (Seen(variables=("A_KEY",)), []), (Seen(), [])]
)
def test_one_that_is_not_here_is_fetched_only_if_its_own_login_is(login: Seen, expected: list[str]) -> None:
    """Whoever has never used an agent need not be made to download it; a provider's key is there for many."""
    assert expected == order(agent("a", login=login, program=None))


def test_a_variable_is_kept_from_others_only_if_none_of_them_could_need_it() -> None:
    """An agent whose provider is for its user to choose may read any provider's key."""
    key = agent("a", "p", login=Seen(variables=("A_KEY",)))

    found = [choosing.chosen(Found((key, other), ()))[0] for other in (agent("b", "q"), agent("b"))]

    assert [("A_KEY", True), ("A_KEY", False)] == [(one.variable, one.is_alone) for one in found]


def test_a_variable_that_is_no_credential_needs_no_profile() -> None:
    """That it names a provider is a sign of a login, not the login."""
    found = choosing.chosen(Found((agent("a", login=Seen(variables=("GOOSE_PROVIDER",))),), ()))

    assert None is found[0].variable


def test_modes_are_mapped_by_what_they_let_an_agent_do() -> None:
    """The same permission boundary, or none; the one that a session opens in needs no counterpart."""
    first = agent("a", "p", modes={"default": "asks", "edit": "edits", "plan": "reads", "yolo": "acts"})
    second = agent("b", "q", modes={"ask": "asks", "auto": "edits", "full": "acts", "yolo": "acts"})
    third = agent("c", "r", modes={"full": "acts", "fuller": "acts"})

    found = choosing.chosen(Found((first, second, third), ()))

    assert [{}, {"edit": "auto", "yolo": "yolo"}, {"yolo": "full"}] == [one.modes for one in found]


POINTED = {"pointing": Pointing(local={"BASE": "{base}/v1", "MODEL": "{model}", "KIND": "openai"})}
OLLAMA = Server("Ollama", "http://127.0.0.1:11434", ("nomic-embed-text", "qwen3:8b"))


def test_a_model_server_is_used_through_an_agent_that_variables_send_there() -> None:
    """No network and no account: surer than an agent whose login was not seen."""
    modes = {"modes": {"yolo": "acts"}}
    agents = (agent("a", "p", login=Seen()), agent("b", "q", **POINTED, **modes), agent("c", "r", **modes))

    found = choosing.chosen(Found(agents, (OLLAMA,)))

    env = {"BASE": "http://127.0.0.1:11434/v1", "MODEL": "qwen3:8b", "KIND": "openai"}
    assert ["b", "c", "b-ollama", "a"] == [one.id for one in found]
    assert (env, None, {"yolo": "yolo"}) == (found[2].env, found[2].variable, found[2].modes)


@pytest.mark.parametrize(
    ("pointing", "models"),
    [(None, OLLAMA.models), (Pointing(env={"BASE": "{base}"}), OLLAMA.models), (POINTED["pointing"], ("x-embed",))],
)
def test_a_model_server_that_nobody_can_be_sent_to_is_left(pointing: Pointing | None, models: tuple[str, ...]) -> None:
    """A model must be named as well, and be one that talks."""
    server = Server("Ollama", OLLAMA.url, models)
    found = Found((agent("a", "p", pointing=pointing),), (server,))
    chain = choosing.chosen(found)

    assert (["a"], (server,)) == ([one.id for one in chain], choosing.servers_left(found, chain))


# --- finding

KNOWN = {"x": Row(command=("x-acp", "--go"), install="npm install -g @x/x-acp", login=FILE)}


def look(machine: Machine, rows: dict[str, Row] = KNOWN, **environ: str) -> Agent:
    async def agents() -> tuple[Agent, ...]:
        return (await finding.found(rows, {**machine.environ, **environ})).agents

    (one,) = anyio.run(agents)
    return one


@pytest.fixture(autouse=True)
def _no_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "KNOWN", ())


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_program_on_the_path_is_called_by_its_name(machine: Machine) -> None:
    """It goes on working when it moves."""
    program = machine.install("x-acp")

    assert (("x-acp", "--go"), str(program)) == (look(machine).command, look(machine).program)


@pytest.mark.parametrize(
    ("folder", "environ", "npmrc"),
    [
        (".local/bin", {}, ""),
        (".npm-global/bin", {}, ""),
        ("npm/bin", {"NPM_CONFIG_PREFIX": "{home}/npm"}, ""),
        ("pnpm", {"PNPM_HOME": "{home}/pnpm"}, ""),
        ("uv", {"UV_TOOL_BIN_DIR": "{home}/uv"}, ""),
        ("mine/bin", {}, "registry=x\nprefix = ~/mine\n"),
        ("mine/bin", {}, "prefix=${HOME}/mine\n"),
    ],
)
def test_a_program_that_is_not_on_the_path_is_called_by_its_place(
    machine: Machine, folder: str, environ: dict[str, str], npmrc: str
) -> None:
    """Where npm, pnpm, pipx and uv put programs."""
    machine.install("x-acp", folder=machine.home / folder)
    machine.write(".npmrc", npmrc)

    found = look(machine, **{name: value.format(home=machine.home) for name, value in environ.items()})

    assert (f"~/{folder}/x-acp", "--go") == found.command


def test_a_program_beside_node_is_found(machine: Machine, tmp_path: Path) -> None:
    """npm's usual prefix is the one of its node; only a link to that may be on PATH."""
    real = machine.program("node", "", tmp_path / "prefix" / "bin")
    (machine.bin / "node").symlink_to(real)
    machine.install("x-acp", folder=real.parent)

    assert (str(real.parent / "x-acp"), "--go") == look(machine).command


@pytest.mark.parametrize(
    ("install", "fetcher", "command"),
    [
        ("npm install -g @x/x-acp", "npx", ("npx", "-y", "@x/x-acp", "--go")),
        ("uv tool install x", "uvx", ("uvx", "--from", "x", "x-acp", "--go")),
        ("pipx install x", "pipx", ("pipx", "run", "--spec", "x", "x-acp", "--go")),
        ("npm install -g x-acp and-another", "npx", None),
        ("brew install x", "brew", None),
    ],
)
def test_what_is_not_here_may_be_fetched(
    machine: Machine, install: str, fetcher: str, command: tuple[str, ...] | None
) -> None:
    """By the program that belongs to how it is installed, if that is here."""
    rows = {"x": Row(command=("x-acp", "--go"), install=install)}
    before = look(machine, rows).command
    machine.program(fetcher, "")

    assert (None, command, None) == (before, look(machine, rows).command, look(machine, rows).program)


@pytest.mark.parametrize(("package", "name"), [("@zed-industries/codex-acp", "codex-zed"), ("@x/fork", "codex")])
def test_of_two_agents_with_one_programs_name_it_is_the_one_of_its_package(
    machine: Machine, package: str, name: str
) -> None:
    """npm puts a link to it into a folder of PATH; if nothing tells, it is the first."""
    program = machine.install("index.js", folder=machine.home / "lib" / "node_modules" / package)
    (machine.bin / "codex-acp").symlink_to(program)
    rows = {one: Row(command=("codex-acp",)) for one in ("codex", "codex-zed")}

    assert name == look(machine, rows).name


def test_an_interpreter_says_nothing_of_an_agent(machine: Machine) -> None:
    """`python -m x` starts on every machine, and ends at once on most."""
    machine.program("python3", "")

    assert None is look(machine, {"x": Row(command=("python3", "-m", "x"))}).command


def test_a_login_is_seen_by_its_files_and_variables(machine: Machine) -> None:
    """By name: what is in them is nobody's business."""
    machine.write(".x/login", "s3cret")

    assert Seen(("~/.x/login",), ("X_KEY",)) == look(machine, X_KEY="s3cret", Y_KEY="other").login


# --- model servers


@contextmanager
def serving(body: bytes, status: int = 200, barrier: Barrier | None = None) -> Iterator[int]:
    """A tiny web server with that one answer to everything; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if barrier is not None:
                barrier.wait(10)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def asked(*known: Known, **environ: str) -> list[Server]:
    async def bounded() -> list[Server]:
        with anyio.fail_after(DEADLINE_S):
            return list(await servers.answering(environ, known))

    return anyio.run(bounded)


@pytest.mark.parametrize(
    "body", [{"object": "list", "data": [{"id": "m"}, {"no": 1}]}, {"models": [{"name": "m", "size": 1}]}]
)
def test_a_server_is_known_by_its_list_of_models(body: object) -> None:
    """As OpenAI lists them, and as Ollama does."""
    with serving(json.dumps(body).encode()) as port:
        assert [Server("S", f"http://127.0.0.1:{port}", ("m",))] == asked(Known("S", port))


def test_only_what_is_in_memory_is_loaded() -> None:
    """LM Studio lists the others, too; what Ollama lists there runs."""
    listed = {"data": [{"id": "a", "state": "not-loaded"}, {"id": "b", "state": "loaded"}]}
    with serving(json.dumps(listed).encode()) as port:
        (server,) = asked(Known("S", port, loaded_path="/x"))

    assert (("a", "b"), ("b",), "b") == (server.models, server.loaded, server.model)


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"<html>", 200), (b'{"data": 1}', 200), (b"[]", 200), (b'{"data": []}', 404), (b"[" * 100_000, 200)],
)
def test_what_stands_at_its_port_may_be_something_else(body: bytes, status: int) -> None:
    """8000 and 8080 are everybody's."""
    with serving(body, status) as port:
        assert [] == asked(Known("S", port))


def test_where_nobody_listens_there_is_none() -> None:
    """The usual case."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    assert [] == asked(Known("S", port))


def test_one_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes connections, and is busy with a model."""
    monkeypatch.setattr(servers, "LIMIT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert [] == asked(Known("S", silent.getsockname()[1]))


def test_all_are_asked_at_once() -> None:
    """Each of these answers when the other is asked as well; the order is the one in which they are known."""
    barrier = Barrier(2)
    with serving(b'{"data": []}', barrier=barrier) as one, serving(b'{"data": []}', barrier=barrier) as two:
        assert ["1", "2"] == [server.name for server in asked(Known("1", one), Known("2", two))]


@pytest.mark.parametrize("place", ["127.0.0.1:{}", "http://localhost:{}", "http://127.0.0.1:{}/", "0.0.0.0:{}"])
def test_a_variable_names_another_place(place: str) -> None:
    """As OLLAMA_HOST does."""
    with serving(b'{"models": []}') as port:
        assert 1 == len(asked(Known("S", 1, variable="HOST"), HOST=place.format(port)))


@pytest.mark.parametrize("place", ["example.invalid", "http://192.0.2.1:{}", "[::1", "x:y:z"])
def test_another_machine_is_not_asked(place: str) -> None:
    """What is asked there is none of its business; the usual place is."""
    with serving(b'{"models": []}') as port:
        found = asked(Known("S", port, variable="HOST"), HOST=place.format(port))

    assert [f"http://127.0.0.1:{port}"] == [server.url for server in found]


# --- writing


def test_a_file_that_is_there_is_never_written(tmp_path: Path) -> None:
    """Not even one that came there just now."""
    file = tmp_path / "config.json"
    file.write_text("mine")

    with pytest.raises(UsageError, match="is there already, and stays as it is"):
        writing.write(file, "new")
    assert "mine" == file.read_text()


def test_a_link_that_leads_nowhere_is_not_followed(tmp_path: Path) -> None:
    """Its owner wanted the file to be elsewhere."""
    file = tmp_path / "config.json"
    file.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(UsageError):
        writing.write(file, "new")
    assert not (tmp_path / "elsewhere").exists()


def test_it_is_the_owners_alone_and_so_are_new_folders(tmp_path: Path) -> None:
    """It starts programs as its owner."""
    file = tmp_path / "new" / "config.json"

    writing.write(file, "new")

    assert (0o600, 0o700, "new") == (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777, file.read_text())


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """In a sentence."""
    (tmp_path / "file").write_text("")

    with pytest.raises(UsageError, match=r"cannot write .*config\.json: "):
        writing.write(tmp_path / "file" / "config.json", "new")


def test_a_full_disk_leaves_no_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be there already the next time."""

    def full(_file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    file = tmp_path / "config.json"

    with pytest.raises(UsageError, match="No space left on device"):
        writing.write(file, "new")
    assert not file.exists()
