"""A disk that is full when the test says so: `os.write` to ordinary files, with a limit."""

import errno
import os
import stat

import pytest


class Disk:
    """`room` is how many bytes still fit; None: as many as the real disk takes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room: int | None = None
        self._write = os.write
        monkeypatch.setattr(os, "write", self.write)

    def write(self, fd: int, data: bytes) -> int:
        if self.room is None or not stat.S_ISREG(os.fstat(fd).st_mode):
            return self._write(fd, data)
        if self.room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = self._write(fd, bytes(data[: self.room]))
        self.room -= taken
        return taken
