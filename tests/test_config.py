"""config.json: what is accepted, and the exact words for what is not."""

import os
from enum import Enum
from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec import Meta, Struct

from acp_broker.backend_config import BackendConfig
from acp_broker.config import (
    AgentProfile,
    ApiKeyProfile,
    EnvSecret,
    KeyringSecret,
    TokenProfile,
    child_variable,
    find,
    load,
    reference,
    state_dir,
)
from acp_broker.errors import ConfigError, Problem, UsageError
from tests.support.config import KINDS, MINIMAL, Agent, Silent, loaded, write

AGENT = {"kind": "acp", "command": ["agent"]}
OAUTH = {"type": "oauth", "clientId": "c", "tokenUrl": "https://t.test/token"}


def problems(folder: Path, content: object) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, content)
    return list(caught.value.problems)


def with_(**sections: object) -> dict[str, object]:
    return {**MINIMAL, **sections}


# --- what a good file becomes ---------------------------------------------------------------------------------------


def test_the_smallest_file_gets_every_default(tmp_path: Path) -> None:
    """Two keys are enough to start."""
    config = loaded(tmp_path, MINIMAL)

    assert ("one", (), {"one": Silent()}, 120_000, ()) == (
        config.acp.backend,
        config.acp.fallbacks,
        config.backends,
        config.limits.first_output_ms,
        config.warnings,
    )


def test_a_chain_is_trimmed_and_names_nobody_twice(tmp_path: Path) -> None:
    """As OpenClaw reads `fallbacks`: first mention kept, the primary is not its own fallback."""
    backends = {"one": {"kind": "silent"}, "two": {"kind": "silent"}, "three": {"kind": "silent"}}
    chain = {"backend": " one ", "fallbacks": ["three", "one", " two", "three"]}

    config = loaded(tmp_path, {"acp": chain, "backends": backends})

    left_out = tuple(
        Problem(f"acp.fallbacks[{index}]", f'"{name}" is in the chain already: it is left out here')
        for index, name in ((1, "one"), (3, "three"))
    )
    expected = ("one", ("three", "two"), left_out)
    assert expected == (config.acp.backend, config.acp.fallbacks, config.warnings)


def test_home_is_put_in_for_a_tilde_in_programs_variables_and_paths(tmp_path: Path) -> None:
    """No shell stands between config.json and the program, so nobody else would."""
    entry = {"kind": "acp", "command": ["~/bin/agent", "~/kept"], "env": {"A": "~/a", "B": "~", "C": "x~/", "D": "~u/"}}

    config = loaded(tmp_path, with_(backends={"one": entry}, log={"file": "~/broker.log"}))

    expected = Agent(
        command=("/home/u/bin/agent", "~/kept"), env={"A": "/home/u/a", "B": "/home/u", "C": "x~/", "D": "~u/"}
    )
    assert ({"one": expected}, Path("/home/u/broker.log")) == (config.backends, config.log.file)


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    """Some editors write one; it changes nothing."""
    plain = write(tmp_path, MINIMAL).read_bytes()

    expected = "one"
    assert expected == loaded(tmp_path, b"\xef\xbb\xbf" + plain).acp.backend


def test_members_of_the_chain_that_fail_together_are_warned_of(tmp_path: Path) -> None:
    """A fallback that runs the same program with the same credential is no fallback."""
    backends = {"one": AGENT, "silent": {"kind": "silent"}, "same": {**AGENT, "model": "big"}}
    chain = {"backend": "one", "fallbacks": ["silent", "one", "same"]}

    config = loaded(tmp_path, {"acp": chain, "backends": backends})

    finding = '"same" has the command and credential of "one": one failure stops both'
    assert Problem("acp.fallbacks[2]", finding) == config.warnings[-1]


def test_backends_without_a_program_give_no_warning(tmp_path: Path) -> None:
    """What they share is not known here."""
    backends = {"one": {"kind": "silent"}, "two": {"kind": "silent"}}

    warnings = loaded(tmp_path, {"acp": {"backend": "one", "fallbacks": ["two"]}, "backends": backends}).warnings
    assert not warnings


