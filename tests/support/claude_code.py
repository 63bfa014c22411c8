"""Backends of kind `anthropic-cli` for tests, with processes that write what the Claude Code CLI writes."""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace

import backends.anthropic_cli as kind
from acp_broker.contract import Backend
from acp_broker.core.failures import Failure
from acp_broker.edge.household import Household
from acp_broker.errors import BackendFailure
from backends.anthropic_cli import CliConfig
from tests.support.client import DEADLINE_S, FakeClient, FakeTools, raw, turn
from tests.support.harness import Log

# What version 2.1.329 wrote for each fault of the fault server, without its lists of tools and commands.
RECORDED = Path(__file__).parents[1] / "backends" / "claude"


def command(script: object) -> tuple[str, ...]:
    return (sys.executable, "-m", "tests.support.fake_claude", json.dumps(script))


@asynccontextmanager
async def opened(script: object, tools: FakeTools, **members: object) -> AsyncIterator[Backend]:
    with anyio.fail_after(DEADLINE_S):
        async with Household(Log()) as household:
            tools.spawn = household.spawn
            tools.environment = {**tools.environment, "PYTHONPATH": str(Path(__file__).parents[2])}
            async with kind.open(CliConfig(**{"command": command(script), **members}), tools) as backend:
                yield backend


def played(name: str) -> dict:
    """A turn that plays what the CLI itself has written."""
    return {"turns": [[{"do": "raw", "text": (RECORDED / f"{name}.jsonl").read_text(), "ends": True}]]}


async def failure_of(script: object, tools: FakeTools, client: FakeClient, **members: object) -> Failure:
    async with opened(script, tools, **members) as backend:
        with pytest.raises(BackendFailure) as raised:
            await backend.run(turn(), client)
    return raised.value.failure


async def told(tools: FakeTools, prompt: object = "tell", **members: object) -> dict:
    """What it was started with, and told up to a prompt."""
    client = FakeClient()
    blocks = [{"type": "text", "text": prompt}] if isinstance(prompt, str) else prompt
    async with opened({}, tools, **members) as backend:
        await backend.run(replace(turn(), prompt=raw(blocks)), client)
    return json.loads("".join(client.texts))


def requests(heard: dict, subtype: str) -> list[dict]:
    return [one["request"] for one in heard["heard"] if one.get("request", {}).get("subtype") == subtype]


def lines(*messages: object) -> dict:
    return {"turns": [[{"do": "raw", "text": "".join(json.dumps(one) + "\n" for one in messages), "ends": True}]]}
