"""Migrations written as plain SQL files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

from pydantic import Field

from tasks.domain.errors import Refused
from tasks.domain.ports import Session
from tasks.domain.relation import quoted
from tasks.domain.release_files import RelativePath, matching
from tasks.domain.sql_text import Script, parse
from tasks.domain.target import Target
from tasks.migrators import Migrated, Migrator, SqlText, only_runner
from tasks.migrators._sql_run import Run, nothing

_DOWN = ".down.sql"


class Sql(Migrator):
    """Applies SQL files in order, each once, and keeps a table of what was applied.

    A file runs in one transaction together with its row in that table. One that begins with
    ``-- golive: no transaction`` runs statement by statement instead, for CREATE INDEX CONCURRENTLY and the like. Its
    row says that it has begun before the first and is completed after the last of them; what stopped in between is run
    again from its beginning, or taken back, so the statements of both ways must bear that (IF EXISTS).
    """

    kind: Literal["sql"] = "sql"
    """Plain SQL files."""
    files: Annotated[tuple[RelativePath, ...], Field(min_length=1, examples=[["migrations/*.sql"]])]
    """The files, relative to the release's directory; what a pattern matches is sorted, numbers by their value."""
    down: tuple[RelativePath, ...] = ()
    """The ways back, one for each file and in the same order; by default ``NAME.down.sql`` beside ``NAME.sql``."""
    table_schema: Annotated[str, Field(min_length=1, max_length=63)] = "public"
    """The schema of the table of applied files."""
    table: Annotated[str, Field(min_length=1, max_length=63)] = "golive_migrations"
    """The table of applied files; it is made with the first row and dropped with the last."""

    def fingerprint(self, target: Target) -> str:
        """Return a hash of the files, their ways back, and the limits."""
        ways = self._ways(target)
        texts = [(name, target.world.host.read(target.release_dir / name)) for way in ways.items() for name in way]
        return hashlib.sha256(json.dumps([self.model_dump(), texts], sort_keys=True).encode()).hexdigest()

    def pending(self, target: Target) -> Sequence[str]:
        """Return the files that are not yet in the table; raises `Refused` if one was changed after it was applied."""
        return [script.name for script in self._pending(target, self._scripts(target))]

    def upgrade(self, target: Target) -> Migrated:
        """Apply the files that are pending, after having read and split all of them.

        Raises `LockNotGranted` when a file does not get its locks, `SqlFailed` or `TimedOut` with file and line, and
        `Refused` when another migration runs or a file cannot be run.
        """
        scripts = self._scripts(target)
        with only_runner(target) as fence:
            run = Run(target, self.limits, self._table, fence)
            begun = self.begun(target)
            for script in self._pending(target, scripts):
                record = partial(self._record, target, script)
                if script.transactional:
                    run.apply(script, script.name, after=record)
                else:
                    undo = nothing if script.name in begun else partial(self._forget, script.name)
                    run.apply(script, script.name, before=record, after=record, undo=undo)
            return run.result()

    def begun(self, target: Target) -> Sequence[str]:
        """Return the files without a transaction that a run has begun and not ended."""
        return [name for name, row in self._rows(target).items() if not row.complete]

    def can_downgrade(self, target: Target) -> bool:
        """Tell whether every file that this version has applied, or would apply, has its way back."""
        rows = self._rows(target)
        return all(
            target.world.host.exists(target.release_dir / down)
            for name, down in self._ways(target).items()
            if name not in rows or rows[name].version == target.version
        )

    def downgrade(self, target: Target, names: Sequence[str]) -> Migrated:
        """Run the ways back of those of the named files that are applied or begun, the last one first.

        Raises `Refused` for a name or a way back that the release does not hold, before anything ran.
        """
        ways = self._ways(target)
        if strange := sorted(set(names) - set(ways)):
            raise Refused("is not one of this release's files", where=strange[0])
        with only_runner(target) as fence:
            rows = self._rows(target)
            backwards = [name for name in reversed(ways) if name in names and name in rows]
            scripts = [_read(target, ways[name]) for name in backwards]
            run = Run(target, self.limits, self._table, fence)
            for name, script in zip(backwards, scripts, strict=True):
                # The row goes first, so that the way back may drop the schema in which the table lives.
                moment = "before" if script.transactional else "after"
                run.apply(script, name, **{moment: partial(self._forget, name)})
            return run.result()

    def sql_of(self, target: Target, names: Sequence[str]) -> Sequence[SqlText]:
        """Return the text of the named files."""
        scripts = [_read(target, name) for name in names]
        return [SqlText(script.name, script.text, script.transactional) for script in scripts]

    def books(self) -> frozenset[str]:
        """Return the table of applied files."""
        return frozenset({self._table})

    def _ways(self, target: Target) -> dict[str, str]:
        """Return the release's files in order, each with the file that takes it back, there or not."""
        host, directory = target.world.host, target.release_dir
        downs = [name for pattern in self.down for name in matching(host, directory, pattern)]
        found = [name for pattern in self.files for name in matching(host, directory, pattern)]
        names = [name for name in dict.fromkeys(found) if not name.endswith(_DOWN) and name not in downs]
        if not names:
            raise Refused("no file but ways back", where=", ".join(self.files), expected=f"a file in {directory}")
        if not self.down:
            downs = [name.removesuffix(".sql") + _DOWN for name in names]
        if len(downs) != len(names):
            raise Refused(f"{len(downs)} ways back for {len(names)} files", where="down", expected="one for each file")
        return dict(zip(names, downs, strict=True))

    def _scripts(self, target: Target) -> list[Script]:
        return [_read(target, name) for name in self._ways(target)]

    @property
    def _table(self) -> str:
        return quoted(self.table_schema, self.table)

    def _rows(self, target: Target) -> dict[str, _Row]:
        """Return what the table says of each file that was applied or begun."""
        with target.world.databases.session(
            target.dsn, read_only=True, statement_timeout=10, application="golive migration"
        ) as session:
            if session.value("SELECT to_regclass(%s)::text", (self._table,)) is None:
                return {}
            rows = session.query(f"SELECT name, sha256, applied_by_version, took FROM {self._table}")  # noqa: S608 - quoted
        return {row["name"]: _Row(row["sha256"], row["applied_by_version"], row["took"] is not None) for row in rows}

    def _pending(self, target: Target, scripts: Sequence[Script]) -> list[Script]:
        applied = {name: row for name, row in self._rows(target).items() if row.complete}
        for script in scripts:
            row = applied.get(script.name)
            if row and row.sha256 != script.sha256:
                raise Refused(
                    f"the file was changed after it was applied: it was {row.sha256} and is {script.sha256} (SHA-256)",
                    expected="the file as it was applied",
                    where=script.name,
                    do="put the file back as it was, and write the change into a new file",
                )
        return [script for script in scripts if script.name not in applied]

    def _record(self, target: Target, script: Script, session: Session, took: float) -> None:
        """Write that a file is applied, or with ``took`` 0 that it has begun."""
        session.execute("RESET ROLE")  # the file may have changed it
        if session.value("SELECT to_regclass(%s)::text", (self._table,)) is None:
            session.execute(
                f"CREATE TABLE {self._table} (name text PRIMARY KEY, sha256 text NOT NULL,"
                " applied_at timestamptz NOT NULL DEFAULT clock_timestamp(), took double precision,"
                " applied_by_version text NOT NULL)"
            )
        session.execute(
            f"INSERT INTO {self._table} (name, sha256, took, applied_by_version) VALUES (%s, %s, %s, %s) "  # noqa: S608 - quoted
            "ON CONFLICT (name) DO UPDATE SET (sha256, took, applied_by_version, applied_at) = "
            "(EXCLUDED.sha256, EXCLUDED.took, EXCLUDED.applied_by_version, clock_timestamp())",
            (script.name, script.sha256, took or None, target.version),
        )

    def _forget(self, name: str, session: Session, _took: float) -> None:
        session.execute("RESET ROLE")
        session.execute(f"DELETE FROM {self._table} WHERE name = %s", (name,))  # noqa: S608 - quoted
        if not session.value(f"SELECT count(*) FROM {self._table}"):  # noqa: S608 - quoted
            session.execute(f"DROP TABLE {self._table}")


@dataclass(frozen=True)
class _Row:
    sha256: str
    version: str
    complete: bool


def _read(target: Target, name: str) -> Script:
    text = target.world.host.read(target.release_dir / name)
    if text is None:
        raise Refused("no such file", where=name, expected=f"a file in {target.release_dir}")
    return parse(text, name)
