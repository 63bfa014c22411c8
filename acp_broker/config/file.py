"""Reads config.json: a file that nobody else can have written, as strict JSON, with the place of each complaint."""

import json
import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from acp_broker.errors import ConfigError, Problem

# A thousand backends fit many times; a file this long was named by mistake.
_LONGEST = 1024 * 1024
SMALLEST = '{"acp": {"backend": "claude"}, "backends": {"claude": {"kind": "acp", "command": ["claude-agent-acp"]}}}'


def read(path: Path) -> tuple[object, list[Problem]]:
    """The JSON value in the file, and the keys that are written twice in it.

    Raises ConfigError for what is not a file of ours with one JSON value in it.
    """
    text = _text(_contents(path), path)
    repeated: list[tuple[object, str]] = []

    def members(pairs: list[tuple[str, object]]) -> dict[str, object]:
        seen = dict(pairs)
        if len(seen) < len(pairs):
            keys = [key for key, _ in pairs]
            repeated.extend((seen, key) for key in seen if keys.count(key) > 1)
        return seen

    try:
        value: object = json.loads(text, object_pairs_hook=members)
        # Python reads NaN and 1e999, which JSON does not have, and half characters, which nothing can be given.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except json.JSONDecodeError as error:
        raise _malformed(path, text, error) from error
    except UnicodeEncodeError as error:
        raise _refusal(path, "(file)", r"holds half a character, such as \ud83d alone; write the whole one") from error
    except ValueError as error:
        raise _refusal(path, "(file)", "holds a number that JSON does not have or that is too long") from error
    return value, [
        Problem(where, "is written twice; keep one")
        for owner, key in repeated
        for where in (join(at, key) for at, found in walk(value, "") if found is owner)
    ]


def walk(value: object, path: str) -> Iterator[tuple[str, object]]:
    """The value and everything in it, each with its path."""
    yield path, value
    if isinstance(value, dict):
        for key, member in value.items():
            yield from walk(member, join(path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from walk(item, f"{path}[{index}]")


def join(path: str, key: str) -> str:
    """The path of a member: `path.key`, and `path["odd key"]` where a dot would mislead."""
    plain = key.replace("-", "").replace("_", "").replace("$", "").isalnum()
    return f"{path}.{key}".removeprefix(".") if plain else f"{path}[{json.dumps(key)}]"


def _contents(path: Path) -> bytes:
    try:
        # A fifo must not hold us up: O_NONBLOCK opens it at once, and fstat names it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        start = (
            f"no such file; `acp-broker init` writes one, --config FILE names another. By hand, begin with {SMALLEST}"
        )
        raise _refusal(path, "(file)", start) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise _refusal(path, "(file)", f"cannot be opened: {reason}") from error
    try:
        if problems := list(_distrust(path, os.fstat(descriptor))):
            raise ConfigError(str(path), problems)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(_LONGEST + 1)
    except OSError as error:
        raise _refusal(path, "(file)", f"cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)


def _distrust(path: Path, status: os.stat_result) -> Iterator[Problem]:
    if not stat.S_ISREG(status.st_mode):
        yield Problem("(file)", f"is a {_sort(status.st_mode)}; name a file")
        return
    name = shlex.quote(str(path))
    if status.st_uid not in (0, os.geteuid()):
        yield Problem(
            "(file)", f"belongs to uid {status.st_uid}; it starts programs as you: chown {os.geteuid()} {name}"
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mode = stat.S_IMODE(status.st_mode)
        yield Problem("(file)", f"others may write it (mode {mode:04o}); it starts programs as you: chmod go-w {name}")


def _sort(mode: int) -> str:
    names = {stat.S_IFDIR: "directory", stat.S_IFIFO: "fifo", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}
    return names.get(stat.S_IFMT(mode), "special file")


def _text(data: bytes, path: Path) -> str:
    if len(data) > _LONGEST:
        raise _refusal(path, "(file)", f"is longer than {_LONGEST} bytes; name another")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _refusal(path, "(file)", "is written in UTF-16; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise _refusal(path, f"line {line}", found) from error
    if not text.strip():
        raise _refusal(path, "(file)", f"is empty; begin with {SMALLEST}")
    return text


def _malformed(path: Path, text: str, error: json.JSONDecodeError) -> ConfigError:
    # Python 3.13 points at a comma too many, 3.11 at what follows it.
    before = text[: error.pos].rstrip()
    at = len(before) - 1 if before.endswith(",") and text[error.pos :][:1] in ("}", "]") else error.pos
    rest = text[at:]
    if rest[:1] == "," and rest[1:].lstrip()[:1] in ("}", "]"):
        reason = "a comma stands before the closing bracket; remove it"
    elif rest[:1] in ("/", "#"):
        reason = "comments are not allowed; remove it"
    elif rest[:1] == "'":
        reason = 'strings take double quotes; write "..."'
    else:
        reason = f"{error.msg[:1].lower()}{error.msg[1:]}"
    line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
    return _refusal(path, f"line {line}, column {column}", f"not JSON: {reason}")


def _refusal(path: Path, place: str, finding: str) -> ConfigError:
    return ConfigError(str(path), [Problem(place, finding)])
