"""A certificate for localhost, made by the `openssl` program: what a person would do by hand."""

import shutil
import ssl
import subprocess
from pathlib import Path

COMMAND = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 2 -subj /CN=localhost "
    "-addext subjectAltName=DNS:localhost,IP:127.0.0.1"
)


def certificate(folder: Path, *more: str) -> tuple[Path, Path]:
    """The paths of a certificate and its key; without `more`, the key has no pass phrase."""
    assert shutil.which("openssl"), "certificates of tests are made with the openssl program: install it"
    pair = folder / "certificate.pem", folder / "key.pem"
    command = [*COMMAND.split(), *(more or ["-nodes"]), "-out", str(pair[0]), "-keyout", str(pair[1])]
    subprocess.run(command, check=True, capture_output=True)
    return pair


def trust(certificate: Path) -> ssl.SSLContext:
    """What a client needs that trusts this certificate and no other."""
    return ssl.create_default_context(cafile=str(certificate))
