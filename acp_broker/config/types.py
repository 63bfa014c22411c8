"""What a msgspec type looks like in JSON, and how a person is told what it takes and what it got instead."""

import json
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Literal, NewType, TypeGuard, Union, get_args, get_origin

from msgspec import Meta, Struct

_SCALARS: dict[object, tuple[str, str]] = {
    str: ("string", "a string"),
    Path: ("string", 'an absolute path, or one that begins with "~/"'),
    bool: ("boolean", "true or false"),
    int: ("number", "a whole number"),
    float: ("number", "a number"),
    NoneType: ("null", "null"),
}
_NAMES = {"object": "an object", "array": "an array", "string": "a string"}


def bare(shape: object) -> object:
    """The type without its annotations."""
    return bare(get_args(shape)[0]) if get_origin(shape) is Annotated else shape


def behind(shape: object) -> object:
    """`bare`; of an object whose type is imported only where config.json has one (`extra["shape"]`), that type."""
    late = extra(shape, "shape")
    return late() if callable(late) else bare(shape)


def extra(shape: object, key: str) -> object:
    """What the type's annotations say under `key` of their `extra`; None where they say nothing."""
    return next((note.extra[key] for note in _notes(shape) if note.extra and key in note.extra), None)


def options(shape: object) -> list[object]:
    """The members of a union, nested ones included; any other type alone. They keep their annotations."""
    base = bare(shape)
    if get_origin(base) in (Union, UnionType):
        return [option for member in get_args(base) for option in options(member)]
    return [shape]


def is_struct(shape: object) -> TypeGuard[type[Struct]]:
    return isinstance(shape, type) and issubclass(shape, Struct)


def json_type(shape: object) -> str | None:
    """The JSON type of a type that is no union; None where it is not known or may be any."""
    base = bare(shape)
    if isinstance(base, NewType):
        return json_type(base.__supertype__)
    origin = get_origin(base) or base
    if origin is Literal:
        return "string" if all(isinstance(value, str) for value in get_args(base)) else None
    if origin in _SCALARS:
        return _SCALARS[origin][0]
    if is_struct(origin) or _is(origin, Mapping):
        return "object"
    return "array" if _is(origin, Sequence) or _is(origin, Set) else None


def json_type_of(value: object) -> str:
    """The JSON type of a value that came out of a JSON parser."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def expected(shape: object) -> str:
    """What the type takes, in words: `a whole number from 1 to 60 or null`."""
    base = bare(shape)
    wanted = extra(shape, "expected")
    if wanted is not None:
        return str(wanted)
    if get_origin(base) in (Union, UnionType):
        return " or ".join(dict.fromkeys(expected(option) for option in options(shape)))
    if isinstance(base, NewType):
        return expected(base.__supertype__)
    if get_origin(base) is Literal:
        return "one of " + ", ".join(json.dumps(value) for value in get_args(base))
    bounds = next((_bounds(note) for note in _notes(shape) if note.ge is not None), "")
    return (_SCALARS[base][1] if base in _SCALARS else _NAMES.get(json_type(base) or "", "another value")) + bounds


def _bounds(note: Meta) -> str:
    return f" from {note.ge} to {note.le}" if note.le is not None else f", {note.ge} or more"


def got(value: object) -> str:
    """The value as an error may show it: numbers and constants themselves, of everything else only its type."""
    shown = _NAMES.get(json_type_of(value)) or json.dumps(value)
    return shown if len(shown) <= 24 else "a longer number"


def fix(value: object, shape: object) -> str:
    """`; write ["codex-acp"]` and its like, where the intent is plain; else nothing."""
    wanted = {json_type(option) for option in options(shape)}
    match value:
        case str() if "array" in wanted and value.split():
            # Only the first word: the others can hold a secret.
            more = ", ..." if len(value.split()) > 1 else ""
            return f"; write [{json.dumps(value.split()[0])}{more}]"
        case str() if "number" in wanted and value.strip().isdecimal():
            return "; write it without quotes"
        case "true" | "false" if "boolean" in wanted:
            return "; write it without quotes"
        case int() | float() if "string" in wanted:
            return "; write it in quotes"
        case _:
            return ""


def _notes(shape: object) -> list[Meta]:
    return [note for note in getattr(shape, "__metadata__", ()) if isinstance(note, Meta)]


def _is(origin: object, abstract: type) -> bool:
    return isinstance(origin, type) and issubclass(origin, abstract)
