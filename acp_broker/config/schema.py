"""The JSON Schema of config.json, generated from the same types that read it."""

import msgspec

from acp_broker.config.load import Kinds
from acp_broker.config.shape import Document


def schema(kinds: Kinds) -> dict[str, object]:
    """JSON Schema (draft 2020-12) of a config.json whose backends are of these kinds."""
    order = [kinds[name] for name in sorted(kinds)]
    (_, *entries), parts = msgspec.json.schema_components(
        [Document, *order], schema_hook=_path, ref_template="#/$defs/{name}"
    )
    document = parts.pop("Document")
    parts.pop("BackendConfig", None)
    document["properties"]["backends"]["additionalProperties"] = {"anyOf": entries}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **document,
        "title": "config.json",
        "$defs": parts,
    }


def _path(_: type) -> dict[str, object]:
    return {"type": "string", "pattern": "^(/|~/|~$)"}
