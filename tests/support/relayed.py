"""A real `acp-broker stdio` beside a running daemon: the same config and state folder, and agents of its own.

with Daemon(tmp_path, chain(primary={})) as daemon, Relayed(daemon) as editor:
    turn = editor.prompt(editor.open(), "hello")
"""

from collections.abc import Mapping

from tests.support.broker import BrokerProcess
from tests.support.daemon import Daemon
from tests.support.talk import DEADLINE_S


class Relayed(BrokerProcess):
    """Use as a context manager, inside of the daemon's. Leaving expects that the daemon ends the agents it had for us.

    `config` is put in a config.json of its own, which is not the daemon's.
    """

    def __init__(
        self,
        daemon: Daemon,
        name: str = "editor",
        *,
        config: Mapping[str, object] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        folder = daemon.work / name
        folder.mkdir()
        super().__init__(folder, config or {}, home=daemon.home, env=env)
        if config is None:
            self.config = daemon.config

    @property
    def said(self) -> str:
        """What it has said on stderr."""
        return self.stderr.read_text()

    def ended(self, status: int = 0) -> int:
        self._is_over = True
        self.until_end()
        got = self.process.wait(DEADLINE_S)
        assert status == got, f"exit status {got}: {self.said}"
        self.check_answers()
        assert [] == self.left_over()
        return got
