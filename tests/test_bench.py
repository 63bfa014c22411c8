"""scripts/bench measures something: a run with tiny counts prints its whole table. Times are nobody's promise here."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
TINY = [
    "--turns",
    "2",
    "--flood",
    "50",
    "--rounds",
    "1",
    "--starts",
    "1",
    "--sessions",
    "20",
    "--stored",
    "5",
    "--megabytes",
    "1",
]
# What Linux alone can say.
ONLY_LINUX = {"CPU per update, us", "memory, initialized, MB", "memory, session open, MB", "its guardian, MB"}
ONLY_LINUX |= {"CPU per chunk, us", "memory per idle session, KB", "closed after a turn"}


def test_the_bench_prints_every_measurement_with_its_numbers() -> None:
    """Whoever changes the hot path must be able to run it: it breaks with the broker's command line, not in silence."""
    told = subprocess.run(
        [sys.executable, "-m", "bench", *TINY], cwd=ROOT, capture_output=True, check=True, text=True, timeout=120
    )
    rows = [re.split(r"  +", line.strip()) for line in told.stdout.splitlines() if line[:4].strip()]
    with_numbers = {what for what, *cells in rows if re.search(r"\d", "".join(cells))}
    expected = {
        "first output, p50 ms",
        "added to direct",
        "target",
        "first output, p99 ms",
        "updates per second",
        "times direct",
        "start to initialize, ms",
        "nothing learnt yet",
        "Python alone, for scale",
        "full folder, start, ms",
        "first list, ms",
        "next list, ms",
        "resume a long session, ms",
        "first output there, ms",
        "first output in a new one, ms",
        "added to a socket",
        "added to httpx2",
        "50 paced streams, p50 ms",
        "50 paced streams, p99 ms",
        "chunks per second, 50 streams",
        "chunks per second, a flood",
        "503",
        "refused",
    }
    assert expected == with_numbers - ONLY_LINUX