@pytest.mark.parametrize("own", [{"command": ["other"]}, {"env": {"AGENT_HOME": "~/other"}}, {"auth": "login"}])
def test_members_of_the_chain_that_differ_in_what_can_fail_give_no_warning(
    tmp_path: Path, own: dict[str, object]
) -> None:
    """The same program with another home or account has limits of its own."""
    content = {
        "acp": {"backend": "one", "fallbacks": ["two"]},
        "backends": {"one": AGENT, "two": {**AGENT, **own}},
        "auth": {"profiles": {"login": {"type": "agent"}}},
    }

    warnings = loaded(tmp_path, content).warnings
    assert not warnings


def test_another_host_than_loopback_is_taken_with_tls(tmp_path: Path) -> None:
    """A token is asked for in any case: ours, where config.json names none."""
    tls = {"certificate": "/c.pem", "key": "/k.pem"}
    config = loaded(tmp_path, with_(frontends={"websocket": {"host": "0.0.0.0", "tls": tls}}))

    assert ("0.0.0.0", ()) == (config.frontends.websocket.host, config.warnings)


@pytest.mark.parametrize("profile", [{"type": "google"}, {**OAUTH, "authorizationUrl": "https://t/login"}])
def test_a_login_that_no_agent_is_given_is_warned_of(tmp_path: Path, profile: dict[str, object]) -> None:
    """Taken in silence, it looks as if it worked."""
    [warning] = loaded(tmp_path, with_(auth={"profiles": {"x": profile}})).warnings
    given = loaded(tmp_path, with_(auth={"profiles": {"x": {**profile, "env": "TOKEN"}}})).warnings

    found = 'no agent is given it: say in which variable, such as "env": "ANTHROPIC_API_KEY"'
    assert (Problem("auth.profiles.x", found), ()) == (warning, given)


def test_a_login_that_nobody_can_begin_is_warned_of(tmp_path: Path) -> None:
    """It has the address that refreshes, and none where a person says who they are."""
    found = loaded(tmp_path, with_(auth={"profiles": {"x": OAUTH}})).warnings

    said = "nobody can log in by it: say authorizationUrl or deviceAuthorizationUrl"
    assert ("auth.profiles.x", said) in [(warning.path, warning.finding) for warning in found]


@pytest.mark.parametrize(
    "address", ["https://t.test/token", "https://t.test:8443/token?v=2", "http://127.0.0.1:5/t", "http://[::1]:5"]
)
def test_a_token_comes_over_tls_or_from_this_machine(tmp_path: Path, address: str) -> None:
    """RFC 6749, section 3.2."""
    profile = loaded(tmp_path, with_(auth={"profiles": {"x": {**OAUTH, "tokenUrl": address}}})).auth.profiles

    assert [address] == [one.token_url for one in profile.values()]


@pytest.mark.parametrize(
    "address",
    [
        "http://t.test/token",
        "http://localhost.t.test/token",
        "http://127.0.0.1.t.test/token",
        "http://127.0.0.1@t.test/token",
        "https://user:secret@t.test/token",
        "https://t.test/token#part",
        "https://",
        "https:///token",
        "t.test/token",
    ],
)
def test_no_other_address_is_taken_for_a_token(tmp_path: Path, address: str) -> None:
    """A refresh token in the clear, or sent to somebody else, is a stolen one."""
    found = problems(tmp_path, with_(auth={"profiles": {"x": {**OAUTH, "tokenUrl": address}}}))

    assert [Problem("auth.profiles.x.tokenUrl", "expected an address that begins with https://")] == found


def test_a_secret_that_no_agent_is_given_is_warned_of(tmp_path: Path) -> None:
    """A file or a keyring does not say what an agent calls its key."""
    profile = {"type": "token", "token": {"source": "keyring", "id": "k"}}
    config = loaded(tmp_path, with_(auth={"profiles": {"x": profile, "y": {**profile, "env": "A_TOKEN"}}}))

    found = 'no agent is given it: say in which variable, such as "env": "ANTHROPIC_API_KEY"'
    assert (Problem("auth.profiles.x", found),) == config.warnings


@pytest.mark.parametrize("profile", [{"type": "agent"}, {"type": "api_key", "key": "$KEY"}])
def test_profiles_that_work_give_no_warning(tmp_path: Path, profile: dict[str, object]) -> None:
    """The agent's own login, and what the environment holds."""
    config = load(KINDS, path=write(tmp_path, with_(auth={"profiles": {"x": profile}})), environ={"KEY": "k"})
    assert not config.warnings


