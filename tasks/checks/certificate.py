"""Files that hold certificates."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from pydantic import Field

from tasks.checks import Check
from tasks.checks._certificate import CertificateCondition, evidence
from tasks.checks._files import place_of, read_text
from tasks.domain.condition import all_of, held
from tasks.domain.outcome import Reading, failed, passed, unknown
from tasks.domain.target import Target


class Certificate(CertificateCondition, Check):
    """Looks whether a certificate's file is there, valid, made out to the right names, and fits its key."""

    of_machine: ClassVar[bool] = True

    kind: Literal["certificate"] = "certificate"
    """Which kind of check this is."""
    file: Annotated[str, Field(min_length=1, examples=["/etc/ssl/orchestrator/cert.pem"])]
    """The file in PEM; the first certificate in it is judged, each further one must have issued the one before it."""
    key: str | None = None
    """The file in PEM with the private key that must fit it, without a passphrase."""
    optional: bool = False
    """Whether it may be missing, as where HTTPS ends elsewhere."""

    def look(self, target: Target) -> Reading:
        """Return what is wrong with the certificate; a file that cannot be read is unknown."""
        text = read_text(target, place_of(target, self.file))
        if text is None:
            seen = f"{self.file} is not there"
            return passed(f"{seen}, and need not be") if self.optional else failed(seen)
        try:
            chain = x509.load_pem_x509_certificates(text.encode())
        except ValueError:
            return failed(f"{self.file} holds no certificate in PEM")
        first = chain[0]
        readings = self.judge_certificate(first, target.world.clock.now(), self.names)
        for one, issuer in pairwise(chain):
            readings.append(_issued(one, issuer))
        if self.key is not None:
            readings.append(self._judge_key(target, first, self.key))
        return all_of(readings, detail=evidence(first))

    def _judge_key(self, target: Target, certificate: x509.Certificate, key: str) -> Reading:
        text = read_text(target, place_of(target, key))
        if text is None:
            return failed(f"{key} is not there")
        try:
            private = load_pem_private_key(text.encode(), None)
        except (ValueError, TypeError):  # TypeError: it has a passphrase
            return unknown(f"{key} cannot be read as a private key without a passphrase")
        form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        fits = private.public_key().public_bytes(*form) == certificate.public_key().public_bytes(*form)
        return held(f"{key} {'fits' if fits else 'does not fit'}", fits)


def _issued(one: x509.Certificate, issuer: x509.Certificate) -> Reading:
    words = f"{one.subject.rfc4514_string()} issued by {issuer.subject.rfc4514_string()}"
    try:
        one.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature) as error:
        return failed(f"{words}: {type(error).__name__}")
    return passed(words)
