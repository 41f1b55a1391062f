"""Secrets: found by the name that a release file gives, and hidden wherever they would be shown."""

from __future__ import annotations

import os
import re
import stat
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from tasks.domain.errors import SecretMissing

MASK = "•••"

_SHORTEST = 4  # shorter values would blot out ordinary words
_LARGEST_FILE = 64 * 1024
_REFERENCE = re.compile(r"\$\{(env|file|block):([^{}]*)\}")
_IN_URL = re.compile(r"(://[^\s/:@]*:)[^\s/]+@")
_IN_DSN = re.compile(r"(password\s*=\s*)('(?:[^'\\]|\\.)*'|\"[^\"]*\"|[^\s&;,'\"]+)", re.IGNORECASE)
_IN_JSON = re.compile(r"([\"']password[\"']\s*:\s*)(\"(?:[^\"\\]|\\.)*\"|'[^']*')", re.IGNORECASE)


def mask_passwords(text: str) -> str:
    """Replace every password that a URL, a DSN or a JSON object shows by ``•••``."""
    text = _IN_URL.sub(rf"\g<1>{MASK}@", text)
    text = _IN_DSN.sub(rf"\g<1>{MASK}", text)
    return _IN_JSON.sub(rf'\g<1>"{MASK}"', text)


def mask_values(text: str, values: Iterable[str]) -> str:
    """Replace each of the values and its URL-encoded form by ``•••``, the longest first; short ones are left."""
    forms = {form for value in values for form in (value, quote(value, safe="")) if len(form) >= _SHORTEST}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, MASK)
    return text


def _parts(secret: str) -> set[str]:
    """Return a secret with what is secret in it on its own: a DSN's password, the lines of a key."""
    found = {secret, *(line.strip() for line in secret.splitlines())}
    for match in _IN_DSN.finditer(secret):
        quoted = match[2][:1] in {"'", '"'}
        found.add(re.sub(r"\\(.)", r"\1", match[2][1:-1]) if quoted else match[2])
    if "://" in secret:
        try:
            password = urlsplit(secret).password
        except ValueError:
            password = None
        if password:
            found |= {password, unquote(password)}
    return {part for part in found if len(part) >= _SHORTEST}


class SecretStore:
    """Resolves the references of a release file and remembers what to hide.

    ``read_block`` returns the value of a Prefect Secret block, or None if there is no such block.
    """

    def __init__(
        self, environ: Mapping[str, str] = os.environ, read_block: Callable[[str], str | None] | None = None
    ) -> None:
        self._environ = environ
        self._read_block = read_block
        self._known: set[str] = set()
        self._lock = threading.Lock()

    def resolve(self, text: str) -> str:
        """Replace each ``${env:NAME}``, ``${file:PATH}`` and ``${block:NAME}``; raises `SecretMissing`.

        A value is taken as it is: what looks like a reference in it stays.
        """
        return _REFERENCE.sub(self._value, text)

    def mask(self, text: str) -> str:
        """Replace every secret resolved so far, and every password in a URL or DSN, by ``•••``."""
        with self._lock:
            known = tuple(self._known)
        return mask_passwords(mask_values(text, known))

    def _value(self, match: re.Match[str]) -> str:
        read = {"env": self._from_environment, "file": _from_file, "block": self._from_block}[match[1]]
        value = read(match[2])
        with self._lock:
            self._known |= _parts(value)
        return value

    def _from_environment(self, name: str) -> str:
        value = self._environ.get(name)
        if not value:
            seen = "is not set" if value is None else "is empty"
            raise SecretMissing(
                f"environment variable {name} {seen}",
                where=f"${{env:{name}}}",
                do=f"set {name} where golive runs, then golive up again",
            )
        return value

    def _from_block(self, name: str) -> str:
        where = f"${{block:{name}}}"
        if self._read_block is None:
            raise SecretMissing(
                "Prefect blocks cannot be read here", where=where, do="use ${env:…} or ${file:…}, or run it in a flow"
            )
        value = self._read_block(name)
        if not value:
            raise SecretMissing(
                "there is no such Prefect Secret block, or it is empty",
                where=where,
                do=f"make a Secret block named {name} in the Prefect UI",
            )
        return value


def _from_file(name: str) -> str:
    where = f"${{file:{name}}}"
    path = Path(name).expanduser()
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a named pipe must not hold golive
        try:
            mode = os.fstat(descriptor).st_mode
            content = os.read(descriptor, _LARGEST_FILE + 1) if stat.S_ISREG(mode) else b""
        finally:
            os.close(descriptor)
    except OSError as error:
        raise SecretMissing(f"{error.strerror}", where=where, do="write the secret to that file, mode 0600") from error
    if not stat.S_ISREG(mode):
        raise SecretMissing("is not a regular file", where=where, do="name a file that holds the secret")
    if mode & 0o077:
        raise SecretMissing(
            f"group or others may read it (mode {stat.S_IMODE(mode):04o})",
            expected="mode 0600 or 0400",
            where=where,
            do=f"chmod 600 {path}",
        )
    if len(content) > _LARGEST_FILE:
        raise SecretMissing("is larger than 64 KiB", where=where, do="name a file that holds the secret alone")
    try:
        value = content.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise SecretMissing("is not UTF-8 text", where=where, do="write the secret to it as text") from error
    if not value:
        raise SecretMissing("is empty", where=where, do="write the secret to it")
    return value
