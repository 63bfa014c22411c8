"""Bringing backends to a session's mode and options: what a user sets, and what each newly opened backend must follow.

Settings are carried out in the order they came, and a prompt that came after one waits for it.
"""

from asyncio import Lock
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import msgspec
from anyio import Event
from msgspec import Raw

from acp_broker.broker.guard import guarded
from acp_broker.broker.limit import within
from acp_broker.broker.runtime import Runtime
from acp_broker.broker.standby import Standby
from acp_broker.contract import Backend
from acp_broker.core.failures import Failure, FailureKind
from acp_broker.core.names import BackendId
from acp_broker.errors import INVALID_PARAMS, BackendFailure, RpcError
from acp_broker.wire import jsonrpc
from acp_broker.wire.acp import Update

if TYPE_CHECKING:
    from acp_broker.broker.session import Session

_DONE = Raw(b"{}")
_Goal = tuple[str, BackendId] | None
# No life has the number 0, and no mode is of a backend without a name.
_NEW: tuple[int, _Goal] = (0, None)
_UNKNOWN: _Goal = ("", BackendId(""))


class Fitting:
    """One per session."""

    def __init__(self, session: "Session") -> None:
        self._session = session
        # Per backend the life that was fitted, and the mode it was fitted to, with whose mode that is.
        self._fitted: dict[BackendId, tuple[int, _Goal]] = {}
        self._under_way = 0
        self._one_at_a_time = Lock()

    @property
    def is_busy(self) -> bool:
        """Whether a setting is on its way to the backend."""
        return self._under_way > 0

    def is_behind(self, standby: Standby) -> bool:
        """Whether this life has yet to follow the user's choices: until then its modes are not the session's."""
        fitted, _ = self._fitted.get(standby.runtime.candidate.backend, _NEW)
        return fitted != standby.life and bool(self._session.settings.wanted())

    def selected(self, before: BackendId) -> None:
        """Another backend is selected than `before`, whose mode only its frontends followed: fit both anew."""
        self._fitted[before] = self._fitted.get(before, _NEW)[0], _UNKNOWN
        self._fitted.pop(self._session.settings.backend, None)

    def forget(self) -> None:
        """The user's choices were made elsewhere: the next turn brings its backend to them anew."""
        self._fitted.clear()

    def set_mode(self, mode: str, rest: dict[str, Raw]) -> Awaitable[Raw]:
        """ACP `session/set_mode`: asked of the selected backend; while it is away, kept for when it opens."""
        return self._begun(lambda: self._set_mode(mode, rest))

    def set_option(self, option: str, value: Raw, rest: dict[str, Raw]) -> Awaitable[Raw]:
        """ACP `session/set_config_option`; answers with the whole list."""
        return self._begun(lambda: self._set_option(option, value, rest))

    async def fit(self, standby: Standby, backend: Backend) -> None:
        """Bring an opened backend to the session's mode and options. Raises BackendFailure where it refuses."""
        name = standby.runtime.candidate.backend
        fitted = self._fitted.get(name, _NEW)
        if fitted[0] != standby.life:
            self._session.broker.reception.learn(standby.runtime, standby.whom, backend)
        if name != self._session.settings.backend:
            await self._follow(standby, backend, fitted)
        elif fitted[0] != standby.life:
            await self._restore(standby, backend)

    async def _restore(self, standby: Standby, backend: Backend) -> None:
        """Give a new life of the selected backend the user's choices; frontends are shown once what came of it."""
        session, settings = self._session, self._session.settings
        told = settings.shown_options()
        session.selection.opened(standby, backend)
        for result in [await self._set(backend, method, params) for method, params in settings.wanted()]:
            settings.answered(result)
        self._fitted[settings.backend] = standby.life, None
        if session.is_announced and settings.shown_options() != told:
            session.show([settings.options_update()], standby.life)

    async def _follow(self, standby: Standby, backend: Backend, fitted: tuple[int, _Goal]) -> None:
        """A fallback follows the session's mode, there and back, by the mode that config maps it to."""
        name, session = standby.runtime.candidate.backend, self._session
        mode, owner = session.settings.chosen_mode, session.settings.drawn_by
        goal = (mode, owner) if mode is not None else None
        if fitted == (standby.life, goal):
            return
        session.selection.opened(standby, backend)
        settings = session.selection.of(name)
        if mode is None:
            settings.go_home()
        elif owner != name:
            settings.go_to(_counterpart(standby.runtime, mode))
        for result in [await self._set(backend, method, params) for method, params in settings.wanted()]:
            settings.answered(result)
        self._fitted[name] = standby.life, goal

    async def _set(self, backend: Backend, method: str, params: dict[str, Raw]) -> Raw:
        try:
            return await backend.call(method, {"sessionId": jsonrpc.encode(self._session.id), **params})
        except RpcError as error:
            text = f"does not take {method}: {error.message}"
            raise BackendFailure(Failure(FailureKind.UNSUPPORTED, text, str(error.code), seen_at="opening")) from error

    def _begun(self, work: Callable[[], Awaitable[Raw]]) -> Awaitable[Raw]:
        """Count the setting from this moment on: its task belongs to the broker, not to the frontend that may leave."""
        self._under_way += 1
        done, outcome = Event(), list[Raw | RpcError | Failure]()

        async def carry_out() -> None:
            async with self._one_at_a_time:
                outcome.append(await guarded(_answered(work), self._session.trace))
            self._under_way -= 1
            done.set()
            self._session.prompts.next()

        async def wait() -> Raw:
            await done.wait()
            match outcome[0]:
                case Failure() as failure:
                    raise BackendFailure(failure)
                case RpcError() as error:
                    raise error
                case result:
                    # While another process has the lease, it is known here alone, and would go with us.
                    await self._session.prompts.lease.written()
                    return result

        self._session.tasks.start_soon(carry_out)
        return wait()

    async def _set_mode(self, mode: str, rest: dict[str, Raw]) -> Raw:
        settings = self._session.settings
        result = await self._asked("session/set_mode", rest, lambda: settings.check_mode(mode))
        told = settings.told
        settings.mode_set(mode)
        # ACP v1 answers with nothing, so agents tell of the mode; for one that is away we do.
        self._keep(settings.news(told), is_ours=result is None)
        return result or _DONE

    async def _set_option(self, option: str, value: Raw, rest: dict[str, Raw]) -> Raw:
        settings = self._session.settings
        if settings.sets_mode(option):
            mode = msgspec.json.decode(value)
            if not isinstance(mode, str):
                raise RpcError(INVALID_PARAMS, f"a mode is a string, not {bytes(value).decode()}")
            await self._set_mode(mode, {"sessionId": jsonrpc.encode(self._session.id), "modeId": value})
        else:
            method = "session/set_config_option"
            result = await self._asked(method, rest, lambda: settings.check_option(option))
            told = settings.told
            settings.option_set(result or _DONE, option, value)
            self._keep(settings.news(told))
        return jsonrpc.encode({"configOptions": settings.shown_options() or []})

    def _keep(self, news: Sequence[Update], *, is_ours: bool = False) -> None:
        """The user has chosen: have the log say so, and show it to the other frontends, whose user decides by it.

        What is ours to tell is shown to the one that chose as well.
        """
        session = self._session
        session.keep_choices()
        if is_ours or session.log.readers > 1:
            session.show(news, 0)
        session.log.commit()

    async def _asked(self, method: str, params: dict[str, Raw], check: Callable[[], None]) -> Raw | None:
        """Ask the selected backend; None where it cannot be asked now, or takes longer than a prompt should wait.

        `check` raises RpcError for what is then not worth keeping.
        """
        session = self._session
        name = session.settings.backend
        standby = session.standby(name)
        limit_s = session.broker.policy.session_new_s
        why = f"not carried out within {limit_s:g} s"
        try:
            with within(session.clock, limit_s):
                failure = await standby.opened()
                if failure is None and standby.backend is not None:
                    await self.fit(standby, standby.backend)
                    return await standby.backend.call(method, params)
                why = failure.text if failure is not None else "the backend is closed"
        except BackendFailure as error:
            why = error.failure.text
        # It may have been heard or not: the next turn begins by fitting this life anew.
        self._fitted.pop(name, None)
        check()
        session.trace("setting_kept", session=session.id, method=method, why=why)
        return None


async def _answered(work: Callable[[], Awaitable[Raw]]) -> Raw | RpcError:
    try:
        return await work()
    except RpcError as error:
        return error


def _counterpart(runtime: Runtime, mode: str) -> str:
    """The mode that config maps this one to. Raises BackendFailure where it was chosen after the turn was planned."""
    if mode not in runtime.modes:
        text = f"has no counterpart of the mode {mode!r}; map it under `modes` in config.json"
        raise BackendFailure(Failure(FailureKind.UNSUPPORTED, text, seen_at="opening"))
    return runtime.modes[mode]
