"""Holds a JSON value against msgspec types and finds everything that is wrong with it, each with its path.

msgspec stops at the first error and does not name the keys of maps. This walks the types that msgspec would decode
and asks msgspec only about the leaves; a type that it does not know is such a leaf.
"""

import re
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import cache, reduce
from typing import Literal, get_args, get_origin

from msgspec import Struct, ValidationError
from msgspec.structs import FieldInfo, fields

from acp_broker.config.file import join
from acp_broker.config.hints import instead, listed, quoted, suggest
from acp_broker.config.types import bare, behind, expected, extra, fix, got, is_struct, json_type, json_type_of, options
from acp_broker.errors import Problem, UsageError

# A tag's name, and the types by tag: what an abstract type such as BackendConfig stands for.
Choice = tuple[str, Mapping[str, type[Struct]]]
# What the ids of a NewType are called, and which there are.
Names = tuple[str, Collection[str]]
_ABOUT = re.compile(r"`([\w.-]+)`: (.*)", re.DOTALL)
_SCALAR = ("string", "number", "boolean", "null")


class Check:
    """One walk. `problems`, and `objects` (path, type and members of each object that was met), grow with `look`."""

    def __init__(
        self,
        decode: Callable[[object, object], object],
        choices: Mapping[object, Choice],
        names: Mapping[object, Names],
    ) -> None:
        self.problems: list[Problem] = []
        self.objects: list[tuple[str, type[Struct], dict[str, object]]] = []
        self._decode = decode
        self._choices = choices
        self._names = names

    def add(self, path: str, finding: str) -> None:
        self.problems.append(Problem(path or "(file)", finding))

    def look(self, value: object, shape: object, path: str) -> None:
        """Add every problem of `value`, which should be a `shape`."""
        types = [(json_type(option), option) for option in options(shape)]
        fitting = [option for kind, option in types if kind == json_type_of(value)]
        fitting = fitting or [option for kind, option in types if kind is None]
        if not fitting:
            self.add(path, f"expected {expected(shape)}, got {got(value)}{fix(value, shape)}")
        elif isinstance(value, dict):
            self._object(value, fitting, path)
        elif isinstance(value, list):
            self._array(value, fitting[0], path)
        elif isinstance(value, str):
            self._string(value, fitting[0], path)
        else:
            self.leaf(value, fitting[0] if len(fitting) == 1 else shape, path)

    def leaf(self, value: object, shape: object, path: str) -> None:
        """Add the problem that msgspec has with `value`, if it has one; in our words where we know the type."""
        try:
            self._decode(value, shape)
        except ValidationError as error:
            reason, _, inside = str(error).removesuffix("`").partition(" - at `$")
            # What a type finds out by itself may begin with the key of its own that it is about.
            if about := _ABOUT.match(reason):
                path, reason = reduce(join, about[1].split(".", 1), path), about[2]
            wanted = expected(shape) if json_type(shape) in _SCALAR and not inside else None
            seen = "" if isinstance(value, str) else f", got {got(value)}"
            said = f"{reason[:1].lower()}{reason[1:]}".replace("`", "")
            self.add(path + inside, f"expected {wanted}{seen}" if wanted else said)

    def _object(self, value: dict[str, object], fitting: list[object], path: str) -> None:
        kinds = [one for one in map(behind, fitting) if is_struct(one)]
        choice = next((self._choices[one] for one in kinds if one in self._choices), None)
        if choice is None and len(kinds) > 1:
            configs = [(kind, kind.__struct_config__) for kind in kinds]
            choice = str(configs[0][1].tag_field), {str(config.tag): kind for kind, config in configs}
        if choice is not None:
            self._choose(value, *choice, path)
        elif kinds:
            self._struct(value, kinds[0], path)
        elif arguments := _arguments(fitting[0], dict):
            for key, member in value.items():
                if json_type(arguments[0]) == "string":
                    self.leaf(key, arguments[0], join(path, key))
                self.look(member, arguments[1], join(path, key))
        else:
            self.leaf(value, fitting[0], path)

    def _choose(self, value: dict[str, object], tag: str, types: Mapping[str, type[Struct]], path: str) -> None:
        match value.get(tag):
            case str(name) if name in types:
                self._struct(value, types[name], path)
            case str(name):
                found = _preset(tag, name, types) or suggest(name, types)
                self.add(join(path, tag), f"no {tag} is called {quoted(name)}; {found}")
            case None:
                self.add(join(path, tag), f"is missing; known: {listed(types)}")
            case other:
                self.add(join(path, tag), f"expected a string, got {got(other)}")

    def _struct(self, value: dict[str, object], kind: type[Struct], path: str) -> None:
        self.objects.append((path, kind, value))
        known, config, before = _fields(kind), kind.__struct_config__, len(self.problems)
        for key, member in value.items():
            if field := known.get(key):
                self.look(member, field.type, join(path, key))
            elif key != config.tag_field and config.forbid_unknown_fields:
                self.add(join(path, key), f"there is no such key; {instead(key, known)}")
        for key, field in known.items():
            if field.required and key not in value:
                self.add(join(path, key), f"is missing; expected {expected(field.type)}")
        if len(self.problems) == before and hasattr(kind, "__post_init__"):
            self.leaf(value, kind, path)

    def _array(self, value: list[object], shape: object, path: str) -> None:
        of, before = _arguments(shape, tuple) or _arguments(shape, list), len(self.problems)
        knows = len(of) == 1 or of[1:] == (...,)
        for index, item in enumerate(value if knows else ()):
            self.look(item, of[0], f"{path}[{index}]")
        # An annotation can bound the length.
        if not knows or (shape is not bare(shape) and len(self.problems) == before):
            self.leaf(value, shape, path)

    def _string(self, value: str, shape: object, path: str) -> None:
        if naming := self._names.get(bare(shape)):
            what, known = naming
            if value.strip() not in known:
                self.add(path, f"no {what} is called {quoted(value)}; {suggest(value.strip(), known)}")
        elif (values := _arguments(shape, Literal)) and value not in values:
            self.add(path, f"no such value: {quoted(value)}; {suggest(value, map(str, values))}")
        elif shape is not str:
            before = len(self.problems)
            self.leaf(value, shape, path)
            problem = extra(shape, "check")
            if callable(problem) and len(self.problems) == before and (found := problem(value)) is not None:
                self.add(path, found)


def _preset(tag: str, name: str, types: Mapping[str, type[Struct]]) -> str | None:
    """How to write what somebody took for a kind, where it is a preset of one."""
    for kind in sorted(types):
        # One of somebody else's may be broken; here nobody has asked for it.
        with suppress(UsageError):
            preset = _fields(types[kind]).get("preset")
            values = [_arguments(option, Literal) for option in options(preset.type)] if preset is not None else []
            if any(name.lower() in known for known in values):
                return f'write "{tag}": "{kind}", "preset": "{name.lower()}"'
    return None


@cache
def _fields(kind: type[Struct]) -> dict[str, FieldInfo]:
    return {field.encode_name: field for field in fields(kind)}


def _arguments(shape: object, origin: object) -> tuple[object, ...]:
    """The type's arguments if it is an `origin[...]`, else nothing."""
    base = bare(shape)
    return get_args(base) if get_origin(base) is origin else ()
