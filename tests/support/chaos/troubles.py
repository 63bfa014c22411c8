"""What goes wrong in a life, on a thread of its own beside the turns."""

import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from websockets.exceptions import ConnectionClosed

from tests.support.broker import BrokerProcess
from tests.support.chaos.place import Place
from tests.support.cutting_proxy import CuttingProxy
from tests.support.provider.faults import NAMES

if TYPE_CHECKING:
    from tests.support.chaos.life import Life

Deed = Callable[[], None]

# How often each comes, against the others.
WEIGHTS = {
    "fault": 8,
    "kill_agents": 2,
    "cut": 2,
    "cancel": 1.5,
    "freeze": 1.5,
    "kill_broker": 1.2,
    "kill_far": 1,
    "kill_server": 1,
    "leave": 1,
    "edit": 1,
    "rotate": 1,
    "jump": 0.7,
    "fill": 0.5,
}
# By how many seconds the clock jumps.
JUMPS_S = (5, 31, 61, 400, 20_000)
# At most so many in one turn, and so many in a second.
MOST, PER_S = 5, 20
# How providers fail: in nearly half of all turns not at all, and often behind words, where the chain cannot help.
_FAULTS = {("good", "no-done"): 9, tuple(name for name in NAMES if name.endswith("-mid")): 4, NAMES: 7}


class Trouble(threading.Thread):
    """Plays deeds until it is left, each so many seconds behind the one before."""

    def __init__(self, deeds: list[tuple[float, Deed]]) -> None:
        super().__init__()
        self._deeds = deeds
        self._over = threading.Event()
        self._fault: BaseException | None = None

    def __enter__(self) -> "Trouble":
        self.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._over.set()
        self.join()
        if kind is None and self._fault is not None:
            raise self._fault

    def run(self) -> None:
        try:
            for delay_s, deed in self._deeds:
                if self._over.wait(delay_s):
                    return
                deed()
        except BaseException as fault:  # noqa: BLE001 - raised where it is waited for
            self._fault = fault


class Troubles:
    """`done` counts what was done, by name."""

    def __init__(self, life: "Life", dice: Random, *, kills: bool) -> None:
        self.done: Counter[str] = Counter()
        self._life, self._scene, self._dice = life, life.scene, dice
        self._weights = {**WEIGHTS, "kill_broker": WEIGHTS["kill_broker"] if kills else 0}

    def drawn(self) -> Trouble:
        """Those of one turn; another fault comes before it."""
        dice = self._dice
        names = dice.choices([*self._weights], [*self._weights.values()], k=dice.randint(0, MOST))
        deeds = [(dice.expovariate(PER_S), partial(self._do, name, self._deed(name))) for name in names]
        return Trouble([(0.0, partial(self._do, "fault", self._deed("fault"))), *deeds])

    def _do(self, name: str, deed: Deed) -> None:
        self.done[name] += 1
        deed()

    def _deed(self, name: str) -> Deed:
        dice, scene, life = self._dice, self._scene, self._life
        place = dice.choice(scene.places)
        match name:
            case "fault":
                (names,) = dice.choices([*_FAULTS], [*_FAULTS.values()])
                return partial(place.set, fault=dice.choice(names))
            case "kill_agents":
                return partial(self._kill_agents, dice.choice(["agent", "cli", "faragent"]))
            case "kill_server":
                return partial(_restart, place, dice.uniform(0, 0.3))
            case "freeze":
                who = dice.choice([*(one.pid for one in scene.places), scene.far_pid, scene.broker_pid])
                return partial(_freeze, who, dice.uniform(0.05, 0.9))
            case "cut":
                return partial(_cut, dice.choice(scene.proxies), dice.choice([None, dice.randrange(3_000)]))
            case "cancel":
                return partial(self._cancel, dice.choice(sorted(life.past)))
            case "leave":
                return partial(life.locked, partial(self._leave, dice.random() < 0.5))
            case "edit":
                order = dice.sample(sorted(scene.backends), len(scene.backends))
                return partial(life.locked, partial(scene.edit, order) if dice.random() < 0.8 else scene.spoil)
            case "jump":
                return partial(scene.jump, dice.choice(JUMPS_S))
            case "fill":
                return partial(life.locked, partial(self._fill, dice.uniform(0, 0.4)))
        simple = {"kill_broker": partial(life.locked, self._kill_broker), "kill_far": self._kill_far}
        return {**simple, "rotate": scene.rotate}[name]

    def _kill_agents(self, role: str) -> None:
        broker = self._scene.far if role == "faragent" else self._scene.broker
        for seen in broker.agents(role):
            with suppress(ProcessLookupError):
                os.kill(seen.pid, signal.SIGKILL)

    def _kill_far(self) -> None:
        self._scene.far.kill()
        self._scene.begin_far()

    def _kill_broker(self) -> None:
        self._life.is_dead = True
        self._scene.broker.kill()

    def _cancel(self, session: str) -> None:
        if session in self._life.running:
            self._life.running[session].may_cancel = True
            with suppress(OSError, ConnectionClosed, ValueError):
                self._life.talk.cancel(session)

    def _leave(self, politely: bool) -> None:
        """The client goes away: an editor for good, a bridge comes back."""
        life, broker = self._life, self._scene.broker
        if life.is_dead:
            return
        life.is_cut = True
        if isinstance(broker, BrokerProcess):
            for prompt in life.running.values():
                prompt.may_cancel = True
            broker.process.stdin.close()
        elif politely:
            life.talk.close()
        else:
            with suppress(OSError):
                life.talk.line.socket.shutdown(socket.SHUT_RDWR)

    def _fill(self, for_s: float) -> None:
        for prompt in tuple(self._life.running.values()):
            prompt.was_full = True
        self._scene.fill()
        threading.Event().wait(for_s)
        self._scene.clear()


def _restart(place: Place, gone_s: float) -> None:
    place.kill()
    threading.Event().wait(gone_s)
    place.begin()


def _freeze(pid: Callable[[], int], for_s: float) -> None:
    with suppress(ProcessLookupError):
        os.kill(frozen := pid(), signal.SIGSTOP)
        threading.Event().wait(for_s)
        os.kill(frozen, signal.SIGCONT)


def _cut(proxy: CuttingProxy, after: int | None) -> None:
    """At once, or so many bytes later."""
    if after is None:
        proxy.lose()
    else:
        proxy.cut_after(server=after)
