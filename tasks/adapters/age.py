"""Encryption by age, in streams: what is encrypted or decrypted never lies in memory as a whole."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, TypeVar

import pyrage
from pyrage import x25519

from tasks.domain.errors import BackupNotProven, OutsideError, UserError

T = TypeVar("T")

_NEW_KEY = "make a key with age-keygen; its public half goes into the release file"


class Age:
    """Encrypts for age's public keys (``age1…``) and decrypts with its secret ones (``AGE-SECRET-KEY-1…``)."""

    def seal(self, source: BinaryIO, into: BinaryIO, recipients: Sequence[str]) -> None:
        """Encrypt for recipients, each a public key."""
        for_whom = _recipients(recipients)
        with _own_errors(source, into) as (reader, writer):
            try:
                pyrage.encrypt_io(reader, writer, for_whom)
            except (pyrage.EncryptError, OSError) as error:
                raise OutsideError(f"cannot be encrypted: {error}") from error

    def unseal(self, source: BinaryIO, into: BinaryIO, identity: str) -> None:
        """Decrypt with the secret keys that stand in a text, one a line.

        Raises `BackupNotProven` if none of them fits, or what is read was changed or cut.
        """
        keys = _identities(identity)
        with _own_errors(source, into) as (reader, writer):
            try:
                pyrage.decrypt_io(reader, writer, keys)
            except (pyrage.DecryptError, OSError) as error:
                raise BackupNotProven(
                    f"cannot be decrypted: {error}",
                    expected="what was encrypted, unchanged and whole, and the identity of one of its recipients",
                    do="give the right identity, or use another backup",
                ) from error

    def require_pair(self, recipients: Sequence[str], identity: str) -> None:
        """Raise `UserError` unless the recipients are public keys and the secret keys can read what they are sent."""
        sealed = pyrage.encrypt(b"golive", _recipients(recipients))
        try:
            pyrage.decrypt(sealed, _identities(identity))
        except pyrage.DecryptError as error:
            raise UserError(
                "the identity belongs to none of the recipients",
                expected="to be able to read again what is encrypted",
                where="backup.encrypt",
                do="name the recipient that belongs to the identity (age-keygen -y)",
            ) from error


def _recipients(texts: Sequence[str]) -> list[x25519.Recipient]:
    found = []
    for text in texts:
        try:
            found.append(x25519.Recipient.from_str(text))
        except pyrage.RecipientError as error:
            raise UserError(
                f"{text} is no public key: {error}", where="backup.encrypt.recipients", do=_NEW_KEY
            ) from error
    return found


def _identities(text: str) -> list[x25519.Identity]:
    lines = [line.strip() for line in text.splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    try:
        found = [x25519.Identity.from_str(key) for key in keys]
    except pyrage.IdentityError as error:
        # What stands there instead may be a secret of another sort.
        raise UserError(f"holds no secret key: {error}", where="backup.encrypt.identity", do=_NEW_KEY) from error
    if not found:
        raise UserError("holds no secret key", where="backup.encrypt.identity", do=_NEW_KEY)
    return found


class _Kept(io.RawIOBase):
    """A stream that keeps what its other side raised, of which pyrage passes on no more than the words."""

    def __init__(self, of: BinaryIO, failed: list[BaseException]) -> None:
        self._of, self._failed = of, failed

    def read(self, size: int = -1) -> bytes:
        return self._kept(lambda: self._of.read(size))

    def write(self, data: bytes) -> int:  # type: ignore[override]
        return self._kept(lambda: self._of.write(data))

    def _kept(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except BaseException as error:
            self._failed.append(error)
            raise


@contextmanager
def _own_errors(source: BinaryIO, into: BinaryIO) -> Iterator[tuple[_Kept, _Kept]]:
    """Give streams to hand to pyrage; what one of them raised comes out of the block instead of pyrage's error."""
    failed: list[BaseException] = []
    try:
        yield _Kept(source, failed), _Kept(into, failed)
    except Exception as error:
        if failed:
            raise failed[0] from error
        raise
