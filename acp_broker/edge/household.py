"""Our children, and the promise that none of them outlives us, however we end.

    stop, or a clean exit    the household ends all that belongs to a child (guardian.py says what does)
    SIGKILL to the broker    its guardian, a small process at the other end of a pipe, does the same
    SIGKILL to both          the next broker's `sweep` ends what still carries a dead broker's marker

On Linux the broker is the subreaper of its children: their orphans become ours instead of init's. So an orphan that was
started with nothing of our environment, and thus without a marker, is found too; but not after SIGKILL to the broker.
On macOS there are only process groups: what left its group is not found, and nothing is swept.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import NamedTuple, Self

from anyio import CancelScope, create_task_group, to_thread

from acp_broker.edge import guardian, sweep
from acp_broker.edge.guardian import Ended, Seen
from acp_broker.edge.launch import launch
from acp_broker.edge.orphans import Adoption, reap
from acp_broker.edge.process import Process
from acp_broker.wire.framing import MAX_LINE_BYTES

# Without it a Python built against libraries of its own does not start.
KEPT_BY_GUARDIAN = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
# How the variables begin that mark a child, and a guardian.
OURS = "ACP_BROKER_"

Log = Callable[..., None]


class Child(NamedTuple):
    """A child that was not ended yet: the leader of its session, and the marker that everything of it inherits."""

    pid: int
    start: int
    marker: str


class Household:
    """One per broker process. Nothing is started, and no process setting touched, before the first `spawn`."""

    def __init__(self, log: Log) -> None:
        self.marker = sweep.new_marker(sweep.origin())
        self._log = log
        self._children: dict[int, Child] = {}
        self._processes: dict[int, Process] = {}
        self._serial = 0
        self._guardian = _Guardian(self.marker, log)
        self._adoption: Adoption | None = None
        self._ours = frozenset(b"%b=%b" % entry for entry in os.environb.items())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill every child that is left, and all that belongs to it; then let the guardian go."""
        with CancelScope(shield=True):
            async with create_task_group() as tasks:
                for process in list(self._processes.values()):
                    tasks.start_soon(partial(process.stop, eof_grace_s=0, term_grace_s=0))
        self._guardian.dismiss()
        if self._adoption is not None:
            self._adoption.close()

    async def spawn(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str | None,
        max_line_bytes: int = MAX_LINE_BYTES,
    ) -> Process:
        """Start a child; `env` is its whole environment but for the marker. Its `stop` must be called, dead or alive.

        Raises BackendFailure (unreachable) that says what is wrong with the command.
        """
        if self._adoption is None:
            self._adoption = Adoption(self._is_own)
        self._guardian.watch(self._children.values())
        self._serial += 1
        marker = f"{self.marker}.{self._serial}"
        popen, pipes = launch(command, {**env, guardian.VARIABLE: marker}, cwd)
        leader = guardian.look(popen.pid)
        child = Child(popen.pid, leader.start if leader else 0, marker)
        self._children[child.pid] = child
        self._guardian.began(child)
        process = Process(popen, pipes, partial(self._find, child), partial(self._on_ended, child), max_line_bytes)
        self._processes[child.pid] = process
        return process

    async def sweep(self) -> list[str]:
        """End what dead brokers of this user left behind, whatever their state folder; a line for each process."""
        swept = await to_thread.run_sync(sweep.sweep)
        if swept:
            self._log("child.swept", count=len(swept), processes=", ".join(swept))
        return swept

    def _find(self, child: Child) -> list[Seen]:
        people = guardian.everyone()
        roots = {seen.pid: seen.start for seen in self._strangers(people, child)}
        return guardian.kin(people, {**roots, child.pid: child.start}, lambda marker: marker == child.marker)

    def _strangers(self, people: Mapping[int, Seen], child: Child) -> Iterator[Seen]:
        """Orphans that came to us with an environment nobody of ours made, and that no other living child can own."""
        me, session = os.getpid(), os.getsid(0)
        others = [other.start for other in list(self._children.values()) if other is not child]
        for seen in people.values():
            if seen.parent != me or seen.session == session or seen.is_dead or self._is_own(seen.pid):
                continue
            is_possible = seen.start >= child.start and not any(start <= seen.start for start in others)
            if is_possible and self._is_wiped(seen):
                yield seen

    def _is_wiped(self, seen: Seen) -> bool:
        entries = guardian.environment(seen.pid) if seen.has_environment else []
        return bool(entries) and not any(entry in self._ours or entry.startswith(OURS.encode()) for entry in entries)

    def _is_own(self, pid: int) -> bool:
        return pid in self._children or pid == self._guardian.pid

    def _on_ended(self, child: Child, ended: Ended) -> None:
        self._guardian.ended(child)
        del self._children[child.pid]
        del self._processes[child.pid]
        for seen in ended.gone:
            if seen.pid != child.pid:
                reap(seen.pid)
        if ended.left:
            self._log("child.survived", pid=child.pid, left=", ".join(str(seen.pid) for seen in ended.left))


class _Guardian:
    """Our end of the guardian's pipe; starts it when it is first needed, and again should it have died."""

    def __init__(self, marker: str, log: Log) -> None:
        self._marker = marker
        self._log = log
        self._popen: subprocess.Popen[bytes] | None = None
        self._pipe: int | None = None

    @property
    def pid(self) -> int | None:
        return self._popen.pid if self._popen else None

    def watch(self, children: Iterable[Child]) -> None:
        """Make sure that it lives and knows these children."""
        if self._popen is not None and self._popen.poll() is None:
            return
        if self._popen is not None:
            self._log("guardian.died", status=self._popen.returncode)
        self.dismiss()
        try:
            self._start()
        except OSError as error:  # children without a guardian are better than none; the sweep is still there
            self._log("guardian.failed", error=str(error))
        for child in children:
            self.began(child)

    def began(self, child: Child) -> None:
        self._tell(f"+{child.pid} {child.start}\n")

    def ended(self, child: Child) -> None:
        self._tell(f"-{child.pid} {child.start}\n")

    def dismiss(self) -> None:
        """End it: nothing is left to guard."""
        if self._pipe is not None:
            os.close(self._pipe)
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait()
        self._pipe = self._popen = None

    def _start(self) -> None:
        stdin, self._pipe = os.pipe()
        os.set_blocking(self._pipe, False)
        kept = {name: os.environ[name] for name in KEPT_BY_GUARDIAN if name in os.environ}
        try:
            # In a session of its own it outlives ours; its folder keeps no disk busy.
            self._popen = subprocess.Popen(
                [sys.executable, "-I", "-S", guardian.__file__, self._marker],
                stdin=stdin,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**kept, f"{OURS}GUARDIAN": self._marker},
                cwd="/",
                start_new_session=True,
            )
        finally:
            os.close(stdin)

    def _tell(self, line: str) -> None:
        if self._pipe is None or self._popen is None:
            return
        try:
            os.write(self._pipe, line.encode())
        except OSError:  # it is dead or stuck: the next `watch` starts another and tells it everything
            self._popen.kill()
