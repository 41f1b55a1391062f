"""A throwaway certificate authority, what it issues, and a TLS server that shows it."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Issued:
    """A certificate with its key, in files."""

    cert: Path
    key: Path


class Authority:
    """Issues certificates that nobody else trusts; its own is ``ca.pem``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ca = directory / "ca.pem"
        self.ca.write_bytes(self._own.public_bytes(Encoding.PEM))

    @cached_property
    def _key(self) -> ec.EllipticCurvePrivateKey:
        return ec.generate_private_key(ec.SECP256R1())

    @cached_property
    def _own(self) -> x509.Certificate:
        return self._signed("throwaway authority", self._key, timedelta(days=-2), timedelta(days=400), ca=True)

    def issue(self, *names: str, start: timedelta = timedelta(days=-1), end: timedelta = timedelta(days=90)) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        found = self._signed(names[0], key, start, end, names)
        made = Issued(self.directory / f"{found.serial_number:x}.pem", self.directory / f"{found.serial_number:x}.key")
        made.cert.write_bytes(found.public_bytes(Encoding.PEM) + self._own.public_bytes(Encoding.PEM))
        made.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return made

    def _signed(
        self,
        subject: str,
        key: ec.EllipticCurvePrivateKey,
        start: timedelta,
        end: timedelta,
        names: tuple[str, ...] = (),
        *,
        ca: bool = False,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
        issuer = name if ca else self._own.subject
        builder = (
            x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now + start).not_valid_after(now + end)
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )  # fmt: skip
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general(one) for one in names]), critical=False
            )
        return builder.sign(self._key, SHA256())


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@contextmanager
def tls_server(issued: Issued, *, oldest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2) -> Iterator[int]:
    """Run a server that only shakes hands, on a free port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.cert, issued.key)
    if oldest < ssl.TLSVersion.TLSv1_2:
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = oldest

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            try:
                with context.wrap_socket(self.request, server_side=True) as secure:
                    secure.recv(1)
            except OSError:
                pass

    class Server(ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()
