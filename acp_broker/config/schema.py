"""The JSON Schema of config.json, generated from the same types that read it."""

from collections.abc import Iterable
from typing import TypeAlias

import msgspec
from msgspec import Struct
from msgspec.structs import fields

from acp_broker.config.load import Kinds
from acp_broker.config.shape import Document
from acp_broker.config.types import bare, behind, is_struct, options

Node: TypeAlias = "dict[str, Node] | list[Node] | str | int | float | bool | None"


def schema(kinds: Kinds) -> dict[str, Node]:
    """JSON Schema (draft 2020-12) of a config.json whose backends are of these kinds."""
    order = [kinds[name] for name in sorted(kinds)]
    (_, *entries), parts = msgspec.json.schema_components(
        [Document, *order, *_late(order)], schema_hook=_other, ref_template="#/$defs/{name}"
    )
    entries = entries[: len(order)]
    for kind, entry in zip(order, entries, strict=True):
        if one_of := getattr(kind, "one_of", ()):
            parts[entry["$ref"].rpartition("/")[2]]["anyOf"] = [{"required": [key]} for key in one_of]
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


def _late(kinds: Iterable[type[Struct]]) -> list[type[Struct]]:
    """The types that an entry of these kinds has imported only where it uses them."""
    shapes = [shape for kind in kinds for field in fields(kind) for shape in options(field.type)]
    return [late for shape in shapes if (late := behind(shape)) is not bare(shape) and is_struct(late)]


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


def _other(kind: type) -> dict[str, object]:
    """Of what JSON has no type for: anything at all, or a path."""
    return {"description": "any JSON value"} if kind is object else {"type": "string", "pattern": "^(/|~/|~$)"}
