"""What a broker does not pay for at its start."""

import subprocess
import sys

CHECK = """
import sys
import acp_broker.cli.stdio, acp_broker.cli.serve, acp_broker.auth.oauth
print(sorted(sys.modules.keys() & {"httpx2", "cryptography", "keyring"}))
"""


def test_no_editor_waits_for_what_talks_to_token_servers() -> None:
    """It takes longer to load than all of ours together, and most brokers have no use for it."""
    done = subprocess.run([sys.executable, "-c", CHECK], capture_output=True, text=True, check=True, timeout=60)

    assert "[]\n" == done.stdout
