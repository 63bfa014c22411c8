"""Two real brokers: one on stdio, whose backend `box` is the other's daemon, over WebSocket with TLS."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.broker import BrokerProcess, chain
from tests.support.certificates import certificate
from tests.support.daemon import Daemon

AUTH = {"profiles": {"box": {"type": "token", "token": "${BOX_TOKEN}"}}}


def far(folder: Path, **members: object) -> Daemon:
    """The daemon of the other machine: these backends, behind a certificate of its own."""
    home = folder / "far"
    home.mkdir()
    pair = certificate(home)
    tls = {"certificate": str(pair[0]), "key": str(pair[1])}
    return Daemon(home, chain(**members, frontends={"websocket": {"port": 0, "tls": tls}}))


def port_of(daemon: Daemon) -> int:
    return int(daemon.url.rsplit(":")[-1].split("/")[0])


@contextmanager
def near(
    folder: Path,
    daemon: Daemon,
    *,
    port: int | None = None,
    token: str | None = None,
    box: Mapping[str, object] | None = None,
    **backends: object,
) -> Iterator[BrokerProcess]:
    """The broker in front; `port` is another way to the daemon, `backends` follow `box` in its chain."""
    home = folder / "near"
    home.mkdir(exist_ok=True)
    url = f"wss://localhost:{port or port_of(daemon)}/acp"
    config = chain(box={"kind": "acp", "url": url, "auth": "box", **(box or {})}, **backends)
    config["backends"]["box"].pop("env", None)
    env = {
        "BOX_TOKEN": token or daemon.token,
        "SSL_CERT_FILE": str(folder / "far" / "certificate.pem"),
    }
    with BrokerProcess(home, {**config, "auth": AUTH}, env=env) as broker:
        yield broker
