"""Looks whether FERNET_KEY is a key, by which what is encrypted can be read again; the key is never printed."""

from __future__ import annotations

import sys

from credentials import fernet
from cryptography.fernet import InvalidToken

if __name__ == "__main__":
    try:
        if fernet().decrypt(fernet().encrypt(b"round trip")) != b"round trip":
            raise SystemExit("what was encrypted came back as something else")
    except (KeyError, ValueError, InvalidToken) as error:
        raise SystemExit(f"FERNET_KEY is no key of Fernet ({type(error).__name__})") from None
    sys.stdout.write("✓ Fernet key encrypts and decrypts\n")
