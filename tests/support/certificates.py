"""A certificate for localhost, made by the `openssl` program: what a person would do by hand."""

import shutil
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

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


def issued(folder: Path, name: str = "localhost", days: tuple[int, int] = (-1, 1)) -> tuple[Path, Path]:
    """As `certificate`, for any name and any time: days from now at which it begins and ends."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pair = folder / "issued.pem", folder / "issued-key.pem"
    pair[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pair[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, *plain))
    return pair
