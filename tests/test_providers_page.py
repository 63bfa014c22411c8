"""docs/providers.md says what the code does."""

import json
import re
from pathlib import Path

import msgspec
import pytest

from acp_broker.app.kinds import kinds
from acp_broker.app.policy import PROVIDER_FIRST_OUTPUT_S, PROVIDER_IDLE_S
from acp_broker.config import load
from acp_broker.core.failures import FailureKind
from acp_broker.core.http_failures import from_http
from backends.anthropic import BASE_URL, MAX_TOKENS
from backends.openai import PRESETS, OpenAIConfig
from tests.support.config import write

PAGE = (Path(__file__).parents[1] / "docs" / "providers.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("|")]
FAILURES = {row[0]: row[1].strip("`") for row in ROWS if len(row) == 3 and row[1].startswith("`")}
# The plain statuses of each row: not what stands in parentheses, or needs the body's words.
STATUSES = [
    (int(status), kind)
    for what, kind in FAILURES.items()
    for status in re.findall(r"\b[45]\d\d\b(?! that says so)", re.sub(r"\([^)]*\)", "", what))
]


def test_the_presets_are_those_of_the_code():
    """A default that is told wrong sends prompts to nowhere."""
    expected = [
        [f"`{name}`", f"`{one.base_url}`", "required" if one.needs_key else "if you name one", f"`{one.max_tokens_as}`"]
        for name, one in PRESETS.items()
    ]

    assert expected == [row for row in ROWS if row[0].strip("`") in PRESETS]


def test_the_defaults_of_messages_are_those_of_the_code():
    """Its key goes there, and an answer ends there."""
    config = (Path(__file__).parents[1] / "docs" / "config.md").read_text()

    assert (True, True) == (f"`null` is `{BASE_URL}`" in config, f"`null` is {MAX_TOKENS} |" in config)


EXAMPLES = re.findall(r"```json\n(.+?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_is_a_config(tmp_path, example):
    """Readers paste it: the whole file, or entries of `backends`."""
    if not example.startswith("{"):
        backends = json.loads(f"{{{example}}}")
        key = {"type": "api_key", "key": "${OPENROUTER_API_KEY}"}
        profiles = {entry["auth"]: key for entry in backends.values() if "auth" in entry}
        whole = {"acp": {"backend": next(iter(backends))}, "backends": backends, "auth": {"profiles": profiles}}
        example = json.dumps(whole)
    config = load(kinds(), path=write(tmp_path, json.loads(example)), environ={"HOME": "/h", "OPENROUTER_API_KEY": "x"})

    assert config.warnings == ()


def test_the_clocks_are_those_of_the_code():
    """All four are on where nobody has said a word about them."""
    far = msgspec.convert({"kind": "openai", "preset": "openrouter", "model": "m"}, OpenAIConfig)
    near = msgspec.convert({"kind": "openai", "preset": "ollama", "model": "m"}, OpenAIConfig)
    own_s = near.known_limits().first_output_ms / 1000
    expected = {
        "connect": f"{far.connect_s:g} s",
        "first byte": f"{far.first_byte_s:g} s; {near.first_byte_s:g} s on this machine",
        "first content": f"{PROVIDER_FIRST_OUTPUT_S:g} s; {own_s:g} s on this machine",
        "idle": f"{PROVIDER_IDLE_S:g} s",
    }

    assert expected == {row[0]: row[2] for row in ROWS if row[0] in expected}


@pytest.mark.parametrize(("status", "kind"), STATUSES)
def test_a_status_is_the_kind_that_the_table_says(status, kind):
    """Where the body says nothing more exact."""
    assert kind == from_http(status, {}, b"", wall=0.0).kind.value


def test_every_kind_of_the_table_exists():
    """A kind that is told here is one that logs show."""
    assert set(FAILURES.values()) <= {kind.value for kind in FailureKind}
