"""The command line: `acp-broker COMMAND`. Each command's module is imported when it is run, so that stdio is fast."""

import errno
import gc
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

from acp_broker import __version__
from acp_broker.edge import descriptors

USAGE = """\
usage: acp-broker [--config FILE] COMMAND

  init [--print]         find agents, keys and model servers; write a first config.json, over none [--json] [--offline]
  check [--turn]         start every backend of the chain and say how each of them is [--json]
  demo                   watch five turns on scripted agents, one of them killed: no key, no network
  serve                  be a daemon: one broker for every editor and bridge of yours
  status [--json]        say what that daemon does, and how its backends are
  stdio                  be an ACP agent on stdin and stdout: what an editor starts
  ask PROMPT             run one turn and stream it to the terminal
  config check           say everything that is wrong with config.json
  config schema          print its JSON Schema
  config path            print where it is looked for
  sessions list          list the sessions that are kept, the latest first [--json]
  sessions show ID       print what was said in one
  sessions export ID     print one as Markdown, or with --json as JSON
  sessions delete ID...  delete them, or those not written for --older-than DAYS
  sessions reindex       read all their logs again for the list
  token show             print the token that bridges need for the WebSocket of serve
  token rotate           print another one, which holds from now on
  auth status [--json]   say how the profiles are: where each secret is, and what is wrong with it
  auth set PROFILE       put its secret into the keyring: typed unseen, or from a pipe
  auth logout PROFILE    remove its secret, or end its login
  auth unlock PROFILE    take a login from a process that renews it and cannot be seen to be gone
  login PROFILE          log in by a profile of type oauth, with --browser or with a code: --device
  login BACKEND METHOD   run an agent's own login in this terminal; without METHOD, name those it offers

  --config FILE          this config.json, not the user's
  --version              print the version
  --help                 print this

Docs: docs/config.md. The config is never looked for in the current folder.
"""
# What a stdout answers that is full, or not there for writing.
_UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status: 0 it worked, 1 it did not, 2 the command line is wrong, 130 Ctrl-C."""
    if sys.platform == "win32":
        print("acp-broker runs on Linux and macOS; on Windows, use it inside WSL", file=sys.stderr)
        return 1
    descriptors.ensure()
    if isinstance(sys.stdout, io.TextIOWrapper):  # where it takes no UTF-8, a letter that it lacks is a question mark
        sys.stdout.reconfigure(errors="replace")
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        config = _take_config(words)
    except ValueError as error:
        return _wrong(str(error))
    if not words or words[0] == "help" or "--help" in words or "-h" in words:
        print(USAGE, end="", file=sys.stdout if words else sys.stderr)
        return 0 if words else 2
    if words[0] == "--version":
        print(f"acp-broker {__version__}")
        return 0
    command = COMMANDS.get(words[0])
    if command is None:
        return _wrong(f"no command is called {words[0]!r}")
    try:
        status = command(config, words[1:])
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read our output, a pager or `head`, has seen enough
        _drop_output()
        return 1
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        _drop_output()
        print(f"acp-broker: cannot write to stdout: {error.strerror}", file=sys.stderr)
        return 1
    return status


def _drop_output() -> None:
    """Python flushes what is left at its end, and would complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _stdio(config: Path | None, words: list[str]) -> int:
    # ACP v1, terminal authentication: a client appends a method's arguments to the command line that it starts us with.
    if words[:1] == ["login"]:
        return _login(config, words[1:])
    if words:
        return _wrong(f"stdio takes no arguments, got {' '.join(words)!r}")
    # Nothing else before it: an editor waits for each module that a relay loads.
    from acp_broker.cli import relay  # noqa: PLC0415 - each command pays for its own imports

    read_fd, write_fd = descriptors.claim()
    status = relay.run(config, os.environ, read_fd, write_fd)
    if status is not None:
        return status
    # Modules are no garbage: looking through them all while they load costs a twentieth of our start.
    gc.disable()
    from acp_broker.cli import stdio  # noqa: PLC0415

    # Nor later: a whole collection would hold up a turn for as long as it looks through them.
    gc.freeze()
    gc.enable()
    return stdio.run(config, os.environ, read_fd, write_fd)


def _serve(config: Path | None, words: list[str]) -> int:
    if words:
        return _wrong(f"serve takes no arguments, got {' '.join(words)!r}")
    # As for stdio; and what is looked through grows with the sessions alone, so what they leave is found the sooner.
    gc.disable()
    from acp_broker.cli import serve  # noqa: PLC0415

    gc.freeze()
    gc.enable()
    return serve.run(config, os.environ)


def _status(config: Path | None, words: list[str]) -> int:
    if words not in ([], ["--json"]):
        return _wrong("status takes nothing but --json")
    from acp_broker.cli import status  # noqa: PLC0415

    return status.run(config, os.environ, as_json=bool(words))


