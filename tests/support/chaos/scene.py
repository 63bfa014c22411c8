"""What a life is played on: fault servers, a broker, another one far away, proxies, a disk and a clock."""

import json
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random
from threading import Event

import msgspec

from tests.support.broker import BrokerProcess, chain
from tests.support.chaos.cast import BRIEF, LIMITS, PATIENT, Stage, cast, far_cast
from tests.support.chaos.place import Place
from tests.support.cutting_proxy import CuttingProxy
from tests.support.daemon import WEBSOCKET, Daemon
from tests.support.processes import memory_kb
from tests.support.two_brokers import port_of

SETTLED_WITHIN_S = 10.0
# Longer than a broker needs to see what its clock is now.
_SEEN_WITHIN_S = 0.08


class Scene:
    """Use as a context manager. `broker` is the one that is talked to: `serve` or `stdio`, with `far` behind it."""

    def __init__(self, folder: Path, dice: Random, name: str, *, is_daemon: bool) -> None:
        self.folder, self.name, self.is_daemon = folder, name, is_daemon
        self.home, self.machine = folder / "near" / "state", folder / "machine"
        for one in ("machine", "tmp", "near", "far"):
            (folder / one).mkdir()
        thinks = dice.random() < 0.5
        self.places = [Place(folder, one, thinks=thinks) for one in "AB"]
        self.broker: BrokerProcess | Daemon
        self.far: Daemon
        self._dice = dice
        self._stack = ExitStack()
        # All that ever ran.
        self._brokers: list[BrokerProcess | Daemon] = []
        self._keys = 0
        self._ahead = 0.0

    def __enter__(self) -> "Scene":
        left, right = (self._stack.enter_context(place) for place in self.places)
        # What stands before the first fault server, and before the far broker.
        self.proxies = [self._stack.enter_context(CuttingProxy(port)) for port in (left.port, 1)]
        near, far = (proxy.port for proxy in self.proxies)
        stage = Stage(self.folder, near, right, far)
        self.rotate()
        self._far_config = self._config(far_cast(self._dice, stage))
        self.backends = cast(self._dice, stage)
        self.begin_far()
        self.begin()
        return self

    def __exit__(self, *_: object) -> None:
        with self._stack:
            for broker in self._brokers:
                # It has been left, or killed, or something went wrong: nothing more is expected of it.
                broker.__exit__(AssertionError, None, None)

    @property
    def primary(self) -> str:
        return next(iter(self.backends))

    # --- brokers

    def far_pid(self) -> int:
        return self.far.process.pid

    def broker_pid(self) -> int:
        return self.broker.process.pid

    def begin(self) -> None:
        """The next broker."""
        kind = Daemon if self.is_daemon else BrokerProcess
        self.broker = self._begun(kind(self.folder / "near", self._config(self.backends), env=self._env()))

    def begin_far(self) -> None:
        """The next one, found where the one before it was."""
        self.far = self._begun(Daemon(self.folder / "far", self._far_config, env=self._env()))
        self.proxies[1].to = port_of(self.far)
        self.proxies[1].lose()

    def _begun(self, broker: BrokerProcess | Daemon) -> BrokerProcess | Daemon:
        broker.wrapper = [sys.executable, "-m", "tests.support.chaos.under", str(self.machine)]
        self._brokers.append(broker)
        return broker.__enter__()

    def _env(self) -> dict[str, str]:
        token = self.folder / "far" / "state" / "token"
        told = {"BOX_TOKEN": token.read_text().strip()} if token.exists() else {}
        return {"TMPDIR": str(self.folder / "tmp"), **told}

    # --- its config

    def edit(self, order: list[str], limits: Mapping[str, object] = BRIEF) -> None:
        """The same backends in another order."""
        self.broker.configure(self._config({name: self.backends[name] for name in order}, limits))

    def spoil(self) -> None:
        self.broker.config.write_text('{"acp": ')

    def _config(self, backends: Mapping[str, dict], limits: Mapping[str, object] = BRIEF) -> dict:
        entries = {name: {**one, "limits": {**one.get("limits", {}), **limits}} for name, one in backends.items()}
        key = {"source": "file", "provider": "kept", "id": "/key"}
        profiles: dict[str, object] = {"keys": {"type": "api_key", "key": key}}
        if "far" in backends:
            profiles["box"] = {"type": "token", "token": "${BOX_TOKEN}"}
        kept = {"source": "file", "path": str(self.folder / "keys.json")}
        config = chain(**entries, limits=LIMITS, frontends=WEBSOCKET)
        return {**config, "auth": {"profiles": profiles}, "secrets": {"providers": {"kept": kept}}}

    # --- its world

    def rotate(self) -> None:
        """Another key: in the file, and then at the providers."""
        self._keys += 1
        key = f"canary-{self.name}-{self._keys}-"
        self._put(self.folder / "keys.json", json.dumps({"key": key}))
        for place in self.places:
            place.set(key=key)

    def jump(self, seconds: float) -> None:
        """It is so much later, for the brokers."""
        self._ahead += seconds
        self._put(self.machine / "ahead", str(self._ahead))
        Event().wait(_SEEN_WITHIN_S)

    def fill(self) -> None:
        (self.machine / "full").touch()

    def clear(self) -> None:
        (self.machine / "full").unlink(missing_ok=True)

    def soothe(self) -> None:
        """From now on nobody fails, and everybody may take his time."""
        for proxy in self.proxies:
            proxy.cut_after()
        for place in self.places:
            place.set(fault="good")
        adopted = len(self.broker.log("config_adopted"))
        self.edit(list(self.backends), PATIENT)
        self.broker.until_logged("config_adopted", adopted + 1)

    def _put(self, file: Path, text: str) -> None:
        beside = file.with_suffix(".new")
        beside.write_text(text)
        beside.chmod(0o600)
        beside.replace(file)

    # --- what is looked at

    def rest_s(self) -> float:
        """How long the primary rests at most; the far broker's own rests count where that is the primary."""
        found = [0.0, *_rests(self.home, self.primary)]
        return max(found + [*_rests(self.folder / "far" / "state", None)] * (self.primary == "far"))

    def held(self) -> tuple[int, int]:
        """Descriptors of the broker, and its memory in kB."""
        pid = self.broker_pid()
        return len(list(Path(f"/proc/{pid}/fd").iterdir())), memory_kb(pid)

    def left(self) -> list[str]:
        """Files that are of no use to anybody any more. The folder of the daemon's socket is another's business."""
        state = [path for path in self.home.rglob("*") if path.suffix in (".tmp", ".new")]
        return [str(path) for path in [*state, *(self.folder / "tmp").glob("*/*")]]


def until(is_so: Callable[[], bool], why: Callable[[], str]) -> None:
    end = time.monotonic() + SETTLED_WITHIN_S
    while not is_so():
        assert time.monotonic() < end, why()
        Event().wait(0.02)


def _rests(home: Path, backend: str | None) -> list[float]:
    """Of this backend and of profiles; None: of all."""
    file = home / "health.json"
    with suppress(FileNotFoundError):
        records = msgspec.json.decode(file.read_bytes())["health"].get("records", ())
        return [
            one["rest"]["length_s"]
            for one in records
            if one.get("rest") and backend in (None, one["scope"].get("backend", backend))
        ]
    return []
