"""Migrations that a service makes itself whenever it starts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import ClassVar, Literal

from tasks.domain.errors import Refused, ReleaseFileError
from tasks.domain.release import MARKER
from tasks.domain.target import Starts, Target
from tasks.domain.turn import FENCE
from tasks.migrators import Migrated, Migrator, only_runner
from tasks.migrators._locks import sampled_locks
from tasks.migrators._own_table import made, there
from tasks.migrators._tool import migrated

_TABLE = "golive_starts"
_COLUMNS = (
    "system text, identity text, version text NOT NULL, done boolean NOT NULL,"
    " at timestamptz NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (system, identity)"
)


class AtStart(Migrator):
    """Starts the new version once by itself, for a service that migrates its database whenever it starts.

    golive runs it by the release file's platform, on a port of its own and without its background processes, until it
    is ready as ``rollout.ready`` says, and stops it: on the copy, and then on production ahead of the rollout, which so
    finds nothing left to change. What counts as ready must answer only once the database is migrated. The service
    itself decides how long it waits for a lock, and how; each version counts as pending until it was started so, and
    there is no way down.
    """

    starts_version: ClassVar[bool] = True

    kind: Literal["at_start"] = "at_start"
    """A service that migrates itself."""

    def fingerprint(self, target: Target) -> str:
        """Return a hash of what the version exactly is, and of the limits."""
        return hashlib.sha256(json.dumps([self.model_dump(), _identity(target)], sort_keys=True).encode()).hexdigest()

    def pending(self, target: Target) -> Sequence[str]:
        """Return the start of this version, unless it was started so already."""
        return () if _row(target) == "done" else (_name(target),)

    def begun(self, target: Target) -> Sequence[str]:
        """Return the start of this version if it has begun and not become ready."""
        return (_name(target),) if _row(target) == "begun" else ()

    def upgrade(self, target: Target) -> Migrated:
        """Start the version, wait until it is ready, and stop it.

        Raises `RolloutFailed` with the last lines of its log if it ends before, or is not ready within
        ``limits.duration``; and `Refused` when another migration runs.
        """
        clock = target.world.clock
        began = clock.monotonic()
        with only_runner(target) as fence:
            names = self.pending(target)
            if not names:
                return Migrated((), clock.monotonic() - began, locks_exact=False)
            fence.require()
            _write(target, done=False)
            with sampled_locks(target, "", others=True) as samples:
                _starts(target).once(target, min(float(self.limits.duration), self.limits.left(clock)))
            _write(target, done=True)
        return migrated(names, clock.monotonic() - began, samples, 1)

    def can_downgrade(self, target: Target) -> bool:  # noqa: ARG002
        """Return false: services that migrate themselves know no way down."""
        return False

    def downgrade(self, target: Target, names: Sequence[str]) -> Migrated:  # noqa: ARG002
        """Raise `Refused` if anything is to be taken back."""
        if names:
            raise Refused("a service that migrates itself has no way down", where=", ".join(names))
        return Migrated((), 0.0, locks_exact=False)

    def clear(self, target: Target) -> None:
        """End what a start that was killed has left running."""
        _starts(target).end(target)

    def books(self) -> frozenset[str]:
        """Return the table of the versions that were started."""
        return frozenset({f"{FENCE}.{_TABLE}", f"public.{_TABLE}"})


def _name(target: Target) -> str:
    return f"the start of {target.version}"


def _starts(target: Target) -> Starts:
    if target.starts is None:
        raise ReleaseFileError("nothing here can start a version", do="run the phases of a release")
    return target.starts


def _identity(target: Target) -> str:
    """Return what the version's code exactly is; without golive's word on it, the version's name."""
    marker = json.loads(target.world.host.read(target.release_dir / MARKER) or "{}")
    return str(marker.get("identity") or target.version)


def _row(target: Target) -> str:
    """Return ``done`` or ``begun``, or an empty text for a version that was never started so."""
    with target.world.databases.session(target.dsn, read_only=True, statement_timeout=10) as session:
        table = there(session, _TABLE)
        if not table:
            return ""
        rows = session.query(
            f"SELECT done FROM {table} WHERE (system, identity) = (%s, %s)",  # noqa: S608 - quoted
            (target.system, _identity(target)),
        )
    return ("done" if rows[0]["done"] else "begun") if rows else ""


def _write(target: Target, *, done: bool) -> None:
    with target.world.databases.session(target.dsn, statement_timeout=10, lock_timeout=3) as session:
        table = made(session, _TABLE, _COLUMNS)
        session.execute(
            f"INSERT INTO {table} (system, identity, version, done) VALUES (%s, %s, %s, %s) "  # noqa: S608 - quoted
            "ON CONFLICT (system, identity) DO UPDATE SET (version, done, at) = "
            "(EXCLUDED.version, EXCLUDED.done, clock_timestamp())",
            (target.system, _identity(target), target.version, done),
        )
