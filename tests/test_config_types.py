"""The types of config.json against msgspec itself."""

import subprocess
import sys

# A decoder that was thrown away used to take the process with it, at its exit or earlier.
THROWN_AWAY = """
import gc, msgspec
from acp_broker.config import Document
from backends.acp import AcpConfig
from backends.acp.row import Row
for _ in range(200):
    for kind in (Document, AcpConfig, Row):
        msgspec.json.Decoder(kind | None)
    kept = [bytes(64) for _ in range(50)]
from acp_broker.config import credentials
for _ in range(200):
    for kind in credentials.ApiKeyProfile.__annotations__["key"], credentials.Secret:
        decoder = msgspec.json.Decoder(kind)
        decoder.decode(b'"$A"')
        del decoder
    kept = [bytes(64) for _ in range(50)]
gc.collect()
"""


def test_the_types_can_be_thrown_away() -> None:
    """A union that msgspec frees wrongly ends every command with a segmentation fault, now and then."""
    assert 0 == subprocess.run([sys.executable, "-c", THROWN_AWAY], check=False).returncode
