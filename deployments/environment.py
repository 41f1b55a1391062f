"""Remembers, as salted hashes, which environment Prefect's server and worker were started with."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.adapters.host import LocalHost
from tasks.spec.loading import FILE_NAME

RECORD = "environment.json"
"""The file (0600) beside Prefect's own that holds the hashes; a value cannot be read from it."""
_NAMED = re.compile(r"\$\{env:([^{}]+)\}")


@dataclass(frozen=True)
class Difference:
    """What of an environment is not as it was when the worker was started."""

    changed: tuple[str, ...] = ()
    """Names that are set now and were not, or otherwise."""
    missing: tuple[str, ...] = ()
    """Names that the worker has and that are not set now."""


def remember(home: Path, environ: Mapping[str, str]) -> None:
    """Put an environment on record."""
    salt = secrets.token_hex(16)
    hashes = {name: _hash(salt, value) for name, value in environ.items()}
    LocalHost().write(home / RECORD, json.dumps({"salt": salt, "hashes": hashes}))


def difference(home: Path, environ: Mapping[str, str], own: Iterable[str], named: Iterable[str]) -> Difference:
    """Compare an environment with the one on record; without a record nothing differs.

    ``own`` are golive's own variables, of which one that is not set counts as empty; ``named`` are those that release
    files name, of which one that is not set here may be set in the terminal that the worker was started from.
    """
    try:
        record = json.loads((home / RECORD).read_text())
    except (FileNotFoundError, ValueError):
        return Difference()
    salt, hashes = str(record["salt"]), dict(record["hashes"])
    empty = _hash(salt, "")

    def differs(name: str) -> bool:
        return not hmac.compare_digest(_hash(salt, environ.get(name, "")), hashes.get(name, empty))

    mine, theirs = set(own), set(named)
    return Difference(
        changed=tuple(sorted(name for name in mine | theirs if (name in mine or environ.get(name)) and differs(name))),
        missing=tuple(sorted(name for name in theirs - mine if not environ.get(name) and differs(name))),
    )


def named_in(systems: Path) -> set[str]:
    """Return the environment variables that the release files name."""
    return {name for path in systems.glob(f"*/{FILE_NAME}") for name in _NAMED.findall(path.read_text())}


def _hash(salt: str, value: str) -> str:
    return hmac.new(bytes.fromhex(salt), value.encode(errors="surrogateescape"), hashlib.sha256).hexdigest()
