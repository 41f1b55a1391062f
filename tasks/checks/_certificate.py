"""What a certificate must be, whether a server shows it or a file holds it."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from cryptography import x509
from pydantic import Field

from tasks.domain.condition import held
from tasks.domain.kind import Duration, Strict
from tasks.domain.outcome import Outcome, Reading, failed, passed

_DAY = 86400.0


class CertificateCondition(Strict):
    """What a certificate must be."""

    valid_for: Annotated[Duration, Field(ge=0)] = 14 * _DAY
    """For how long it must still be valid."""
    names: tuple[str, ...] = Field(default=(), examples=[["api.example.org"]])
    """Names or addresses that it must be made out to."""

    def judge_certificate(self, certificate: x509.Certificate, now: datetime, names: Sequence[str]) -> list[Reading]:
        """Return what is wrong with a certificate at a moment."""
        left = (certificate.not_valid_after_utc - now).total_seconds()
        limit = self.valid_for / _DAY
        days = f"valid until {certificate.not_valid_after_utc:%Y-%m-%d}, {left / _DAY:.1f} days left ≥ {limit:g}"
        outcome = Outcome.PASSED if left > 0 and left >= self.valid_for else Outcome.FAILED
        since = certificate.not_valid_before_utc
        return [
            Reading(outcome, days, value=round(left / _DAY, 2), unit="days", limit=limit),
            passed("valid already") if since <= now else failed(f"not valid before {since:%Y-%m-%d %H:%M} UTC"),
            *(held(f"made out to {name}", is_made_out_to(certificate, name)) for name in names),
        ]


def is_made_out_to(certificate: x509.Certificate, name: str) -> bool:
    """Tell whether one of a certificate's alternative names is this name or address; ``*`` stands for one label."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    try:
        return ipaddress.ip_address(name) in names.get_values_for_type(x509.IPAddress)
    except ValueError:
        pass
    label, _, rest = name.lower().partition(".")
    listed = {one.lower() for one in names.get_values_for_type(x509.DNSName)}
    return name.lower() in listed or bool(label and rest and f"*.{rest}" in listed)


def evidence(certificate: x509.Certificate) -> dict[str, Any]:
    """Return what is kept of a certificate as evidence."""
    return {
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "serial": f"{certificate.serial_number:x}",
        "not_before": certificate.not_valid_before_utc.isoformat(),
        "not_after": certificate.not_valid_after_utc.isoformat(),
    }
