"""`acp-broker config`: check the file, print its schema, say where it is looked for."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from acp_broker.app import missing
from acp_broker.config import Config, Kinds, find, load
from acp_broker.config import schema as schema_of
from acp_broker.errors import ConfigError, Problem

Missing = Callable[[Config, Mapping[str, str]], Iterable[Problem]]


def check(kinds: Kinds, path: Path | None, environ: Mapping[str, str], missing: Missing = missing) -> int:
    """Say on stderr what is wrong with config.json and return 1, or say OK on stdout and return 0.

    What is doubtful about it, and what this machine lacks for it, are warnings: an agent may be installed later.
    """
    try:
        config = load(kinds, path=path, environ=environ)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    for warning in (*config.warnings, *missing(config, environ)):
        print(f"warning: {warning.path}: {warning.finding}", file=sys.stderr)
    chain = ", then ".join((config.acp.backend, *config.acp.fallbacks))
    print(f"{config.source}: OK: {chain}")
    return 0


def schema(kinds: Kinds) -> int:
    """Print the JSON Schema of config.json."""
    print(json.dumps(schema_of(kinds), indent=2))
    return 0


def path(given: Path | None, environ: Mapping[str, str]) -> int:
    """Print which config.json would be used; it need not exist."""
    print(find(given, environ))
    return 0
