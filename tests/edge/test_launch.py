"""What a user reads when a command cannot be started: which one, why, and what to write instead."""

import errno
import os
import resource
import subprocess
from pathlib import Path

import pytest

from acp_broker.core.failures import Failure, FailureKind
from acp_broker.edge.launch import launch
from acp_broker.errors import BackendFailure
from tests.edge.children import ENV, open_descriptors


def failure(*command: str, cwd: str | None = None, env: dict[str, str] = ENV) -> Failure:
    with pytest.raises(BackendFailure) as caught:
        launch(command, env, cwd)
    return caught.value.failure


def unreachable(text: str) -> Failure:
    return Failure(FailureKind.UNREACHABLE, text, seen_at="starting")


def test_a_command_that_is_not_on_path() -> None:
    """The most frequent mistake of all: the agent is not installed."""
    expected = unreachable("'no-such-agent' is not on PATH; install it or write its absolute path in command")

    assert expected == failure("no-such-agent", "--acp")


def test_a_path_that_does_not_exist() -> None:
    """A typing error, or an agent that was removed."""
    assert unreachable("'/no/such/agent' does not exist; correct the path in command") == failure("/no/such/agent")


def test_a_file_that_may_not_be_executed(tmp_path: Path) -> None:
    """A script that was copied without its mode."""
    (tmp_path / "agent").write_text("#!/bin/sh\n")
    agent = str(tmp_path / "agent")
    text = f"{agent!r} may not be executed; make it executable (chmod +x) or name another file in command"

    assert unreachable(text) == failure(agent)


def test_a_file_that_is_no_program(tmp_path: Path) -> None:
    """A JavaScript file without its first line."""
    agent = str(tmp_path / "agent")
    Path(agent).write_text("console.log(1)\n")
    Path(agent).chmod(0o755)
    text = f"{agent!r} is no program for this machine; put its interpreter first in command or add a #! line"

    assert unreachable(text) == failure(agent)


def test_a_script_whose_interpreter_is_missing(tmp_path: Path) -> None:
    """The system says "no such file" of the script, which is there: the most confusing message of all."""
    agent = str(tmp_path / "agent")
    Path(agent).write_text("#!/no/such/node\n")
    Path(agent).chmod(0o755)
    text = f"{agent!r} names an interpreter in its first line that is not there; install it or correct the line"

    assert unreachable(text) == failure(agent)


def test_a_script_on_its_own_path_whose_interpreter_is_missing(tmp_path: Path) -> None:
    """The reason must be looked for where the command was."""
    agent = tmp_path / "agent"
    agent.write_text("#!/no/such/node\n")
    agent.chmod(0o755)
    text = f"{str(agent)!r} names an interpreter in its first line that is not there; install it or correct the line"

    assert unreachable(text) == failure("agent", env={"PATH": str(tmp_path)})


def test_the_command_is_looked_up_in_the_path_of_its_own_environment(tmp_path: Path) -> None:
    """A backend may be given a PATH that the broker does not have."""
    (tmp_path / "agent").write_text("#!/bin/sh\n")
    (tmp_path / "agent").chmod(0o755)

    popen, pipes = launch(["agent"], {"PATH": str(tmp_path)}, None)
    for fd in pipes:
        os.close(fd)

    assert popen.wait() == 0


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    """Every backend would fail in it; and the system's message would name the folder as if it were the command."""
    gone = str(tmp_path / "gone")

    text = f"'true' cannot be started in {gone!r}: there is no such folder"
    assert Failure(FailureKind.BAD_REQUEST, text, seen_at="starting") == failure("true", cwd=gone)


def test_a_nul_byte_in_the_environment() -> None:
    """JSON can hold what a process cannot."""
    text = "'true' cannot be started: embedded null byte in its command or environment"

    assert unreachable(text) == failure("true", env={**ENV, "A": "\0"})


def test_an_environment_that_is_too_large() -> None:
    """Linux takes 128 KiB for one entry."""
    text = "'true' cannot be started: its arguments and environment are too large; shorten env"

    assert unreachable(text) == failure("true", env={**ENV, "A": "a" * 10_000_000})


def test_a_process_without_descriptors_left() -> None:
    """Too many sessions for the limit that the system gave us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        found = failure("true")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    text = "'true' cannot be started: too many open files; raise the limit (ulimit -n)"
    assert Failure(FailureKind.BROKER_FAULT, text, seen_at="starting") == found


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM])
def test_what_the_machine_has_run_out_of_is_no_backends_fault(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fallback could not be started either, and none of them shall rest for it."""

    def exhausted(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(subprocess, "Popen", exhausted)

    assert FailureKind.BROKER_FAULT == failure("true").kind


def test_a_failure_leaves_no_descriptor_open() -> None:
    """A session that retries for days must not run dry."""
    before = len(open_descriptors())

    failure("no-such-agent")

    assert before == len(open_descriptors())