def test_a_key_that_the_environment_lacks_is_warned_of(tmp_path: Path) -> None:
    """An editor that the desktop started has no shell's variables; the agent would only say that it is logged out."""
    config = loaded(tmp_path, with_(auth={"profiles": {"x": {"type": "api_key", "key": "$KEY"}}}))

    assert (Problem("auth.profiles.x", "KEY is not set in this environment"),) == config.warnings


def test_a_chain_limit_that_leaves_nothing_is_warned_of(tmp_path: Path) -> None:
    """The first backend would use it up, and no fallback would ever be asked."""
    backends = {"one": {"kind": "silent"}, "two": {"kind": "silent"}}
    chain = {"backend": "one", "fallbacks": ["two"]}
    [warning] = loaded(tmp_path, {"acp": chain, "backends": backends, "limits": {"chainMs": 20_000}}).warnings

    expected = "limits.chainMs"
    assert expected == warning.path


def test_a_limit_that_was_meant_in_seconds_is_warned_of(tmp_path: Path) -> None:
    """120 ms for the first output fails every turn."""
    config = loaded(tmp_path, with_(limits={"firstOutputMs": 120}))

    expected = (Problem("limits.firstOutputMs", "120 is in milliseconds; for seconds write 120000"),)
    assert expected == config.warnings


@pytest.mark.parametrize(
    ("limit", "findings"),
    [
        (30, ["30 is in milliseconds; for seconds write 30000"]),
        (0, ["0 is in milliseconds; no time is left"]),
        (100, []),
    ],
)
def test_a_backends_own_limit_that_nobody_can_keep_is_warned_of(
    tmp_path: Path, limit: int, findings: list[str]
) -> None:
    """It would be passed over in every turn. A backend may be fast, and a test of failover faster."""
    backends = {"one": {"kind": "silent", "limits": {"firstOutputMs": limit, "stoppingMs": 1}}}

    found = loaded(tmp_path, with_(backends=backends)).warnings

    assert [Problem("backends.one.limits.firstOutputMs", finding) for finding in findings] == list(found)


def test_a_type_is_fetched_only_for_a_kind_that_is_used(tmp_path: Path) -> None:
    """A kind's module is imported when its type is asked for; start-up pays for no others."""
    fetched: list[str] = []

    class Recording(dict[str, type]):
        def __getitem__(self, name: str) -> type:
            fetched.append(name)
            return super().__getitem__(name)

    load(Recording(KINDS), path=write(tmp_path, MINIMAL), environ={})

    assert {"silent"} == set(fetched)


# --- every problem at once ------------------------------------------------------------------------------------------


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    """One round of corrections, not one per error. The words are API."""
    backends = {"claude": {"kind": "apc"}, "spare": {"kind": "acp", "command": "codex-acp", "auth": "wrok"}}
    content = {
        "acp": {"backend": "claude", "fallbacks": ["spare", "spere"], "commitPiont": "submitted", "notice": "mesage"},
        "backends": backends,
        "auth": {"profiles": {"work": {"type": "agent"}}},
        "limits": {"idleMs": "30000", "queuedPrompts": 2000, "chainMs": True},
    }

    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, content)

    unknown = 'there is no such key; did you mean "commitPoint"? known: backend, commitPoint, fallbacks, notice'
    expected = f"""\
{tmp_path}/config.json: 9 problems
  acp.fallbacks[1]        no backend is called "spere"; did you mean "spare"? known: claude, spare
  acp.commitPiont         {unknown}
  acp.notice              no such value: "mesage"; did you mean "message"? known: message, meta, off
  backends.claude.kind    no kind is called "apc"; did you mean "acp"? known: acp, silent
  backends.spare.command  expected an array, got a string; write ["codex-acp"]
  backends.spare.auth     no profile is called "wrok"; did you mean "work"? known: work
  limits.idleMs           expected a whole number from 0 to 86400000 or null, got a string; write it without quotes
  limits.queuedPrompts    expected a whole number from 0 to 1000, got 2000
  limits.chainMs          expected a whole number from 0 to 86400000 or null, got true"""
    assert expected == str(caught.value)


