"""The schema, the documentation and the sample say what the types say."""

import json
import re
from importlib import import_module
from pathlib import Path

import jsonschema
import msgspec
import pytest
from msgspec import NODEFAULT, Struct
from msgspec.structs import FieldInfo, fields

from acp_broker.backend_config import BackendConfig, PhaseLimits
from acp_broker.config import Document, load, schema
from acp_broker.config import credentials as c
from acp_broker.config import shape as s
from acp_broker.errors import ConfigError
from backends import KINDS as MODULES
from backends.acp import AcpConfig, row
from backends.anthropic import AnthropicConfig
from backends.anthropic_vertex import AnthropicVertexConfig
from backends.gemini import GeminiConfig
from backends.http.rows import FailureRow
from backends.http.vertex import Vertex
from backends.openai import OpenAIConfig
from backends.scripted import ScriptedConfig
from tests.support.config import write

TOP = Path(__file__).parent.parent
SAMPLE = TOP / "config.json"
SHIPPED = TOP / "acp_broker" / "config.schema.json"

# Without what other packages on this machine bring.
KINDS: dict[str, type[BackendConfig]] = {name: import_module(module).config for name, module in MODULES.items()}

SECTIONS: dict[str, type[Struct]] = {
    "The whole file": Document,
    "`acp`": s.Acp,
    "`backends.ID`": BackendConfig,
    "`backends.ID` of kind `acp`": AcpConfig,
    "`backends.ID` of kind `openai`": OpenAIConfig,
    "`backends.ID` of kind `anthropic`": AnthropicConfig,
    "`backends.ID` of kind `anthropic-vertex`": AnthropicVertexConfig,
    "`backends.ID` of kind `gemini`": GeminiConfig,
    "`backends.ID.vertex`": Vertex,
    "`backends.ID.failures`": FailureRow,
    "`backends.ID` of kind `scripted`": ScriptedConfig,
    "`backends.ID.agent`": row.Row,
    "`backends.ID.agent.settings`": row.Setting,
    "`backends.ID.agent.pointing`": row.Pointing,
    "`backends.ID.agent.login`": row.Login,
    "`backends.ID.agent.notices`": row.Notice,
    "`backends.ID.limits`": PhaseLimits,
    "`limits`": s.Limits,
    "`auth`": c.Auth,
    "`auth.profiles.ID` of type `api_key`": c.ApiKeyProfile,
    "`auth.profiles.ID` of type `token`": c.TokenProfile,
    "`auth.profiles.ID` of type `oauth`": c.OAuthProfile,
    "`auth.profiles.ID` of type `google`": c.GoogleProfile,
    "`auth.profiles.ID` of type `agent`": c.AgentProfile,
    "`secrets`": c.Secrets,
    "`secrets.providers.ID` of source `env`": c.EnvProvider,
    "`secrets.providers.ID` of source `file`": c.FileProvider,
    "`secrets.providers.ID` of source `exec`": c.ExecProvider,
    "`secrets.providers.ID` of source `keyring`": c.KeyringProvider,
    "`secrets.defaults`": c.SecretDefaults,
    "`secrets.resolution`": c.SecretResolution,
    "`frontends`": s.Frontends,
    "`frontends.unix`": s.Unix,
    "`frontends.websocket`": s.WebSocket,
    "`frontends.websocket.tls`": s.Tls,
    "`sessions`": s.Sessions,
    "`log`": s.Log,
}


def default(field: FieldInfo) -> str:
    if field.required:
        return "required"
    value = field.default if field.default is not NODEFAULT else field.default_factory()
    return "`{}`" if isinstance(value, Struct) else f"`{json.dumps(msgspec.to_builtins(value))}`"


def documented() -> dict[str, dict[str, str]]:
    """Per heading with a table of keys: each key's default, as written."""
    parts = re.split(r"^## (.+)$", (TOP / "docs" / "config.md").read_text(), flags=re.MULTILINE)[1:]
    row = re.compile(r"^\| `([^`]+)` \| .+ \| (required|`[^|]+`) \|$", re.MULTILINE)
    return {heading: dict(row.findall(body)) for heading, body in zip(parts[::2], parts[1::2], strict=True)}


