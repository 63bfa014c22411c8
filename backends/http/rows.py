"""Failures of one's own in config.json, for a provider or gateway that fails in ways nobody else does."""

import re
from typing import Annotated, Literal

from msgspec import Meta, Struct

from acp_broker.backend_config import Milliseconds
from acp_broker.core.failures import FailureKind
from acp_broker.core.rules import Rule
from backends.regexp import RegExp

# Those that a provider can be the cause of: names of core.failures.FailureKind.
Kind = Literal[
    "unreachable",
    "overloaded",
    "server_error",
    "rate_limited",
    "account_rate_limited",
    "model_not_found",
    "unsupported",
    "guardrail",
    "auth_missing",
    "auth_rejected",
    "billing",
    "bad_request",
    "context_overflow",
]


class FailureRow(Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True, kw_only=True):
    """A failure that fits all of `status`, `code` and `text` that are written is of this `kind`."""

    kind: Kind
    status: Annotated[int, Meta(ge=300, le=599, description="Of HTTP, or named by the error.")] | None = None
    code: Annotated[str, Meta(min_length=1, max_length=100, description="A type, code or finish reason.")] | None = None
    text: RegExp | None = None
    retry_after_ms: Annotated[Milliseconds | None, Meta(description="Where the answer tells no wait.")] = None

    def __post_init__(self) -> None:
        if self.status is None and self.code is None and self.text is None:
            raise ValueError("name at least one of `status`, `code` and `text`")

    @property
    def rule(self) -> Rule:
        wait_s = None if self.retry_after_ms is None else self.retry_after_ms / 1000
        text = None if self.text is None else re.compile(self.text, re.IGNORECASE)
        return Rule(FailureKind(self.kind), self.status, self.code, text, wait_s)