EXPOSED = 'other machines can reach this host; set "tls", or write "127.0.0.1"'
REFERENCE = 'expected a reference such as "${ANTHROPIC_API_KEY}"; the secret itself is never written here'
KEPT = 'keep it in the environment or keyring and refer to it in auth.profiles: "key": "${ANTHROPIC_API_KEY}"'


@pytest.mark.parametrize(
    ("content", "path", "finding"),
    [
        ([], "(file)", "expected an object, got an array"),
        ({"backends": {}}, "acp", "is missing; expected an object"),
        (with_(backends={"one": {}}), "backends.one.kind", "is missing; known: acp, silent"),
        (with_(backends={"one": {"kind": 1}}), "backends.one.kind", "expected a string, got 1"),
        (with_(backends={"one": {"kind": "acp"}}), "backends.one.command", "is missing; expected an array"),
        (
            with_(backends={"one": AGENT, "a/b": AGENT}),
            'backends["a/b"]',
            "expected an id of letters, digits and ._- (64 at most)",
        ),
        (
            with_(backends={"one": {"kind": "acp", "command": []}}),
            "backends.one.command",
            'names no program; write ["claude-agent-acp"]',
        ),
        (
            with_(backends={"one": {"kind": "acp", "command": ["./agent"]}}),
            "backends.one.command[0]",
            'is a relative path; write an absolute one, "~/...", or a name found on $PATH',
        ),
        (
            with_(backends={"one": {**AGENT, "command": ["a", 8080]}}),
            "backends.one.command[1]",
            "expected a string, got 8080; write it in quotes",
        ),
        (
            with_(backends={"one": {**AGENT, "limits": {"startingMs": -1}}}),
            "backends.one.limits.startingMs",
            "expected a whole number from 0 to 86400000, got -1",
        ),
        (
            with_(limits={"first_output_ms": 1}),
            "limits.first_output_ms",
            'there is no such key; did you mean "firstOutputMs"?',
        ),
        (
            with_(limits={"idleMs": 10**40}),
            "limits.idleMs",
            "expected a whole number from 0 to 86400000, got a longer number",
        ),
        (
            with_(acp={"backend": "x" * 100}),
            "acp.backend",
            f'no backend is called "{"x" * 64}..."; known: one',
        ),
        (with_(log={"file": "a.log"}), "log.file", 'expected an absolute path, or one that begins with "~/"'),
        (with_(frontends={"websocket": {"host": "0.0.0.0", "token": "${T}"}}), "frontends.websocket", EXPOSED),
        (
            with_(backends={"one": {"kind": "acp", "command": "npx -y agent --key hunter2"}}),
            "backends.one.command",
            'expected an array, got a string; write ["npx", ...]',
        ),
        (
            with_(secrets={"providers": {"v": {"source": "exec", "command": "/v", "jsonOnly": "false"}}}),
            "secrets.providers.v.jsonOnly",
            "expected true or false, got a string; write it without quotes",
        ),
        (with_(auth={"profiles": {"a": {"type": "api_key", "key": "hunter2"}}}), "auth.profiles.a.key", REFERENCE),
        (
            with_(auth={"profiles": {"a": {"type": "oath"}}}),
            "auth.profiles.a.type",
            'no type is called "oath"; did you mean "oauth"? known: agent, api_key, google, oauth, token',
        ),
        (
            with_(auth={"profiles": {"a": {"type": "token", "token": {"source": "exec", "id": "x"}}}}),
            "auth.profiles.a.token.provider",
            'no secrets provider is called "default"; known: none',
        ),
        (
            with_(secrets={"providers": {"v": {"source": "env"}}, "defaults": {"file": "v"}}),
            "secrets.defaults.file",
            '"v" is no provider for file; name one that is',
        ),
    ],
)  # fmt: skip
def test_a_problem_has_its_place_and_says_what_to_write(
    tmp_path: Path, content: object, path: str, finding: str
) -> None:
    """The message is all that a person has; nobody should need the documentation to act on it."""
    assert [Problem(path, finding)] == problems(tmp_path, content)


def test_a_name_with_a_line_break_does_not_break_the_line(tmp_path: Path) -> None:
    """A message that config.json can lay out as it likes can be made to lie."""
    content = with_(acp={"backend": "x"}, backends={"one": {"kind": "silent"}, "a\nb": {"kind": "silent"}})

    expected = Problem("acp.backend", r'no backend is called "x"; known: "a\nb", one')
    assert expected == problems(tmp_path, content)[0]


