"""Each provider's failures in their real wire shape: what the code takes them for, and what the docs say of that."""

import pytest

from tests.support.provider_failures import PROVIDERS, Case, Provider
from tests.support.provider_failures.page import PAGE, written
from tests.support.provider_failures.running import seen

CASES = [(provider, case) for provider in PROVIDERS for case in provider.cases]


@pytest.mark.parametrize(("provider", "case"), CASES, ids=[f"{one.name}: {case.what}" for one, case in CASES])
def test_a_providers_failure_is_what_it_is(provider: Provider, case: Case) -> None:
    """A wrong kind ends a turn that another backend could serve, or asks a provider that cannot."""
    found = seen()[provider.name, case.what]
    wait_s = None if isinstance(found.of, str) else found.of.retry_after_s

    assert (case.expected, case.wait_s) == (found.kind, wait_s if wait_s is None else round(wait_s, 6))


def test_a_case_is_told_by_its_name() -> None:
    """Two of one name would be tested as one."""
    assert len(CASES) == len({(provider.name, case.what) for provider, case in CASES})


def test_the_page_shows_the_cases() -> None:
    """To mend: python -m tests.support.provider_failures.page"""
    page = PAGE.read_text()

    assert written(page) == page
