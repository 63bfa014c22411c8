"""The error code of a turn that the only backend of a chain could not answer."""

import pytest

from acp_broker.broker.story import Story, refused
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.names import BackendId, Candidate, TurnId
from acp_broker.core.turnrules import Miss
from acp_broker.errors import EXHAUSTED


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ("-32602", -32602),
        ("-32001", -32001),
        # acpx runs a prompt again when it sees this one.
        ("-32603", EXHAUSTED),
        # Killed by SIGKILL: the exit status of a process is no JSON-RPC code.
        ("-9", EXHAUSTED),
        ("3", EXHAUSTED),
        ("503", EXHAUSTED),
        ("overloaded_error", EXHAUSTED),
        (None, EXHAUSTED),
    ],
)
def test_a_lone_backend_keeps_its_code_only_if_it_is_one_of_json_rpc(own: str | None, told: int) -> None:
    """A client looks its codes up; one that means something else is worse than none."""
    failure = Failure(FailureKind.CRASHED, "gone", own)
    error = refused(
        [Miss(1, Candidate(BackendId("a")), failure)], committed=False, has_spoken=False, story=Story(TurnId("t"))
    )

    assert (told, "a: gone") == (error.code, error.message)
