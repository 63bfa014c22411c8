"""The shape of a row: what is known of one agent by name. `rows.json` holds ours; config.json may hold the user's.

A row is data, short and dated. It never decides: `rows` finds it, and what it says is followed elsewhere.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from acp_broker.backend_config import PhaseLimits
from backends.acp import RowName
from backends.regexp import RegExp

# What a failure notice means where its own words say nothing more exact: a name of core.failures.FailureKind.
Meaning = Literal[
    "unreachable",
    "overloaded",
    "server_error",
    "rate_limited",
    "model_not_found",
    "auth_missing",
    "auth_rejected",
    "billing",
    "account_rate_limited",
    "bad_request",
    "context_overflow",
    "unclassified",
]
# What an agent does in a mode without asking: only read; nothing; edit files; anything.
Posture = Literal["reads", "asks", "edits", "acts"]

# What ends an agent: its input closed, SIGTERM, or nothing less than SIGKILL.
Leaves = Literal["eof", "term", "kill"]


Date = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$", extra={"expected": "a date such as 2026-11-20"})]


class _Shape(Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    pass


class Notice(_Shape, frozen=True):
    """How the agent words its provider's failure, as a message; `pattern` fits the beginning of it."""

    pattern: RegExp
    means: Meaning = "unclassified"


class Setting(_Shape, frozen=True):
    """A line in a file of the user's that would serve them: said by `check`, never written by us."""

    file: str
    key: str
    value: str
    why: str


class Login(_Shape, frozen=True):
    """How the user logs in: `hint` in a sentence; the files and variables in which a login is found."""

    hint: str = ""
    methods: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()


class Pointing(_Shape, frozen=True):
    """How the agent is sent to another address of its provider's: by variables, or by a key in a file.

    `local` sends it to a server that speaks OpenAI's API and needs no key. `{base}` stands for the address, without a
    path, `{model}` for the name of a model.
    """

    env: dict[str, str] = {}
    local: dict[str, str] = {}
    file: str | None = None
    key: str | None = None


class Row(_Shape, frozen=True, kw_only=True):
    """One agent. What is left out is not known, and the general rules hold."""

    like: Annotated[RowName | None, Meta(description="A known agent that this one extends.")] = None
    title: str = ""
    as_of: Annotated[Date | None, Meta(description="When this was true.")] = None
    measured: Annotated[str, Meta(description="Of which package and version.")] = ""

    packages: Annotated[tuple[str, ...], Meta(description="Of npm or PyPI, that hold it.")] = ()
    programs: Annotated[tuple[str, ...], Meta(description="What its program or Python module is called.")] = ()
    info_names: Annotated[tuple[str, ...], Meta(description="What it calls itself in initialize.")] = ()
    command: Annotated[tuple[str, ...], Meta(description="How to start it.")] = ()
    install: str = ""

    env: Annotated[dict[str, str], Meta(description="Set where it is not, if another backend may follow.")] = {}
    settings: tuple[Setting, ...] = ()
    retries_ms: Annotated[
        int | None,
        Meta(description="For how long it asks a provider that is overloaded before it says so, as it comes."),
    ] = None
    pointing: Pointing | None = None
    provider: Annotated[str, Meta(description="Whose failure is its own.")] = ""
    login: Login | None = None

    notices: tuple[Notice, ...] = ()
    retrying: Annotated[tuple[RegExp, ...], Meta(description="Fit a whole chunk that says that it tries again.")] = ()
    asides: Annotated[tuple[RegExp, ...], Meta(description="Fit the beginning of a chunk that is no answer.")] = ()
    reports_usage: Annotated[bool | None, Meta(description="Whether good answers carry usage; null: learnt.")] = None
    renews_usage: Annotated[bool, Meta(description="Whether half an answer has none, or that of the turn before.")] = (
        False
    )

    cancels: Annotated[
        Literal["obeys", "not_while_waiting"],
        Meta(description="Whether it hears a cancel while its provider is silent."),
    ] = "obeys"
    leaves: Annotated[Leaves, Meta(description="What ends it: its input closed, SIGTERM, or nothing less.")] = "eof"
    limits: PhaseLimits | None = None
    modes: Annotated[dict[str, Posture], Meta(description="What each of its modes lets it do unasked.")] = {}
    posture: Annotated[Posture | None, Meta(description="The same, of the mode that it begins in.")] = None
