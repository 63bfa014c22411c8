"""A real Secret Service: Debian's gnome-keyring on a session bus of its own, with an empty keyring that is unlocked."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec import Struct

PROGRAMS = ("dbus-run-session", "gnome-keyring-daemon")
INSTALL = "apt-get install gnome-keyring dbus"
# A test that waits this long has failed: it bounds a hang, nothing is measured by it.
DEADLINE_S = 60.0
# The daemon ends with the shell, and the bus with that. Asked too early, the bus would start another, locked one.
_SESSION = """\
printf password | gnome-keyring-daemon --foreground --unlock --components=secrets >&2 &
"$1" -m tests.support.secret_service && echo "$! $DBUS_SESSION_BUS_ADDRESS"
cat >/dev/null
kill $!
"""


def need() -> None:
    """Skip on a machine that has none; in CI it is a failure."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing and os.environ.get("CI"):
        pytest.fail(f"CI needs {' and '.join(missing)}: .ci/run installs them", pytrace=False)
    if missing:
        pytest.skip(f"a real keyring needs {' and '.join(missing)}: {INSTALL}")


class SecretService(Struct, frozen=True):
    """`environ` are the variables that lead a process to it."""

    pid: int
    environ: dict[str, str]


@contextmanager
def secret_service(folder: Path) -> Iterator[SecretService]:
    """It keeps its files in `folder`, and runs until the end of the block."""
    own = {"HOME": str(folder), "XDG_DATA_HOME": str(folder / "data"), "XDG_RUNTIME_DIR": str(folder)}
    folder.chmod(0o700)
    process = subprocess.Popen(
        ["dbus-run-session", "--", "sh", "-c", _SESSION, "session", sys.executable],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **own},
        cwd=Path(__file__).parents[2],
        text=True,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            pid, _, address = process.stdout.readline().strip().partition(" ")
            assert address, "no keyring has come up"
            backend = "keyring.backends.SecretService.Keyring"
            yield SecretService(
                int(pid), {**own, "DBUS_SESSION_BUS_ADDRESS": address, "PYTHON_KEYRING_BACKEND": backend}
            )
        finally:
            process.stdin.close()
            process.wait(DEADLINE_S)


def _wait() -> None:
    """Until somebody is org.freedesktop.secrets on the bus of this environment."""
    from jeepney import DBusAddress, MatchRule, message_bus, new_method_call  # noqa: PLC0415
    from jeepney.io.blocking import open_dbus_connection  # noqa: PLC0415

    name = "org.freedesktop.secrets"
    rule = MatchRule(type="signal", interface="org.freedesktop.DBus", member="NameOwnerChanged")
    rule.add_arg_condition(0, name)
    bus = DBusAddress("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")
    with open_dbus_connection() as connection, connection.filter(rule) as changes:
        connection.send_and_get_reply(message_bus.AddMatch(rule), timeout=DEADLINE_S)
        has = connection.send_and_get_reply(new_method_call(bus, "NameHasOwner", "s", (name,)), timeout=DEADLINE_S)
        if not has.body[0]:
            connection.recv_until_filtered(changes, timeout=DEADLINE_S)


if __name__ == "__main__":
    _wait()
