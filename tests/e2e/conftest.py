"""What holds for every end-to-end run, whichever test has started it."""

from collections.abc import Iterator

import pytest

from tests.support.session_logs import check_logs


@pytest.fixture(scope="session", autouse=True)
def every_log_replays(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """At the very end, each session log that any broker has left is played again by the turn machine alone."""
    yield
    for sessions in tmp_path_factory.getbasetemp().rglob("sessions"):
        check_logs(sessions.parent)
