"""How PostgreSQL's client programs are told where to connect, with the password in a file and never in an argv."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from psycopg.conninfo import make_conninfo

from tasks.adapters import dsn as dsns
from tasks.domain.errors import UserError
from tasks.domain.ports import Host

_FILES = ("PGPASSFILE", "PGSERVICEFILE", "PGSYSCONFDIR")


@dataclass(frozen=True)
class Connection:
    """What names the database, without a secret, and an environment without one."""

    conninfo: str
    env: Mapping[str, str] = field(repr=False)


@contextmanager
def connection(host: Host, dsn: str) -> Iterator[Connection]:
    """Tell a program how to reach a database; the file with the password is gone after the block."""
    given = dsns.options(dsn)
    password = given.pop("password", "")
    env = {variable: given[key] for key, variable in dsns.ENVIRONMENT.items() if key in given and key != "dbname"}
    env.setdefault("PGCONNECT_TIMEOUT", "10")
    env.setdefault("PGAPPNAME", "golive")
    env.setdefault("PGTZ", "UTC")  # in which pg_dump words the moments in defaults, bounds of partitions and conditions
    rest = {key: value for key, value in given.items() if key not in dsns.ENVIRONMENT and key not in dsns.SECRETS}
    conninfo = make_conninfo("", **{**rest, "dbname": dsns.name_of(dsn)})
    if not password:
        # Where a person keeps passwords for libpq; psycopg finds them there too.
        yield Connection(conninfo, {name: os.environ[name] for name in _FILES if name in os.environ} | env)
        return
    if "\n" in password:
        raise UserError("the password holds a line break, which PostgreSQL's password file cannot", do="change it")
    own = Path(tempfile.gettempdir()) / f"golive-{secrets.token_hex(16)}"
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    try:
        host.write(own / "pgpass", f"*:*:*:*:{escaped}\n", 0o600)
        yield Connection(conninfo, env | {"PGPASSFILE": str(own / "pgpass")})
    finally:
        host.remove_tree(own)
