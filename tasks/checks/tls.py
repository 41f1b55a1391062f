"""What a TLS server shows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from cryptography import x509
from pydantic import Field

from tasks.checks import Check
from tasks.checks._certificate import CertificateCondition, evidence
from tasks.checks.tcp import Address
from tasks.domain.condition import all_of, held
from tasks.domain.errors import OutsideError, TimedOut, Unreachable
from tasks.domain.outcome import Reading, failed, unknown
from tasks.domain.target import Target

_PROTOCOLS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")


class Tls(CertificateCondition, Check):
    """Shakes hands with a TLS server and judges its certificate and protocol."""

    advice: ClassVar[str] = "look at what is presented there: openssl s_client -connect HOST:PORT -servername NAME"

    kind: Literal["tls"] = "tls"
    """Which kind of check this is."""
    address: Annotated[Address, Field(examples=["api.example.org:443"])]
    """The host and port."""
    server_name: str | None = None
    """The name that is asked for and must be in the certificate; by default the host of ``address``."""
    trusted: bool = True
    """Whether the chain must lead to an authority that is trusted; ``false`` leaves that, and the name, open."""
    ca: str | None = None
    """A file on golive's machine with the authorities that are trusted, instead of those of the system."""
    protocol: Literal["TLSv1.2", "TLSv1.3"] = "TLSv1.2"
    """The oldest protocol that the server may speak; it must refuse older ones."""

    def look(self, target: Target) -> Reading:
        """Return what is wrong with certificate or protocol; a server that is not there is unknown."""
        host, _, port = target.fill(self.address).rpartition(":")
        host = host.strip("[]")
        name = self.server_name or host
        ca = Path(target.fill(self.ca)) if self.ca else None
        network = target.world.network
        try:
            shown = network.handshake(host, int(port), name=name, ca=ca, newest=None, timeout=self.timeout / 3)
        except (Unreachable, TimedOut) as error:
            return unknown(str(error))
        except OutsideError as error:
            return failed(str(error))
        certificate = x509.load_der_x509_certificate(shown.certificate)
        readings = self.judge_certificate(certificate, target.world.clock.now(), self.names)
        if self.trusted:
            readings.append(held(shown.distrust or "trusted", not shown.distrust))
        new_enough = _PROTOCOLS.index(shown.protocol) >= _PROTOCOLS.index(self.protocol)
        readings.append(held(f"{shown.protocol} ≥ {self.protocol}", new_enough))
        if new_enough:
            readings.append(self._judge_older(target, host, int(port), name))
        return all_of(readings, detail=evidence(certificate) | {"protocol": shown.protocol})

    def _judge_older(self, target: Target, host: str, port: int, name: str) -> Reading:
        older = _PROTOCOLS[_PROTOCOLS.index(self.protocol) - 1]
        try:
            shown = target.world.network.handshake(
                host, port, name=name, ca=None, newest=older, timeout=self.timeout / 3
            )
        except (Unreachable, TimedOut) as error:
            return unknown(f"whether it refuses {older} is not known: {error}")
        except OutsideError as error:
            if "NO_PROTOCOLS" in error.seen:
                return unknown(f"whether it refuses {older} is not known: this machine cannot speak it")
            return held(f"refuses {older}", holds=True)
        return failed(f"speaks {shown.protocol} too")
