"""The official TypeScript SDK talks to an agent directly and through the broker, and cannot tell which is which.

The conversation is that of the Python SDK (test_python_sdk.py), held by tests/ts/talk.mjs.
"""

import json
from pathlib import Path

import pytest

from tests.support import typescript
from tests.support.broker import agent, chain
from tests.support.conversation import (
    SAME_MODES,
    TAKES_OVER_THERE,
    Told,
    answered,
    attempts,
    fails_in_the_middle,
    titles,
    words,
)
from tests.support.sdk_agent import SCRIPT
from tests.support.typescript import told
from tests.support.ways import Kind, direct, way_in

WAYS: list[Kind] = ["stdio", "relay", "websocket", "browser"]


@pytest.fixture(scope="module", autouse=True)
def packages() -> None:
    typescript.install()


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def alone(work: Path) -> Told:
    return told(direct(SCRIPT), work)


@pytest.fixture(scope="module", params=WAYS)
def behind(request: pytest.FixtureRequest, work: Path, tmp_path_factory: pytest.TempPathFactory) -> Told:
    with way_in(request.param, tmp_path_factory.mktemp("behind"), chain(main=agent(SCRIPT))) as way:
        return told(way, work)


def test_the_session_is_set_up_with_the_same_words(alone: Told, behind: Told) -> None:
    """Modes, options, commands and usage; their order around the answer to session/new is free."""
    assert alone.transcript.set_up == behind.transcript.set_up


def test_every_message_of_the_conversation_is_the_same(alone: Told, behind: Told) -> None:
    """The broker is worth nothing if an editor gets less behind it than in front of it."""
    assert answered(alone.transcript.talk) == answered(behind.transcript.talk)


def test_the_sdk_understood_all_of_it(alone: Told, behind: Told) -> None:
    """It checks by the schema and complains of the rest, so equal messages alone would prove too little.

    In any order: it looks for a handler of an extension a little later than for the others.
    """
    assert (sorted(alone.understood), [], []) == (sorted(behind.understood), alone.mishaps, behind.mishaps)


def test_an_error_after_the_first_word_names_the_backend_and_what_it_said(alone: Told, behind: Told) -> None:
    """The words are shown, so nobody else may be tried; the editor is told once, and clearly."""
    assert "out of ideas" == alone.error
    assert (
        "main failed after it had begun to answer: out of ideas. "
        "Nobody else was tried: its words were already shown"
    ) == behind.error  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "fault", "failure"),
    [
        *((kind, "killed", "crashed") for kind in WAYS),
        ("stdio", "killed between turns", "crashed"),
        ("stdio", "dressed", "server_error"),
        ("stdio", "error", "overloaded"),
    ],
)
def test_a_failover_in_the_middle_looks_like_one_agent(
    kind: Kind, fault: str, failure: str, work: Path, tmp_path: Path
) -> None:
    """The primary fails before the first word of the second turn; the spare goes on, with all its questions."""
    primary, spare = agent(fails_in_the_middle(fault)), agent(TAKES_OVER_THERE, **SAME_MODES)

    alone = told(direct(SCRIPT), work, settings=False)
    with way_in(kind, tmp_path, chain(primary=primary, spare=spare)) as way:
        behind = told(way, work, settings=False)

    assert words(alone.transcript.talk) == words(behind.transcript.talk)
    assert "Mine" not in titles(behind)
    assert [] == behind.mishaps
    assert ["primary"] == attempts(behind.heard)[0]
    assert [f"primary {failure}", "spare"] == attempts(behind.heard)[1]


def test_the_lock_names_each_package_by_its_content_and_no_registry() -> None:
    """Everybody installs the same bytes, from the registry that is theirs."""
    lock = (typescript.HERE / "package-lock.json").read_text()
    packages = json.loads(lock)["packages"]

    assert [""] == [name for name, package in packages.items() if "integrity" not in package]
    assert "resolved" not in lock