class Leaf(Struct, frozen=True, forbid_unknown_fields=True, tag_field="do", tag="leaf"):
    size: int | float = 0


class Branch(Struct, frozen=True, forbid_unknown_fields=True, tag_field="do", tag="branch"):
    inside: "tuple[Leaf | Branch, ...]" = ()


class Colour(Enum):
    RED = "red"


class Rich(BackendConfig, frozen=True, tag="rich"):
    """What an outside package may think of."""

    tree: Leaf | Branch = Branch()
    colour: Colour | dict[str, int] = Colour.RED
    low: int = 0
    high: int = 9
    pair: Annotated[tuple[str, ...], Meta(min_length=2)] = ("a", "b")

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low must not be above high")


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"tree": {"do": "branch", "inside": [{"do": "leaf", "size": 1.5}]}, "colour": {"r": 1}}, []),
        (
            {"tree": {"do": "branch", "inside": [{"do": "leaf"}, {"do": "laef"}, {"do": "leaf", "size": "x"}]}},
            [
                Problem(
                    "backends.b.tree.inside[1].do", 'no do is called "laef"; did you mean "leaf"? known: branch, leaf'
                ),
                Problem("backends.b.tree.inside[2].size", "expected a whole number or a number, got a string"),
            ],
        ),
        ({"colour": "blue"}, [Problem("backends.b.colour", "invalid enum value 'blue'")]),
        ({"low": 10}, [Problem("backends.b", "low must not be above high")]),
        ({"pair": ["a"]}, [Problem("backends.b.pair", "expected array of length >= 2")]),
    ],
)  # fmt: skip
def test_what_a_kind_takes_is_checked_as_deeply(
    tmp_path: Path, entry: dict[str, object], expected: list[Problem]
) -> None:
    """Outside packages bring types that nobody here has seen."""
    path = write(tmp_path, {"acp": {"backend": "b"}, "backends": {"b": {"kind": "rich", **entry}}})
    try:
        load({"rich": Rich}, path=path, environ={})
        found: tuple[Problem, ...] = ()
    except ConfigError as error:
        found = error.problems

    assert expected == list(found)


def test_a_key_written_twice_is_refused(tmp_path: Path) -> None:
    """JSON parsers silently keep one of them, and people expect the other."""
    content = b'{"acp": {"backend": "one"}, "backends": {"one": {"kind": "silent"}, "one": {"kind": "silent"}}}'

    assert [Problem("backends.one", "is written twice; keep one")] == problems(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "path", "finding"),
    [
        (b'{\n  "acp": {},\n}', "line 2, column 12", "a comma stands before the closing bracket; remove it"),
        (b'{"acp": 1, // one\n}', "line 1, column 12", "comments are not allowed; remove it"),
        (b"{'acp': 1}", "line 1, column 2", 'strings take double quotes; write "..."'),
        (b'{"acp": 1', "line 1, column 10", "expecting ',' delimiter"),
        (b"{} {}", "line 1, column 4", "extra data"),
    ],
)
def test_malformed_json_is_placed_by_line_and_column(tmp_path: Path, content: bytes, path: str, finding: str) -> None:
    """A byte offset helps nobody in an editor."""
    assert [Problem(path, f"not JSON: {finding}")] == problems(tmp_path, content)


# --- secrets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "path"),
    [
        ({"auth": {"profiles": {"a": {"type": "api_key", "key": "KEY"}}}}, "auth.profiles.a.key"),
        ({"backends": {"one": {**AGENT, "env": {"OPENAI": "KEY"}}}}, "backends.one.env.OPENAI"),
        ({"backends": {"one": {"kind": "acp", "command": ["a", "--key=KEY"]}}}, "backends.one.command[1]"),
        ({"backends": {"one": {"kind": "silent", "auth": "KEY"}}}, "backends.one.auth"),
    ],
)
def test_a_secret_written_out_is_refused_and_never_repeated(
    tmp_path: Path, section: dict[str, object], path: str
) -> None:
    """config.json gets copied and committed, and messages end up in logs."""
    text = write(tmp_path, with_(**section)).read_bytes().replace(b'KEY"', b'sk-test-0123456789abcdef"')

    assert [Problem(path, f"a secret is written out; {KEPT}")] == problems(tmp_path, text)


