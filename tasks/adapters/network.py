"""The network as golive's own machine sees it: names, connections, and what a TLS server shows."""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import closing
from pathlib import Path

from tasks.domain.errors import NotFound, OutsideError, TimedOut, Unreachable, UserError
from tasks.domain.ports import Handshake
from tasks.domain.units import show_seconds

_VERSIONS = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}


class SocketNetwork:
    """The network through the system's resolver and sockets."""

    def addresses(self, name: str) -> tuple[str, ...]:
        """Return the addresses that a name leads to, as this machine resolves it.

        Raises `NotFound` if there is no such name, `Unreachable` if nobody could be asked.
        """
        try:
            found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            if error.errno in {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}:
                raise NotFound("no such name", where=name) from error
            raise Unreachable(f"the name could not be looked up: {error.strerror}", where=name) from error
        except UnicodeError as error:
            raise UserError(f"{name!r} cannot be a name") from error
        return tuple(sorted({str(address[0]) for *_, address in found}))

    def connect(self, host: str, port: int, *, timeout: float) -> float:
        """Open a connection, close it, and return the seconds that it took.

        Raises `Unreachable` if it is refused, `TimedOut` if nothing answers, and as `addresses` does.
        """
        start = time.monotonic()
        with closing(self._connected(host, port, timeout)):
            return time.monotonic() - start

    def handshake(
        self, host: str, port: int, *, name: str, ca: Path | None, newest: str | None, timeout: float
    ) -> Handshake:
        """Shake hands with a TLS server; see `Network.handshake`."""
        trusting = ssl.create_default_context(cafile=str(ca) if ca else None)
        try:
            return self._shaken(trusting, host, port, name, newest, timeout)
        except ssl.SSLCertVerificationError as error:
            distrust = error.verify_message or str(error)
        blind = ssl.create_default_context()
        blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
        seen = self._shaken(blind, host, port, name, newest, timeout)
        return Handshake(seen.protocol, seen.certificate, distrust)

    def _shaken(
        self, context: ssl.SSLContext, host: str, port: int, name: str, newest: str | None, timeout: float
    ) -> Handshake:
        where = f"{host}:{port}"
        if newest:
            # What this machine's own policy forbids must be tried all the same: the server's is in question.
            context.set_ciphers("DEFAULT:@SECLEVEL=0")
            context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, _VERSIONS[newest]
        try:
            with (
                closing(self._connected(host, port, timeout)) as plain,
                context.wrap_socket(plain, server_hostname=name) as secure,
            ):
                return Handshake(secure.version() or "", secure.getpeercert(binary_form=True) or b"", "")
        except ssl.SSLCertVerificationError:
            raise
        except TimeoutError as error:
            raise TimedOut("no TLS answer", expected=f"within {show_seconds(timeout)}", where=where) from error
        except ssl.SSLError as error:
            raise OutsideError(f"no TLS: {error.reason or error}", where=where) from error
        except OSError as error:
            raise OutsideError(f"no TLS: {error.strerror or error}", where=where) from error

    def _connected(self, host: str, port: int, timeout: float) -> socket.socket:
        where = f"{host}:{port}"
        self.addresses(host)
        try:
            return socket.create_connection((host, port), timeout=timeout)
        except TimeoutError as error:
            raise TimedOut("no connection", expected=f"within {show_seconds(timeout)}", where=where) from error
        except OSError as error:
            raise Unreachable(f"no connection: {error.strerror or error}", where=where) from error
