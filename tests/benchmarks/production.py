"""A server with data, as the benchmarks' production: durable, with PostgreSQL's own defaults."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tasks.adapters.pg_account import server_account
from tasks.adapters.pg_cluster import Cluster
from tasks.adapters.pg_server import installed, usable
from tasks.domain.ports import World

ACCOUNTS_A_SCALE = 100_000
"""Rows of pgbench_accounts for each unit of pgbench's scale."""
_DOCUMENTS = """
    CREATE TABLE document (id bigint PRIMARY KEY, at timestamptz NOT NULL, body jsonb NOT NULL);
    INSERT INTO document
    SELECT n, '2026-01-01'::timestamptz + n * interval '1 second', jsonb_build_object('number', n, 'key', md5(n::text),
           'words', to_jsonb(ARRAY[md5((n + 1)::text), md5((n + 2)::text)]), 'kind', n % 17, 'more', repeat('x', 300))
    FROM generate_series(1, {documents}) n;
    CREATE INDEX ON document (at);
"""


@dataclass(frozen=True)
class Production:
    """A running server; ``programs`` is where its own client programs are."""

    dsn: str
    server: str
    programs: Path
    version: str

    def run(self, program: str, *argv: str, database: str = "", output: Path | None = None) -> None:
        """Run one of PostgreSQL's programs against the database, to its end."""
        at = urlsplit(self.dsn)
        env = {
            "PATH": os.environ["PATH"],
            "PGHOST": str(at.hostname),
            "PGPORT": str(at.port),
            "PGUSER": unquote(at.username or ""),
            "PGPASSWORD": unquote(at.password or ""),
            "PGDATABASE": database or at.path.lstrip("/"),
        }
        command = [str(self.programs / program), *argv]
        with output.open("wb") if output else open(os.devnull, "wb") as out:  # noqa: PTH123 - the null device
            subprocess.run(command, check=True, env=env, stdout=out, stderr=subprocess.DEVNULL, timeout=3600)


@contextmanager
def production(
    directory: Path, *, scale: int, documents: int, settings: dict[str, str] | None = None
) -> Iterator[Production]:
    """Run the newest installed server, the system's before the wheel's, with pgbench's tables and JSON documents."""
    account = server_account()
    majors = [entry for entry in installed() if entry[1].parts[1] == "usr"] or list(installed())
    major, found = max(majors, key=lambda entry: entry[0])
    binaries = usable(found, account)
    cluster = Cluster(directory, binaries, account)
    cluster.make_directory()
    wal = {"summarize_wal": "on"} if major >= 17 else {}
    cluster.create({"wal_level": "replica", **wal, **(settings or {})}, sync=False)
    cluster.start()
    try:
        server = Production(cluster.dsn("postgres"), cluster.dsn("postgres"), binaries, str(major))
        server.run("createdb", "shop")
        one = Production(cluster.dsn("shop"), server.dsn, binaries, str(major))
        one.run("pgbench", "--initialize", "--quiet", f"--scale={scale}")
        if documents:
            one.run("psql", "-qX", "-v", "ON_ERROR_STOP=1", "-c", _DOCUMENTS.format(documents=documents))
        one.run("psql", "-qX", "-c", "VACUUM ANALYZE", "-c", "CHECKPOINT")
        yield one
    finally:
        cluster.stop("immediate")


def size_of(world: World, dsn: str) -> int:
    """Return the bytes of a database."""
    with world.databases.session(dsn) as session:
        return int(session.value("SELECT pg_database_size(current_database())"))