@pytest.mark.parametrize("shorthand", ["$ANTHROPIC_API_KEY", "${ANTHROPIC_API_KEY}"])
def test_the_shorthand_means_a_variable(shorthand: str) -> None:
    """OpenClaw, docs/gateway/secrets.md: `"${VAR}"` and `"$VAR"`."""
    assert EnvSecret(id="ANTHROPIC_API_KEY") == reference(shorthand)


@pytest.mark.parametrize(
    ("profile", "variable"),
    [
        (ApiKeyProfile(key="${A}", env="B"), "B"),
        (ApiKeyProfile(key="${A}"), "A"),
        (TokenProfile(token=EnvSecret(id="A")), "A"),
        (TokenProfile(token=KeyringSecret(id="a")), None),
    ],
)
def test_a_child_finds_a_secret_where_the_profile_says(profile: ApiKeyProfile, variable: str | None) -> None:
    """The name that it is read from is the name that the agent knows, unless the profile says otherwise."""
    assert variable == child_variable(profile)


def test_profiles_and_references_of_every_source_are_read(tmp_path: Path) -> None:
    """OpenClaw's `secrets` block can be taken over as it is."""
    secrets = {
        "providers": {
            "environment": {"source": "env", "allowlist": ["ANTHROPIC_API_KEY"]},
            "files": {"source": "file", "path": "~/secrets.json", "mode": "json", "timeoutMs": 5000},
            "vault": {"source": "exec", "command": "/usr/local/bin/vault-read", "passEnv": ["HOME"]},
        },
        "defaults": {"file": "files"},
        "resolution": {"maxProviderConcurrency": 4, "maxRefsPerProvider": 512, "maxBatchBytes": 262144},
    }
    profiles = {
        "anthropic:me@example.org": {"type": "api_key", "key": {"source": "file", "id": "/anthropic/key"}},
        "vaulted": {"type": "token", "token": {"source": "exec", "provider": "vault", "id": "work/key"}},
        "ring": {"type": "api_key", "key": {"source": "keyring", "provider": "default", "id": "anthropic/work"}},
        "login": {"type": "agent"},
    }
    config = loaded(tmp_path, with_(secrets=secrets, auth={"profiles": profiles}))

    assert (3, AgentProfile()) == (len(config.secrets.providers), config.auth.profiles["login"])


# --- the file itself ------------------------------------------------------------------------------------------------


def refusal(path: Path) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        load(KINDS, path=path, environ={})
    assert str(path) == caught.value.source
    return list(caught.value.problems)


def test_a_missing_file_says_how_to_begin(tmp_path: Path) -> None:
    """It is the first thing that a newcomer sees, so what it tells them to write must work."""
    (problem,) = refusal(tmp_path / "config.json")
    begin = problem.finding.partition("begin with ")[2]

    expected = "claude"
    assert expected == loaded(tmp_path, begin.encode()).acp.backend


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    """Whoever writes it starts programs as us."""
    path = write(tmp_path, MINIMAL)
    path.chmod(mode)

    finding = f"others may write it (mode {mode:04o}); it starts programs as you: chmod go-w {path}"
    assert [Problem("(file)", finding)] == refusal(path)


