"""Following config.json while a broker runs by it: a valid edit is adopted, any other changes nothing and is said.

The file is looked at twice a second rather than waited for with inotify: it is one file, this works on every file
system, through symbolic links (each part of the path may be one, as where a ConfigMap is mounted) and renames, and
costs one stat. It is read once two looks saw the same, so that a file which is just being written is rarely read half.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence

import anyio.to_thread
import msgspec
from anyio import CancelScope, Lock
from msgspec.structs import replace

from acp_broker.app.kinds import kinds
from acp_broker.app.status import ConfigState, Refused
from acp_broker.app.vault import Vault
from acp_broker.broker.broker import Broker
from acp_broker.broker.guard import guarded
from acp_broker.broker.policy import Policy
from acp_broker.config import Config, load
from acp_broker.core.failures import Failure
from acp_broker.errors import ConfigError, Problem, UsageError

LOOK_EVERY_S = 0.5

# What stat says of a file: another one, or one that was written to, looks different. Empty for none.
Look = tuple[int, ...]
Decide = Callable[[Config], Policy]


class Following:
    """`config` is the one that holds. `fixed` are paths whose values are read at the start alone."""

    def __init__(
        self,
        config: Config,
        environ: Mapping[str, str],
        decide: Decide,
        broker: Broker,
        fixed: Sequence[str],
        vault: Vault,
    ) -> None:
        self.config = config
        self.vault = vault
        self.broker = broker
        self.state = ConfigState(str(config.source), broker.clock.wall())
        self._first = config
        self._environ = environ
        self._decide = decide
        self._fixed = fixed
        # What the file looked like when it was read; it is read once at first: it may have changed since the start.
        self._read: Look | None = None
        # The problems that the log knows of already.
        self._said: tuple[Problem, ...] | None = None
        self._one_at_a_time = Lock()
        self._scope = CancelScope()

    async def run(self) -> None:
        """Follow the file until `stop`."""
        with self._scope:
            before: Look | None = None
            while True:
                await self.broker.clock.sleep(LOOK_EVERY_S)
                seen = await anyio.to_thread.run_sync(self._look, abandon_on_cancel=True)
                if seen == before and seen != self._read:
                    await self._take(seen)
                before = seen

    def stop(self) -> None:
        self._scope.cancel()

    def soon(self) -> None:
        """As `now`, for whoever must not wait for a disk."""
        self.broker.tasks.start_soon(self.now)

    async def now(self) -> None:
        """Read it at once, whatever it looks like, and say again what is wrong with it."""
        await self._take(None, says_again=True)

    def _look(self) -> Look:
        try:
            seen = os.stat(self.config.source)  # noqa: PTH116 - every field of it counts
        except OSError:
            return ()
        return seen.st_dev, seen.st_ino, seen.st_mode, seen.st_uid, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns

    async def _take(self, seen: Look | None, *, says_again: bool = False) -> None:
        async with self._one_at_a_time:
            found = await guarded(self._found(), self.broker.log)
            if self._scope.cancel_called:  # nothing may be opened any more
                return
            self._read = seen
            if says_again:
                self._said = None
            match found:
                case ConfigError(problems=problems):
                    self._refuse(problems)
                case UsageError():
                    self._refuse((Problem("(file)", str(found)),))
                case Failure(text=text):
                    self._refuse((Problem("(file)", text),))
                case (config, policy):
                    self._adopt(config, policy)

    async def _found(self) -> tuple[Config, Policy] | ConfigError | UsageError:
        """What the file says by now. In a thread: it may be slow to read, and large."""
        try:
            return await anyio.to_thread.run_sync(self._loaded, abandon_on_cancel=True)
        except (ConfigError, UsageError) as error:
            return error

    def _loaded(self) -> tuple[Config, Policy]:
        config = load(kinds(), path=self.config.source, environ=self._environ)
        return config, self._decide(config)

    def _refuse(self, problems: Sequence[Problem]) -> None:
        """The one that holds stays. An edit that is wrong in the same way is not said again."""
        if self._said == tuple(problems):
            return
        self._said = tuple(problems)
        self.state = replace(self.state, refused=Refused(self.broker.clock.wall(), self._said))
        said = [f"{problem.path}: {problem.finding}" for problem in problems]
        self.broker.log("config_refused", file=str(self.config.source), problems=said)

    def _adopt(self, config: Config, policy: Policy) -> None:
        """What it says holds from now on; a file that was refused and says the same as before is said to be well."""
        broker, before, old = self.broker, self.config, self.broker.policy
        if config == before and self.state.refused is None:
            return
        if config != before:
            self.config = config
            broker.adopt(policy)
        restart = tuple(path for path in differences(self._first, config) if self._is_fixed(path))
        self.state, known = ConfigState(self.state.file, broker.clock.wall(), None, restart), self.state.needs_restart
        self._said = None
        broker.log("config_adopted", **_told(old, policy), changed=list(differences(before, config)))
        if restart and restart != known:
            broker.log("config_needs_restart", paths=list(restart))
        for warning in config.warnings:
            if warning not in before.warnings:
                broker.log("config_warning", path=warning.path, why=warning.finding)

    def _is_fixed(self, path: str) -> bool:
        return any(f"{path}.".startswith(f"{one}.") for one in self._fixed)


def differences(before: Config, after: Config) -> Iterator[str]:
    """The paths in config.json at which the two say something else."""
    old, new = (msgspec.to_builtins(one, enc_hook=str) for one in (before, after))
    for part in (one for one in old if one not in ("source", "warnings")):
        yield from _between(old[part], new[part], part)


def _between(before: object, after: object, path: str) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys((*before, *after)):
            yield from _between(before.get(key), after.get(key), f"{path}.{key}")
    elif before != after:
        yield path


def _told(before: Policy, after: Policy) -> dict[str, list[str]]:
    """What an adoption means for the chain: the log's line of it."""
    old, new = before.runtimes, after.runtimes
    return {
        "chain": list(after.order),
        "chain_before": list(before.order),
        "added": [name for name in new if name not in old],
        "removed": [name for name in old if name not in new],
        "reopened": [name for name in new if name in old and old[name].fingerprint != new[name].fingerprint],
    }
