"""Two real brokers: one on stdio, whose backend `box` is the other's daemon, over WebSocket with TLS."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.broker import BrokerProcess, chain
from tests.support.certificates import certificate
from tests.support.daemon import Daemon

AUTH = {"profiles": {"box": {"type": "token", "token": "${BOX_TOKEN}"}}}


def far(folder: Path, name: str = "far", env: Mapping[str, str] | None = None, **members: object) -> Daemon:
    """The daemon of the other machine, with these backends; made again, the next one. `env` has its token."""
    home, tls = folder / name, folder / "tls"
    home.mkdir(exist_ok=True)
    if not tls.exists():
        tls.mkdir()
        certificate(tls)
    pair = {"certificate": str(tls / "certificate.pem"), "key": str(tls / "key.pem")}
    websocket: dict[str, object] = {"port": 0, "tls": pair}
    if env is not None:
        websocket["token"] = "${OWN_TOKEN}"
    config = chain(**members, frontends={"websocket": websocket})
    profiles = {"auth": AUTH} if env is not None else {}
    return Daemon(home, {**config, **profiles}, env=env)


def trusts(folder: Path) -> str:
    """What SSL_CERT_FILE names for all of them."""
    return str(folder / "tls" / "certificate.pem")


def box(port: int, **more: object) -> dict[str, object]:
    """A backend's entry: the broker that is reached there."""
    return {"kind": "acp", "url": f"wss://localhost:{port}/acp", "auth": "box", "env": {}, **more}


def port_of(daemon: Daemon) -> int:
    return int(daemon.url.rsplit(":")[-1].split("/")[0])


@contextmanager
def near(
    folder: Path,
    daemon: Daemon,
    *,
    port: int | None = None,
    token: str | None = None,
    limits: Mapping[str, object] | None = None,
    own: Mapping[str, object] | None = None,
    **backends: object,
) -> Iterator[BrokerProcess]:
    """The broker in front; `port` is another way to the daemon, `backends` follow `box` in its chain.

    `limits` are those of `box`, `own` those of the broker.
    """
    home = folder / "near"
    home.mkdir(exist_ok=True)
    config = chain(box=box(port or port_of(daemon), limits=limits or {}), limits=own, **backends)
    env = {
        "BOX_TOKEN": token or daemon.token,
        "SSL_CERT_FILE": trusts(folder),
    }
    with BrokerProcess(home, {**config, "auth": AUTH}, env=env) as broker:
        yield broker
