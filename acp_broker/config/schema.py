"""The JSON Schema of config.json, generated from the same types that read it."""

from typing import TypeAlias

import msgspec

from acp_broker.config.load import Kinds
from acp_broker.config.shape import Document

Node: TypeAlias = "dict[str, Node] | list[Node] | str | int | float | bool | None"


def schema(kinds: Kinds) -> dict[str, Node]:
    """JSON Schema (draft 2020-12) of a config.json whose backends are of these kinds."""
    order = [kinds[name] for name in sorted(kinds)]
    (_, *entries), parts = msgspec.json.schema_components(
        [Document, *order], schema_hook=_path, ref_template="#/$defs/{name}"
    )
    document = parts.pop("Document")
    parts.pop("BackendConfig", None)
    document["properties"]["backends"]["additionalProperties"] = {"anyOf": entries}
    choices: dict[str, Node] = {}
    defs = {name: _shared(part, choices) for name, part in parts.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **document,
        "title": "config.json",
        "$defs": {**defs, **choices},
    }


def _shared(node: Node, choices: dict[str, Node]) -> Node:
    """The node with each choice between tagged objects moved to `choices`: a script names its steps in many places.

    `discriminator` is left out: OpenAPI knows it, JSON Schema does not.
    """
    match node:
        case {"anyOf": [{"$ref": str(first)}, *_] as members, "discriminator": _}:
            name = f"{first.rpartition('/')[2]}OrAnother"
            # Two choices may begin alike.
            while choices.setdefault(name, {"anyOf": members}) != {"anyOf": members}:
                name += "_"
            return {"$ref": f"#/$defs/{name}"}
        case dict():
            return {key: _shared(member, choices) for key, member in node.items()}
        case list():
            return [_shared(item, choices) for item in node]
        case _:
            return node


def _path(_: type) -> dict[str, object]:
    return {"type": "string", "pattern": "^(/|~/|~$)"}
