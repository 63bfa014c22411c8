"""An editor's own pipes, in the daemon: the relay that the editor started hands them over, and is out of the way.

To pass on bytes costs two wakes of a process for each prompt, and as many for its first word.
"""

import os
import stat

from acp_broker.edge.pipes import InheritedSocket, OwnPipe, Read


class Handed:
    """Both ends, so that neither ever waits, whatever others do who have them too. Raises OSError where that cannot be.

    Each is what `meeting.is_pipe` knows. What was handed over is still the caller's to close.
    """

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._source = _opened(read_fd, os.O_RDONLY)
        try:
            self.sink = _opened(write_fd, os.O_WRONLY)
        except OSError:
            self.close()
            raise

    @property
    def fd(self) -> int:
        """Where the editor's lines come from."""
        return self._source.fd

    @property
    def read(self) -> Read:
        return os.read if isinstance(self._source, OwnPipe) else self._source.read

    def close(self) -> None:
        """The reading end; the other is closed by whoever writes to `sink`."""
        self._source.close()


def _opened(fd: int, way: int) -> InheritedSocket | OwnPipe:
    if stat.S_ISSOCK(os.fstat(fd).st_mode):
        return InheritedSocket(fd)
    # Linux: opening a pipe once more gives a description of our own, and O_NONBLOCK is ours alone.
    return OwnPipe(os.open(f"/proc/self/fd/{fd}", way | os.O_NONBLOCK))
