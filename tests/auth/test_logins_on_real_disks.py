"""A disk that is full or read-only for real: its own small file system, in a mount namespace of its own.

As root alone, which CI is: nobody else may mount.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.namespaces import needs_namespaces

# Renews a login on a disk that refuses to write while the provider is asked; says what is known then, and after it
# takes it again. `spoil` and `mend` are shell commands.
_RENEWS = """
import asyncio, json, subprocess, sys, time
from pathlib import Path
from acp_broker.auth.lease import Logins
from acp_broker.auth.refresh import Refresher
from acp_broker.auth.tokens import TokenSet
from acp_broker.clock import SystemClock

home, spoil, mend = Path(sys.argv[1]), *sys.argv[2:]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", str(home)], check=True)
clock = SystemClock()

class Source:
    needs_login = True
    async def refresh(self, tokens):
        subprocess.run(spoil, shell=True, cwd=home)
        return TokenSet(access="new", refresh="r1", expires_at=time.time() + 3600)

async def run():
    said = []
    logins = Logins(home, clock)
    logins.put("work", TokenSet(access="old", refresh="r0", obtained_at=1.0, expires_at=2.0))
    refresher = Refresher(logins, clock, lambda event, **fields: said.append([event, fields.get("why", "")]))
    given = (await refresher.tokens("work", Source(), 10)).tokens.access
    there = logins.read("work").tokens.access, logins.owner("work").kind.value
    subprocess.run(mend, shell=True, cwd=home, check=True)
    await refresher.close()
    print(json.dumps([given, there, logins.read("work").tokens.access, logins.owner("work") is None, said]))

asyncio.run(run())
"""


@needs_namespaces
@pytest.mark.parametrize(
    ("spoil", "mend", "why"),
    [
        ("head -c 1000000 /dev/zero > filler", "rm filler", "No space left on device"),
        ("mount -o remount,ro .", "mount -o remount,rw .", "Read-only file system"),
    ],
)
def test_a_disk_that_refuses_an_answer_loses_none(tmp_path: Path, spoil: str, mend: str, why: str) -> None:
    """It is used from memory, its claim keeps others away, it is said, and it is written when the disk takes it."""
    command = ["unshare", "--mount", sys.executable, "-c", _RENEWS, str(tmp_path), spoil, mend]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert 0 == done.returncode, done.stderr
    given, there, after, is_released, said = json.loads(done.stdout)

    assert ("new", ["old", "mine"], "new", True) == (given, there, after, is_released)
    assert ["login_not_kept", "login_renewed", "login_kept"] == [event for event, _ in said]
    assert why in said[0][1]
