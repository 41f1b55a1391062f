"""A throwaway certificate authority, what it issues, and a TLS server that shows it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from socketserver import ThreadingTCPServer

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat


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
