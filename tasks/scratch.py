"""The scratch copy: where a backup is restored to prove it, and where the migration is then rehearsed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tasks.context import Context
from tasks.domain.database_locale import Locale, create_empty
from tasks.domain.database_settings import in_force, set_to
from tasks.domain.errors import SqlFailed
from tasks.domain.ports import Host, Session
from tasks.domain.relation import quoted
from tasks.dropping import drop_database

PRISTINE = "restored"
REHEARSAL = "rehearsal"
_WORDING = "wording"
_COPIES_FILES, _CLONES_FILES = 150000, 180000
"""The server versions from which CREATE DATABASE can copy files, and share their blocks."""
OWN = frozenset({"127.0.0.1", "localhost", "::1"})
"""The addresses of golive's own machine."""


class Scratch:
    """The place for a release's restored copy; it lasts until `remove`, also if golive is killed meanwhile.

    On an embedded server the databases are named plainly; on a shared one their names carry the release's id.
    """

    def __init__(self, ctx: Context, *, major: int | None = None) -> None:
        """Name the place; ``major`` is the version that an embedded server must have at least, if not production's."""
        self._ctx = ctx
        self._major = major
        self._world = ctx.world
        self._plan = ctx.file.database.scratch
        self.directory = ctx.place(self._plan.directory) / ctx.release.id

    def dsn(self, database: str) -> str:
        """Return the DSN of one of the scratch databases, starting the embedded server if it does not run."""
        if self.embedded:
            server = self._world.pg_servers.keep(self.directory, major=self._least_major())
            return server.dsn(database)
        return self._world.databases.with_database(self._server_dsn(), self._name(database))

    def application_dsn(self, database: str) -> str:
        """Return the DSN by which the application reaches a scratch database.

        Only production's own server knows the application's role; elsewhere it comes in as golive does.
        """
        dsn = self.dsn(database)
        return self._ctx.application_dsn(dsn) if self._plan.place == "same_server" else dsn

    @contextmanager
    def lent_to(self, host: Host, database: str) -> Iterator[str]:
        """Give the DSN by which the application reaches a scratch database from a host, until the block ends.

        A server that listens on golive's own machine alone is made reachable there; to production's own server the
        host has a way already.
        """
        dsn, databases = self.application_dsn(database), self._world.databases
        address, port = databases.address_of(dsn)
        if self._plan.place == "same_server" or address not in OWN or host is self._world.host:
            yield dsn
            return
        with host.lend(port) as lent:
            yield databases.with_address(dsn, "127.0.0.1", lent)

    @property
    def embedded(self) -> bool:
        """Whether it is a server of golive's own, in which it may make roles."""
        return self._plan.place == "embedded"

    @property
    def keeps_rights(self) -> bool:
        """Whether the copy keeps owners and grants, for an application with a role of its own on that server.

        It is then let do on the copy just what it may do in production.
        """
        return self._plan.place == "same_server" and self._ctx.file.database.application_dsn is not None

    def fresh(self, locale: Locale | None) -> str:
        """Make an empty database for the restored copy, replacing what an earlier try left, and return its DSN.

        It sorts as ``locale`` says, as far as that server can: a program may demand that, and an index depends on it.
        """
        with self._world.databases.session(self.dsn("postgres")) as session:
            self._drop(session, PRISTINE)
            create_empty(session, self._name(PRISTINE), locale)
        return self.dsn(PRISTINE)

    def boot(self, data: Path, major: int, database: str, *, move: bool = False) -> str:
        """Run the embedded server on a data directory (``move``) or a copy, and return the DSN of its database."""
        server = self._world.pg_servers.boot(self.directory, data, major=major, move=move)
        with self._world.databases.session(server.dsn("template1")) as session:
            if database != PRISTINE:
                drop_database(self._world, session, server.dsn(PRISTINE))
                session.execute(f"ALTER DATABASE {quoted(database)} RENAME TO {quoted(PRISTINE)}")
            if not self._exists(session, "postgres"):
                session.execute("CREATE DATABASE postgres TEMPLATE template0")
        return server.dsn(PRISTINE)

    def check_pages(self, timeout: float) -> str:
        """Return what found every page of a booted copy as its checksum says; the embedded server restarts for it."""
        return self._world.pg_servers.check_pages(self.directory, timeout=timeout)

    def analyse(self) -> None:
        """Give the restored copy statistics, which no dump holds and checks that explain a query need."""
        with self._world.databases.session(self.dsn(PRISTINE)) as session:
            session.execute("ANALYZE")

    def clone(self) -> str:
        """Make the rehearsal's database as a copy of the restored one, set as production's is, and return its DSN."""
        name, template = self._name(REHEARSAL), self._name(PRISTINE)
        if self.embedded:
            self._world.pg_servers.log_fully(self.directory)
        settings = self._settings()
        with self._world.databases.session(self.dsn("postgres")) as session:
            self._drop(session, REHEARSAL)
            _copy_files(session, name, template)
            for setting in settings:
                try:
                    session.execute(f"ALTER DATABASE {quoted(name)} SET {set_to(setting)}")
                except SqlFailed as error:
                    self._world.progress(f"the rehearsal does without {setting.partition('=')[0]}: {error.seen}")
        return self.dsn(REHEARSAL)

    def _settings(self) -> Sequence[str]:
        """Return what production's database, and the role that the application comes as, are set to."""
        databases, dsn = self._world.databases, self._ctx.target().dsn
        role, _password = databases.login_of(self._ctx.application_dsn(dsn))
        with databases.session(dsn, read_only=True) as session:
            return in_force(session, role)

    def reworded(self, schema: str, server_version: int) -> str:
        """Return a schema as pg_dump for a server of that version words it once it was read into an empty database.

        Raises `SqlFailed` if that server does not take it.
        """
        name = self._name(_WORDING)
        with self._world.databases.session(self.dsn("postgres")) as server:
            self._drop(server, _WORDING)
            server.execute(f"CREATE DATABASE {quoted(name)} TEMPLATE template0")
            try:
                with self._world.databases.session(self.dsn(_WORDING)) as session:
                    session.script(schema)
                return self._world.pg_tools.schema(self.dsn(_WORDING), server_version=server_version)
            finally:
                self._drop(server, _WORDING)

    def is_restored(self) -> bool:
        """Tell whether the restored copy is there."""
        if self.embedded and not self.directory.exists():
            return False
        with self._world.databases.session(self.dsn("postgres")) as session:
            return self._exists(session, self._name(PRISTINE))

    def remove(self) -> None:
        """Remove the databases, and the server of golive's own with them."""
        # Also where copies lie elsewhere: one of a backup of another kind may have been booted here.
        self._world.pg_servers.remove(self.directory)
        if self.embedded:
            return
        with self._world.databases.session(self.dsn("postgres")) as session:
            for database in (_WORDING, REHEARSAL, PRISTINE):
                self._drop(session, database)

    def _drop(self, server: Session, database: str) -> None:
        drop_database(self._world, server, self.dsn(database))

    @staticmethod
    def _exists(session: Session, name: str) -> bool:
        return bool(session.value("SELECT count(*) FROM pg_database WHERE datname = %s", (name,)))

    def _name(self, database: str) -> str:
        if self.embedded or database == "postgres":
            return database
        return re.sub(r"[^a-z0-9_]", "_", f"golive_{database}_{self._ctx.release.id}")[:63]

    def _server_dsn(self) -> str:
        declared = self._plan.dsn or self._ctx.file.database.dsn
        return self._world.secrets.resolve(declared)

    def _least_major(self) -> int:
        if self._major is not None:
            return self._major
        with self._world.databases.session(self._ctx.target().dsn) as session:
            return session.server_version // 10000


def _copy_files(session: Session, name: str, template: str) -> None:
    """Make a database as a copy of another's files, in no time where the file system can share blocks between files."""
    strategy = " STRATEGY FILE_COPY" if session.server_version >= _COPIES_FILES else ""
    statement = f"CREATE DATABASE {quoted(name)} TEMPLATE {quoted(template)}{strategy}"
    if session.server_version >= _CLONES_FILES:
        with suppress(SqlFailed):  # not every kernel and every file system can
            session.execute("SET file_copy_method = clone")
            session.execute(statement)
            return
        session.execute("RESET file_copy_method")
    session.execute(statement)
