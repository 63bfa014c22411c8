"""Which providers `init` finds by keys and logins, which model it takes, and where they stand in a chain."""

from collections.abc import Mapping
from functools import partial

import msgspec
import pytest

from acp_broker.app.kinds import kind
from acp_broker.app.logins import Seen
from acp_broker.app.setup import choosing, finding, providers
from acp_broker.app.setup.finding import Agent, Found
from acp_broker.app.setup.providers import Provider
from acp_broker.app.setup.servers import Server
from backends import KINDS, offering
from backends.acp.row import Row
from backends.openai import PRESETS
from tests.app.test_setup import serving
from tests.support.machine import Machine
from tests.support.provider import provider

pytestmark = pytest.mark.anyio

KEY = "canary-44ad10"
NONE: frozenset[str] = frozenset()
ADC = {"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r"}
ADC_PATH = ".config/gcloud/application_default_credentials.json"


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.fixture(autouse=True)
def _no_keyring(monkeypatch):
    monkeypatch.setattr("acp_broker.auth.secret_keyring.is_there", lambda: False)


async def found(machine: Machine, *, may_ask: bool = False, taken: frozenset[str] = NONE, **environ: str):
    return await providers.providers({**machine.environ, **environ}, taken, may_ask=may_ask)


@pytest.mark.parametrize(
    ("variable", "name"),
    [
        ("ANTHROPIC_API_KEY", "anthropic"),
        ("OPENAI_API_KEY", "openai"),
        ("OPENROUTER_API_KEY", "openrouter"),
        ("GEMINI_API_KEY", "gemini-api"),
        ("GOOGLE_API_KEY", "gemini-api"),
    ],
)
async def test_a_key_in_a_variable_is_named_and_not_written(machine, variable, name):
    """The config has a reference."""
    (one,) = await found(machine, **{variable: KEY})

    profile = (variable.lower().replace("_", "-"), {"type": "api_key", "key": f"${{{variable}}}"})
    assert (name, f"${variable}", variable, profile) == (one.id, one.login, one.variable, one.profile)
    assert KEY not in repr(one)


async def test_every_preset_that_needs_a_key_has_a_variable(machine):
    """It is called as the preset is."""
    needy = {name for name, preset in PRESETS.items() if preset.needs_key} - {"azure"}
    keys = {f"{name.upper()}_API_KEY": KEY for name in needy}

    assert needy == {one.id for one in await found(machine, **keys)}


async def test_what_an_offer_writes_its_kind_takes(machine):
    """With a model in it."""
    offers = [offer for name in KINDS if hasattr(kind(name), "offers") for offer in kind(name).offers({})]

    for offer in offers:
        msgspec.convert({"model": "m", **offer.entry}, kind(str(offer.entry["kind"])).config)
    assert {"anthropic", "openai", "gemini"} <= {str(offer.entry["kind"]) for offer in offers}


async def test_a_key_that_auth_set_has_kept_is_found(machine):
    """In the file that stands in for a keyring; by the name that one would give it."""
    path = machine.write(".local/state/acp-broker/auth/secrets.json", {"acp-broker": {"openrouter": KEY}})
    path.chmod(0o600)
    path.parent.chmod(0o700)

    (one,) = await found(machine)

    profile = ("openrouter", {"type": "api_key", "key": {"source": "keyring", "id": "openrouter"}})
    assert ("openrouter", "keyring entry openrouter", None, profile) == (one.id, one.login, one.variable, one.profile)


async def test_a_key_that_an_agent_lives_on_makes_no_backend(machine):
    """What stops the one stops the other."""
    assert () == await found(machine, OPENAI_API_KEY=KEY, taken=frozenset({"OPENAI_API_KEY"}))


async def test_only_an_agent_that_is_here_lives_on_a_key(monkeypatch, machine):
    """A key alone is no agent's."""
    monkeypatch.setattr("acp_broker.app.setup.servers.KNOWN", ())
    row = Row(command=("x-acp",), login=finding.rows.known()["codex"].login)
    environ = {**machine.environ, "OPENAI_API_KEY": KEY}

    before = (await finding.found({"x": row}, environ)).providers
    machine.install("x-acp")
    after = (await finding.found({"x": row}, environ)).providers

    assert (["openai"], []) == ([one.id for one in before], [one.id for one in after])