@pytest.mark.parametrize("heading", SECTIONS)
def test_the_documentation_has_every_key_and_its_default(heading: str) -> None:
    """A key that is not documented does not exist for a user; a wrong default misleads them."""
    kind = SECTIONS[heading]
    common = fields(BackendConfig) if kind is not BackendConfig and issubclass(kind, BackendConfig) else ()
    expected = {field.encode_name: default(field) for field in fields(kind)[len(common) :]}

    assert expected == documented()[heading]


def test_every_type_of_the_file_is_documented() -> None:
    """A new section must not be forgotten: the schema of a file without backends knows the others."""
    parts = {**schema({})["$defs"], **msgspec.json.schema(row.Row)["$defs"]}
    known = {kind.__name__ for kind in SECTIONS.values()}
    undocumented = [name for name in parts if name not in known and not name.endswith("OrAnother")]

    references = ["EnvSecret", "FileSecret", "ExecSecret", "KeyringSecret"]
    assert references == undocumented


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_documented(kind: str) -> None:
    """A kind without a table could not be used."""
    assert f"`backends.ID` of kind `{kind}`" in documented()


def test_the_shipped_schema_is_the_one_that_the_types_give() -> None:
    """To mend: acp-broker config schema > acp_broker/config.schema.json"""
    assert json.loads(json.dumps(schema(KINDS))) == json.loads(SHIPPED.read_text())


def test_the_schema_is_a_schema() -> None:
    """Editors drop a broken one without a word."""
    jsonschema.Draft202012Validator.check_schema(schema(KINDS))


def test_the_sample_fits_the_schema() -> None:
    """An editor that shows the sample with errors teaches distrust."""
    errors = jsonschema.Draft202012Validator(json.loads(SHIPPED.read_text())).iter_errors(
        json.loads(SAMPLE.read_text())
    )

    expected = []
    assert expected == [error.message for error in errors]


def test_the_sample_loads_without_a_warning(tmp_path: Path) -> None:
    """It is what people copy."""
    config = load(KINDS, path=write(tmp_path, SAMPLE.read_bytes()), environ={"HOME": "/home/u", "GEMINI_API_KEY": "k"})

    expected = (("codex", "gemini"), ())
    assert expected == (config.acp.fallbacks, config.warnings)


def test_the_sample_finds_its_schema() -> None:
    """`$schema` is relative to the sample."""
    found = (TOP / json.loads(SAMPLE.read_text())["$schema"]).resolve()

    assert found == SHIPPED


def test_a_script_may_hold_anything(tmp_path: Path) -> None:
    """What an agent claims of itself has no shape of ours."""
    script = {"capabilities": {"auth": {"logout": {}}, "loadSession": True, "x": [1, "two", None]}}
    backends = {"one": {"kind": "scripted", "script": script}}
    config = load(KINDS, path=write(tmp_path, {"acp": {"backend": "one"}, "backends": backends}), environ={})

    assert script["capabilities"] == config.backends["one"].script.capabilities


def test_further_members_of_a_request_may_be_anything(tmp_path: Path) -> None:
    """A provider's own settings have no shape of ours."""
    entry = {"kind": "openai", "preset": "vllm", "model": "m", "body": {"a": 0.2, "b": [None, {"c": "/d"}], "e": "f"}}
    content = {"acp": {"backend": "one"}, "backends": {"one": entry}}
    config = load(KINDS, path=write(tmp_path, content), environ={})

    assert entry["body"] == config.backends["one"].body
    assert jsonschema.Draft202012Validator(schema(KINDS)).is_valid(content)


MINIMAL = {"acp": {"backend": "one"}, "backends": {"one": {"kind": "scripted"}}}


@pytest.mark.parametrize(
    "content",
    [
        {**MINIMAL, "acp": {"backend": "one", "fallback": []}},
        {**MINIMAL, "backends": {"one": {"kind": "acp"}}},
        {**MINIMAL, "backends": {"one": {"kind": "unheard-of"}}},
        {**MINIMAL, "limits": {"chainMs": -1}},
        {**MINIMAL, "log": {"file": "relative"}},
        {**MINIMAL, "auth": {"profiles": {"a": {"type": "api_key", "key": "hunter2"}}}},
    ],
)
def test_what_the_loader_refuses_the_schema_refuses(tmp_path: Path, content: dict[str, object]) -> None:
    """The editor should say so before the broker does."""
    with pytest.raises(ConfigError):
        load(KINDS, path=write(tmp_path, content), environ={})

    assert not jsonschema.Draft202012Validator(schema(KINDS)).is_valid(content)
