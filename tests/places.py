"""Places for the copy of a backup, as the scratch copy has them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from tasks.domain.database_locale import Locale, create_empty
from tasks.domain.ports import World


def run(world: World, dsn: str, script: str) -> None:
    """Run statements in a database, and wait until the server has counted what they wrote.

    A session reports that when it ends, at the latest. A table of which it is reported only once a backup has begun
    passes for one that was written meanwhile.
    """
    with world.databases.session(dsn) as session:
        session.script(script)
        pid = session.backend_pid()
    with world.databases.session(dsn) as session:
        deadline = time.monotonic() + 30
        while session.value("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", (pid,)):
            if time.monotonic() > deadline:
                raise TimeoutError("the session does not end")
            time.sleep(0.01)


def replaced(world: World, server: str, name: str, locale: Locale | None) -> None:
    """Make an empty database, in place of one of that name."""
    run(world, server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    with world.databases.session(server) as session:
        create_empty(session, name, locale)


@dataclass
class OwnPlace:
    """A server of golive's own."""

    world: World
    directory: Path
    embedded: bool = True
    keeps_rights: bool = False
    major: int | None = None

    def dsn(self, database: str) -> str:
        return self.world.pg_servers.keep(self.directory, major=self.major).dsn(database)

    def fresh(self, locale: Locale | None) -> str:
        replaced(self.world, self.dsn("postgres"), "restored", locale)
        return self.dsn("restored")

    def boot(self, data: Path, major: int, database: str, *, move: bool = False) -> str:
        server = self.world.pg_servers.boot(self.directory, data, major=major, move=move)
        run(self.world, server.dsn("template1"), f"ALTER DATABASE {database} RENAME TO restored")
        return server.dsn("restored")

    def check_pages(self, timeout: float) -> str:
        return self.world.pg_servers.check_pages(self.directory, timeout=timeout)

    def remove(self) -> None:
        self.world.pg_servers.remove(self.directory)


@dataclass
class PlaceBeside:
    """A database beside production's."""

    world: World
    production: str
    embedded: bool = False
    keeps_rights: bool = False

    def dsn(self, database: str) -> str:
        return self.world.databases.with_database(self.production, database)

    def fresh(self, locale: Locale | None) -> str:
        name = self.world.databases.name_of(self.production) + "_copy"
        replaced(self.world, self.dsn("postgres"), name, locale)
        return self.dsn(name)

    def boot(self, data: Path, major: int, database: str, *, move: bool = False) -> str:
        raise NotImplementedError

    def check_pages(self, timeout: float) -> str:
        raise NotImplementedError

    def remove(self) -> None:
        name = self.world.databases.name_of(self.production) + "_copy"
        run(self.world, self.dsn("postgres"), f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