async def test_claude_code_itself_is_an_agent_where_it_is_logged_in(monkeypatch, machine):
    """With Claude's login and modes; another kind runs it."""
    monkeypatch.setattr("acp_broker.app.setup.servers.KNOWN", ())
    machine.install("claude")

    async def offered() -> list[Agent]:
        known = {"claude": finding.rows.known()["claude"]}
        return [one for one in (await finding.found(known, machine.environ)).agents if one.entry]

    before = await offered()
    machine.write(".claude/.credentials.json", "{}")
    (cli,) = await offered()

    (chosen,) = choosing.chosen(Found((cli,), ()))
    assert ([], "claude-cli", {"kind": "anthropic-cli"}, "anthropic") == (
        before,
        chosen.id,
        chosen.entry,
        chosen.provider,
    )


@pytest.mark.parametrize(
    ("environ", "names"),
    [({}, []), ({"GOOGLE_CLOUD_PROJECT": "p"}, ["claude-vertex", "gemini-vertex"])],
)
async def test_googles_credentials_need_a_project(machine, environ, names):
    """Vertex AI is asked in one; nobody is called to find out."""
    machine.write(ADC_PATH, ADC)

    every = await found(machine, **environ)

    assert names == [one.id for one in every]
    assert all(one.is_assumed and one.profile == ("google", {"type": "google"}) for one in every)


async def test_azure_needs_a_place_and_a_name_of_its_model(machine):
    """Both are its owner's."""
    keyed = partial(found, machine, AZURE_OPENAI_API_KEY=KEY, AZURE_OPENAI_ENDPOINT="https://r.openai.azure.com/")

    none, (one,) = await keyed(), await keyed(AZURE_OPENAI_DEPLOYMENT="mine")

    assert ((), "https://r.openai.azure.com/openai/v1", "mine") == (none, one.entry["baseUrl"], one.model)


# --- asking for models


async def asked(machine: Machine, server, **members: object) -> Provider:
    server.models = members.get("models", ("claude-sonnet-9", "claude-opus-9"))
    (one,) = await found(machine, may_ask=True, ANTHROPIC_API_KEY=KEY, ANTHROPIC_BASE_URL=server.url)
    return one


async def test_a_provider_is_asked_for_its_models_with_its_key(machine):
    """One that is known to be good, else one that is called like it."""
    async with provider() as server:
        one = await asked(machine, server)
        known = await asked(machine, server, models=("x", "claude-sonnet-4-5"))

    assert ("claude-sonnet-9", "lists 2 models, claude-sonnet-9 is taken", False) == (
        one.model,
        one.says,
        one.is_assumed,
    )
    assert ("claude-sonnet-4-5", KEY) == (known.model, server.seen[0].headers["x-api-key"])


@pytest.mark.parametrize("fault", ["500", "refused", "404", "garbage"])
async def test_a_provider_that_does_not_tell_is_taken_as_it_is_known(machine, fault):
    """Its model is an assumption then."""
    async with provider(fault=fault) as server:
        server.lists_fail = True
        one = await asked(machine, server)

    assert ("claude-sonnet-4-5", True) == (one.model, one.is_assumed)


async def test_a_key_that_is_refused_makes_no_backend(machine):
    """It is said, and not quoted."""
    async with provider(fault="401") as server:
        server.lists_fail = True
        one = await asked(machine, server)

    assert (None, True) == (one.entry, one.says.startswith("does not take the key: "))


@pytest.mark.parametrize("status", [401, 500])
async def test_a_key_that_a_provider_quotes_is_not_repeated(machine, status):
    """Whatever it fails by."""
    with serving(f'{{"error": {{"message": "no: {KEY}"}}}}'.encode(), status) as port:
        base = f"http://127.0.0.1:{port}"
        (one,) = await found(machine, may_ask=True, ANTHROPIC_API_KEY=KEY, ANTHROPIC_BASE_URL=base)

    assert (True, False) == ("no: " in one.says, KEY in one.says)


async def test_one_that_hangs_is_not_waited_for(machine, monkeypatch):
    """Neither are the others kept waiting."""
    monkeypatch.setattr(providers, "LIMIT_S", 0.05)
    async with provider(fault="stall-headers") as server:
        server.lists_fail = True
        one = await asked(machine, server)

    assert ("claude-sonnet-4-5 is assumed: it did not answer within 0.05 s", True) == (one.says, one.is_assumed)


async def test_nobody_is_asked_unless_that_is_wanted(machine):
    """Tests of other things, and people on a train."""
    async with provider() as server:
        (one,) = await found(machine, ANTHROPIC_API_KEY=KEY, ANTHROPIC_BASE_URL=server.url)

    assert ([], True, False) == (server.seen, one.is_assumed, one.is_asked)


async def test_where_no_model_is_known_by_name_there_is_nothing_to_write(machine):
    """A guess would fail in the first turn."""
    (one,) = await found(machine, GROQ_API_KEY=KEY)

    assert (None, "has no model that is known by name: nobody was asked") == (one.entry, one.says)