def test_a_file_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only we and root may decide what we start."""
    path = write(tmp_path, MINIMAL)
    if os.geteuid() == 0:
        os.chown(path, 4242, -1)
        owner, us = 4242, 0
    else:
        owner, us = os.geteuid(), 4242
        monkeypatch.setattr(os, "geteuid", lambda: us)

    finding = f"belongs to uid {owner}; it starts programs as you: chown {us} {path}"
    assert [Problem("(file)", finding)] == refusal(path)


def test_a_fifo_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    """Opening one for reading waits for ever."""
    path = tmp_path / "config.json"
    os.mkfifo(path, 0o600)

    assert [Problem("(file)", "is a fifo; name a file")] == refusal(path)


def test_a_directory_is_refused(tmp_path: Path) -> None:
    """`--config .` is an easy slip."""
    tmp_path.chmod(0o700)

    assert [Problem("(file)", "is a directory; name a file")] == refusal(tmp_path)


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    """A log named by mistake must not fill the memory."""
    path = write(tmp_path, b"")
    os.truncate(path, 100_000_000)

    assert [Problem("(file)", "is longer than 1048576 bytes; name another")] == refusal(path)


def test_a_path_through_a_file_is_refused(tmp_path: Path) -> None:
    """What the system says is passed on."""
    inside = write(tmp_path, MINIMAL) / "config.json"

    assert [Problem("(file)", "cannot be opened: Not a directory")] == refusal(inside)


@pytest.mark.parametrize(
    ("content", "path", "finding"),
    [
        (b'{\n"a": "\xff"}', "line 2", "byte 0xff is not UTF-8; save the file as UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "(file)", "is written in UTF-16; save it as UTF-8"),
        (b'{"a": NaN}', "(file)", "holds a number that JSON does not have or that is too long"),
        (b'{"a": 1e999}', "(file)", "holds a number that JSON does not have or that is too long"),
        (b"1" * 5000, "(file)", "holds a number that JSON does not have or that is too long"),
        (b'{"a": "\\ud83d"}', "(file)", r"holds half a character, such as \ud83d alone; write the whole one"),
        (b"[" * 100_000, "(file)", "is nested too deeply"),
        (b'{"acp": ' + b"[" * 400 + b"]" * 400 + b"}", "acp", "expected an object, got an array"),
    ],
)
def test_strange_contents_are_named(tmp_path: Path, content: bytes, path: str, finding: str) -> None:
    """Each of these makes some JSON parser raise something else than a syntax error."""
    assert Problem(path, finding) == problems(tmp_path, content)[0]


@pytest.mark.parametrize("content", [b"", b" \n", b"\xef\xbb\xbf"])
def test_an_empty_file_says_how_to_begin(tmp_path: Path, content: bytes) -> None:
    """`touch config.json` is how many begin."""
    assert problems(tmp_path, content)[0].finding.startswith('is empty; begin with {"acp": ')


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["acp", "backends", "kind", "command", "limits", "auth", "profiles", "type", "key", "log"])
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
)


@settings(derandomize=True, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200) | _JSON)
@example(content=b"[" * 5000 + b"]" * 5000)
@example(content={**MINIMAL, "backends": {"one": {"kind": "acp", "command": [], "env": [], "auth": {}}}})
def test_any_bytes_give_a_config_or_a_config_error(tmp_path: Path, content: object) -> None:
    """A traceback tells an editor's user nothing."""
    try:
        loaded(tmp_path, content)
    except ConfigError as error:
        assert error.problems  # noqa: PT017 - either outcome is right


# --- places ---------------------------------------------------------------------------------------------------------


def test_an_explicit_path_comes_first() -> None:
    """--config FILE, else $ACP_BROKER_CONFIG, else the user's folder."""
    assert Path("/a.json") == find(Path("/a.json"), {"ACP_BROKER_CONFIG": "/b.json"})


def test_the_variable_comes_second() -> None:
    """Editors that cannot pass options can often set variables; none of them expands `~`."""
    assert Path("/home/u/b.json") == find(None, {"ACP_BROKER_CONFIG": "~/b.json", "HOME": "/home/u"})


def test_the_users_folder_comes_last_and_never_the_current_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An editor's current folder is somebody's repository; its config.json would start its programs."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, MINIMAL)

    found = find(None, {"ACP_BROKER_CONFIG": ""})

    expected = (("acp-broker", "config.json"), False)
    assert expected == (found.parts[-2:], found.is_relative_to(tmp_path))


@pytest.mark.parametrize("variable", ["ACP_BROKER_CONFIG", "ACP_BROKER_HOME"])
def test_a_relative_path_in_a_variable_is_refused(variable: str) -> None:
    """It would be looked for in the current folder."""
    with pytest.raises(UsageError, match=f"{variable} leads to the relative path here; set it to an absolute one"):
        (find(None, {variable: "here"}), state_dir({variable: "here"}))


def test_state_lives_where_the_variable_says() -> None:
    """Two brokers with different state do not meet."""
    assert Path("/srv/state") == state_dir({"ACP_BROKER_HOME": "/srv/state"})


def test_state_lives_in_the_users_state_folder() -> None:
    """It is neither configuration nor cache."""
    expected = "acp-broker"
    assert expected == state_dir({}).name
