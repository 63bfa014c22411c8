"""A Config becomes a running broker, with its log, its children and its state folder."""

import asyncio
import traceback
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

from acp_broker.app.following import Decide, Following
from acp_broker.app.keeping import keep_within
from acp_broker.app.policy import policy
from acp_broker.app.vault import Vault, opened
from acp_broker.broker.broker import Broker
from acp_broker.broker.policy import Policy
from acp_broker.clock import Clock, SystemClock
from acp_broker.config import Config, state_dir
from acp_broker.edge import lookups
from acp_broker.edge.household import Household
from acp_broker.observe.log import Log, to_file, to_stderr
from acp_broker.store.files import StateFolder


@asynccontextmanager
async def running(config: Config, environ: Mapping[str, str]) -> AsyncIterator[Broker]:
    """A broker of this config, in this process; ended, with all its agents, on the way out. Raises StoreError."""
    async with _broker(config, environ, SystemClock()) as (broker, _, _):
        broker.tasks.start_soon(keep_within, broker, lambda: config)
        yield broker


@asynccontextmanager
async def running_and_following(
    config: Config,
    environ: Mapping[str, str],
    *,
    fixed: Sequence[str],
    log_to_stderr: bool = False,
    clock: Clock | None = None,
) -> AsyncIterator[Following]:
    """As `running`, for as long as somebody is served: what is edited in config.json holds from the next turn on.

    What stands below one of the paths in `fixed` is read at the start alone.
    """
    async with _broker(config, environ, clock or SystemClock(), log_to_stderr=log_to_stderr) as (
        broker,
        decide,
        vault,
    ):
        following = Following(config, environ, decide, broker, fixed, vault)
        broker.tasks.start_soon(following.run)
        broker.tasks.start_soon(keep_within, broker, lambda: following.config)
        try:
            yield following
        finally:
            following.stop()


@asynccontextmanager
async def _broker(
    config: Config, environ: Mapping[str, str], clock: Clock, *, log_to_stderr: bool = False
) -> AsyncIterator[tuple[Broker, Decide, Vault]]:
    home = state_dir(environ)
    path, level = config.log.file or home / "log" / "broker.jsonl", config.log.level
    log = to_stderr(clock, level) if log_to_stderr else to_file(clock, path, level)
    for warning in config.warnings:
        log("config_warning", path=warning.path, why=warning.finding)
    _log_loop_faults(log)
    lookups.apart()
    most_at_once = config.secrets.resolution.max_provider_concurrency
    async with (
        Household(log) as household,
        opened(household.spawn, environ, clock, most_at_once, home, log) as vault,
    ):

        def decide(config: Config) -> Policy:
            return policy(config, partial(household.spawn, max_line_bytes=config.limits.max_message_bytes), vault)

        broker = Broker(decide(config), StateFolder(home), clock, log)
        vault.on_login = broker.logged_in
        async with broker:
            broker.tasks.start_soon(household.sweep)
            yield broker, decide, vault


def _log_loop_faults(log: Log) -> None:
    """What raises in a callback of the event loop has no caller to tell: it goes to the log, not to a lost stderr."""

    def fault(_loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        error = context.get("exception")
        trace = traceback.format_exception(error) if isinstance(error, BaseException) else []
        log("loop_fault", message=str(context.get("message")), error=repr(error), traceback="".join(trace))

    asyncio.get_running_loop().set_exception_handler(fault)
