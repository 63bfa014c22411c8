"""The corpora by themselves: what each failure means; the whole turn is `tests/broker/test_corpora.py`'s."""

import msgspec
import pytest

from acp_broker.core.classify import from_rpc_error
from acp_broker.core.doubt import judge
from acp_broker.core.failures import FailureKind
from tests.support import corpora

LEAST = 60


@pytest.mark.parametrize("one", corpora.failing(), ids=lambda one: one.text[:40])
@pytest.mark.parametrize("usage_present", [None, False])
def test_a_failure_is_known_for_what_it_is(one: corpora.Failing, usage_present: bool | None) -> None:
    """How long its backend rests, and whether anybody else may help, depends on it."""
    failure = judge(one.text, "end_turn", usage_present)

    assert failure is not None
    assert FailureKind(one.kind) is failure.kind


@pytest.mark.parametrize("one", corpora.errors(), ids=lambda one: f"{one.source} {one.rpc.code}")
def test_an_error_is_known_for_what_it_is(one: corpora.Failing) -> None:
    """In every shape that agents were seen to send: statuses as codes, own ranges, data of any form."""
    assert one.rpc is not None
    data = None if one.rpc.data is None else msgspec.json.encode(one.rpc.data)

    assert FailureKind(one.kind) is from_rpc_error(one.rpc.code, one.rpc.message, data, seen_at="submitted").kind


@pytest.mark.parametrize("one", corpora.honest(), ids=lambda one: one.text[:40])
def test_an_honest_answer_is_none(one: corpora.Honest) -> None:
    """Where nothing is known of its agent."""
    assert judge(one.text, "end_turn", None) is None


@pytest.mark.parametrize("one", corpora.missed(), ids=lambda one: one.text[:40])
def test_a_failure_that_is_missed_is_known_to_be(one: corpora.Failing) -> None:
    """Whoever makes the rules see more of them finds out here, and takes the mark away."""
    assert judge(one.text, "end_turn", None) is None


def test_each_corpus_is_large_and_says_nothing_twice() -> None:
    """A few texts prove nothing."""
    texts = [[one.text for one in corpus] for corpus in (corpora.honest(), corpora.failing())]

    assert [True, True] == [len(set(some)) == len(some) >= LEAST for some in texts]