def _ask(config: Path | None, words: list[str]) -> int:
    if len(words) != 1:
        return _wrong("ask takes one argument, the prompt; quote it")
    try:
        words[0].encode()
    except UnicodeEncodeError:
        return _wrong("the prompt is no UTF-8; look at what the shell or the script makes of it")
    from acp_broker.cli import ask  # noqa: PLC0415

    return ask.run(config, os.environ, words[0])


def _init(config: Path | None, words: list[str]) -> int:
    if set(words) - {"--print", "--json", "--offline"}:
        return _wrong("init takes nothing but --print, --json and --offline")
    from acp_broker.cli import init  # noqa: PLC0415

    may_ask = "--offline" not in words
    return init.run(config, os.environ, prints="--print" in words, as_json="--json" in words, may_ask=may_ask)


def _check(config: Path | None, words: list[str]) -> int:
    if set(words) - {"--turn", "--json"}:
        return _wrong("check takes nothing but --turn and --json")
    from acp_broker.cli import check  # noqa: PLC0415

    return check.run(config, os.environ, takes_turn="--turn" in words, as_json="--json" in words)


def _demo(_config: Path | None, words: list[str]) -> int:
    if words:
        return _wrong(f"demo takes no arguments, got {' '.join(words)!r}")
    from acp_broker.cli import demo  # noqa: PLC0415

    return demo.run(os.environ)


def _login(config: Path | None, words: list[str]) -> int:
    ways = [word for word in words if word in ("--browser", "--device")]
    names = [word for word in words if word not in ways]
    if len(names) not in (1, 2) or len(ways) > 1 or (ways and len(names) == 2) or names[0].startswith("-"):
        return _wrong("login takes a profile and --browser or --device, or a backend and its authentication method")
    from acp_broker.cli import login  # noqa: PLC0415

    method = names[1] if len(names) == 2 else None
    if not ways:
        return login.run(config, os.environ, names[0], method, None)
    return login.run(config, os.environ, names[0], method, "device" if ways == ["--device"] else "browser")


def _auth(config: Path | None, words: list[str]) -> int:
    from acp_broker.cli import auth  # noqa: PLC0415

    match words:
        case ["status"] | ["status", "--json"]:
            return auth.status(config, os.environ, as_json=len(words) == 2)
        case ["unlock", name] | ["unlock", name, "--force"] | ["unlock", "--force", name] if name != "--force":
            return auth.run(config, os.environ, "unlock", name, words[2:])
        case ["set" | "logout" as action, name, *which] if len(which) <= 1:
            return auth.run(config, os.environ, action, name, which)
        case _:
            return _wrong("auth takes one of: status, set PROFILE, logout PROFILE, unlock PROFILE")


def _config(config: Path | None, words: list[str]) -> int:
    from acp_broker.app import kinds  # noqa: PLC0415
    from acp_broker.cli import config as command  # noqa: PLC0415
    from acp_broker.errors import UsageError  # noqa: PLC0415

    try:
        match words:
            case ["check"]:
                return command.check(kinds(), config, os.environ)
            case ["schema"]:
                return command.schema(kinds())
            case ["path"]:
                return command.path(config, os.environ)
            case _:
                return _wrong("config takes one of: check, schema, path")
    except UsageError as error:
        print(f"acp-broker: {error}", file=sys.stderr)
        return 1


def _token(config: Path | None, words: list[str]) -> int:
    if words not in (["show"], ["rotate"]):
        return _wrong("token takes one of: show, rotate")
    from acp_broker.cli import token  # noqa: PLC0415

    return token.run(config, os.environ, words[0])


def _sessions(_config: Path | None, words: list[str]) -> int:
    from acp_broker.cli import sessions  # noqa: PLC0415

    done = sessions.run(os.environ, words)
    return _wrong("sessions takes one of: list, show ID, export ID, delete ID..., reindex") if done is None else done


COMMANDS: dict[str, Callable[[Path | None, list[str]], int]] = {
    "init": _init,
    "check": _check,
    "demo": _demo,
    "serve": _serve,
    "status": _status,
    "stdio": _stdio,
    "ask": _ask,
    "sessions": _sessions,
    "token": _token,
    "login": _login,
    "auth": _auth,
    "config": _config,
}


def _take_config(words: list[str]) -> Path | None:
    """Take `--config FILE` or `--config=FILE` out of the words, wherever it stands."""
    for index, word in enumerate(words):
        if word == "--config":
            if index + 1 == len(words):
                raise ValueError("--config needs a file")
            path = words[index + 1]
            del words[index : index + 2]
            return Path(path)
        if word.startswith("--config="):
            del words[index]
            return Path(word.removeprefix("--config="))
    return None


def _wrong(why: str) -> int:
    print(f"acp-broker: {why}; see acp-broker --help", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
