"""Programs that hand out secrets, and files that hold them, for tests."""

import sys
from pathlib import Path

# Reads the question and answers with the body that a test gives; `asked` is the question.
_PROGRAM = """#!{python} -I
import json, os, sys, time
from pathlib import Path
asked = json.loads(sys.stdin.readline())
name = asked["ids"][0]
def answer(values, **more):
    print(json.dumps({{"protocolVersion": 1, "values": values, **more}}), flush=True)
{body}
"""


def program(folder: Path, body: str, name: str = "helper") -> Path:
    """A secret program: `asked`, `name` and `answer` are there for its body."""
    path = folder / name
    path.write_text(_PROGRAM.format(python=sys.executable, body=body))
    path.chmod(0o700)
    return path


def kept(folder: Path, text: str, name: str = "secrets.json", mode: int = 0o600) -> Path:
    """A file of secrets."""
    path = folder / name
    path.write_text(text)
    path.chmod(mode)
    return path