@pytest.mark.parametrize(
    ("models", "expected"),
    [(("a", "good"), "good"), (("text-embedding-3", "gpt-9"), "gpt-9"), (("x", "liked-1"), "liked-1"), ((), None)],
)
async def test_a_model_that_talks_is_chosen(models, expected):
    """The known one, one of a known name, the first."""
    assert expected == offering.chosen(models, "good", (r"liked-.*",))


# --- choosing


def agent(name: str, provider: str, **members: object) -> Agent:
    row = Row(provider=provider, command=("x",), **members)
    return Agent(name, row, Seen(files=(f"~/.{name}",)), ("x",), "/bin/x")


def keyed(name: str, address: str, variable: str | None = None) -> Provider:
    entry: Mapping[str, object] = {"kind": "openai", "model": "m"}
    return Provider(name, name, "$KEY", "", entry, address, ("key", {"type": "api_key"}), variable, "m")


LOCAL = Server("Ollama", "http://127.0.0.1:11434", ("nomic-embed-text", "qwen3:8b", "other"), preset="ollama")


def order(*agents: Agent, servers=(), providers=()) -> list[str]:
    return [one.id for one in choosing.chosen(Found(agents, servers, tuple(providers)))]


async def test_agents_come_first_then_providers_then_servers():
    """Agents have tools; a server of this machine is the last that can fail."""
    assert ["a", "p", "ollama"] == order(agent("a", "q"), servers=(LOCAL,), providers=[keyed("p", "r")])


async def test_what_is_assumed_comes_behind_what_is_known():
    """Google's login may be there for anything."""
    told, key = keyed("told", "a", "A"), msgspec.structs.replace(keyed("key", "b", "B"), is_assumed=True)
    login = msgspec.structs.replace(keyed("login", "c"), is_assumed=True)

    assert ["told", "key", "login"] == order(providers=[login, key, told])


async def test_a_provider_does_not_stand_behind_an_agent_that_asks_it():
    """While there is another one."""
    both = [keyed("p", "q"), keyed("r", "s")]

    assert ["a", "r", "p"] == order(agent("a", "q"), providers=both)


async def test_alone_it_may():
    """An agent can crash, or its plan be used up."""
    (_, one) = choosing.chosen(Found((agent("a", "q"),), (), (keyed("p", "q"),)))

    assert "key in $KEY, m; fails with a, but nobody else was left" == one.why


async def test_any_mode_of_the_primarys_is_mapped():
    """What only talks stays within every boundary; else it would be passed over."""
    modes = {"modes": {"default": "asks", "plan": "reads"}}

    chain = choosing.chosen(Found((agent("a", "q", **modes),), (LOCAL,), (keyed("p", "r"),)))

    assert [{}, {"plan": "plan"}, {"plan": "plan"}] == [one.modes for one in chain]


@pytest.mark.parametrize(
    ("server", "entry"),
    [
        (LOCAL, {"kind": "openai", "preset": "ollama", "model": "qwen3:8b"}),
        (
            msgspec.structs.replace(LOCAL, loaded=("other",), url="http://127.0.0.1:1"),
            {"kind": "openai", "preset": "ollama", "baseUrl": "http://127.0.0.1:1/v1", "model": "other"},
        ),
        (
            Server("llama.cpp", "http://127.0.0.1:8080", ("m.gguf",), preset="llamacpp"),
            {"kind": "openai", "preset": "llamacpp"},
        ),
    ],
)
async def test_a_server_is_asked_for_the_model_that_is_loaded_or_the_first_that_talks(server, entry):
    """llama.cpp has the one that it was started with."""
    (one,) = choosing.chosen(Found((), (server,)))

    assert (entry, True) == (one.entry, one.why.startswith(f"{server.name} answers at {server.url}, "))


async def test_a_server_without_a_model_that_talks_is_left():
    """There is nothing to write."""
    found = Found((), (msgspec.structs.replace(LOCAL, models=("nomic-embed-text",)),))

    assert ((), found.servers) == (choosing.chosen(found), choosing.servers_left(found, ()))


async def test_agents_that_may_ask_anybody_lose_the_variables_of_providers():
    """That is said."""
    chain = choosing.chosen(Found((agent("a", ""),), (), (keyed("p", "r", "P_KEY"),)))
    sure = choosing.chosen(Found((agent("a", "q"),), (), (keyed("p", "r", "P_KEY"),)))

    assert ((("P_KEY",), ("a",)), ((), ())) == (choosing.withheld(chain), choosing.withheld(sure))
