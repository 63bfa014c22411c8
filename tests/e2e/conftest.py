"""What holds for every end-to-end run, whichever test has started it."""

from collections.abc import Iterator

import pytest

from tests.support.session_logs import check_logs


@pytest.fixture(scope="package", autouse=True)
def every_log_replays(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """At their very end, each session log that any broker has left is played again by the turn machine alone.

    Not the logs of other tests: some break the machine, or a log, on purpose.
    """
    base = tmp_path_factory.getbasetemp()
    others = set(base.iterdir())
    yield
    for folder in sorted(set(base.iterdir()) - others):
        for sessions in folder.rglob("sessions"):
            check_logs(sessions.parent)
