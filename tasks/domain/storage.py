"""Where finished backups are kept besides the disk, and how they are encrypted, as the release file says it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field, field_validator

from tasks.domain.kind import Duration, Strict
from tasks.domain.ports import Bucket, World

_REFERENCE = re.compile(r"\$\{(?:env|file|block):[^{}]+\}")
_SECRET = re.compile(r"(^|_)(key|secret|token|password|passwd|passphrase|credential|credentials|auth)$", re.IGNORECASE)


def _named(text: str) -> str:
    if not _REFERENCE.fullmatch(text):
        raise ValueError("a secret is written out here; expected a reference to it, as in ${env:NAME} or ${file:PATH}")
    return text


class Storage(Strict):
    """Where finished backups are kept elsewhere than on golive's own disk."""

    url: Annotated[str, Field(pattern=r"^[a-z][a-z0-9+.-]*://[^\s$@]+$", examples=["s3://backups/golive"])]
    """A URL that fsspec knows, as of an S3 bucket; each system has a directory of its own below it."""
    options: Annotated[
        Mapping[str, Any],
        Field(examples=[{"key": "${env:S3_KEY}", "secret": "${env:S3_SECRET}", "endpoint_url": "https://s3.example"}]),
    ] = {}
    """What fsspec's file system takes besides: credentials, as secret references, and addresses."""
    keep_local: Annotated[int, Field(ge=0, le=1000)] = 1
    """How many of the newest backups stay on the disk too, so that a restore needs no download; with 1 or more also
    those of releases that have not ended."""
    parallel: Annotated[int, Field(ge=1, le=64)] = 4
    """How many files are copied at a time; each takes up to 40 MB of memory."""
    timeout: Duration = 120.0
    """For how long the store may be silent before it is given up."""

    @field_validator("options")
    @classmethod
    def _secrets_are_named(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        for key, text in _texts(value):
            if _SECRET.search(key):
                try:
                    _named(text)
                except ValueError as error:
                    raise ValueError(f"{key}: {error}") from error
        return value

    def of(self, system: str) -> str:
        """Return the URL below which a system's backups lie."""
        return f"{self.url.rstrip('/')}/{system}"

    def bucket(self, world: World, system: str) -> Bucket:
        """Return the place of a system's backups; raises `SecretMissing`, `ToolMissing`, `UserError`."""
        return world.stores.at(self.of(system), _resolved(self.options, world), timeout=self.timeout)


class Encryption(Strict):
    """For whom finished backups are encrypted by age, on the disk and in the store."""

    recipients: Annotated[
        tuple[Annotated[str, Field(pattern=r"^age1[0-9a-z]{58}$")], ...],
        Field(min_length=1, examples=[["age1swx0zkgg8kx6202ffpeclfg3935pwq7s3g2p6hcwwxxmph54sq3qsvjd55"]]),
    ]
    """The public keys for which they are encrypted."""
    identity: Annotated[str, Field(examples=["${file:/etc/golive/backup.key}"])]
    """The secret key of one of the recipients, as a secret reference: what golive cannot read again is not proven.
    Several may stand in one file, a line each, so that older backups stay readable when keys change."""

    @field_validator("identity")
    @classmethod
    def _is_named(cls, value: str) -> str:
        return _named(value)


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, below in value.items():
            yield from _texts(below, str(name))
    elif isinstance(value, list | tuple):
        for below in value:
            yield from _texts(below, key)


def _resolved(value: Any, world: World) -> Any:
    if isinstance(value, str):
        return world.secrets.resolve(value)
    if isinstance(value, Mapping):
        return {name: _resolved(below, world) for name, below in value.items()}
    if isinstance(value, list | tuple):
        return [_resolved(below, world) for below in value]
    return value
