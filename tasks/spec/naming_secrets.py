"""A release file names secrets and never holds them: finds a password that is written out in a DSN or URL."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator

_REFERENCE = re.compile(r"\$\{(?:env|file|block):[^{}]*\}")
_NAMED = "\0"
_IN_URL = re.compile(r"://[^\s/:@]*:([^\s/]*)@")
_IN_DSN = re.compile(
    r"(?:^|[\s?&])(?:(?:ssl)?password|oauth_client_secret|scram_(?:client|server)_key)\s*=\s*"
    r"('(?:[^'\\]|\\.)*'|[^\s&]*)",
    re.IGNORECASE,
)

ADVICE = "a password is written out here; expected a reference to it, as in ${env:NAME} or ${file:PATH}"


def holds_password(text: str, *, dsn: bool = False) -> bool:
    """Tell whether a URL, or with ``dsn`` any connection string, has a password that is not named by a reference."""
    named = _REFERENCE.sub(_NAMED, text)
    found = _IN_URL.findall(named) + (_IN_DSN.findall(named) if dsn else [])
    return any(password.strip(f"'{_NAMED}") for password in found)


def _named(dsn: str) -> str:
    if holds_password(dsn, dsn=True):
        raise ValueError(ADVICE)
    return dsn


Dsn = Annotated[str, AfterValidator(_named)]
"""A connection string; its password, or the whole of it, is named by a secret reference."""


def written_out(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the paths of all texts within a value whose URL holds a password."""
    if isinstance(value, str):
        if holds_password(value, dsn=str(at[-1]).endswith("dsn")):
            yield at
    elif isinstance(value, Mapping):
        for key, below in value.items():
            yield from written_out(below, (*at, key))
    elif isinstance(value, list | tuple):
        for index, below in enumerate(value):
            yield from written_out(below, (*at, index))
