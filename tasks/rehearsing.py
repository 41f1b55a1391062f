"""The rehearsal's migration: on a copy of production up, down and up, with all that it takes measured."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tasks.checking import look_at, require
from tasks.context import Context
from tasks.domain import dropping
from tasks.domain.errors import GoliveError, RehearsalFailed
from tasks.domain.fingerprint import fingerprint, rows_of
from tasks.domain.growth import extent, growth
from tasks.domain.locks import blocks, holds_up
from tasks.domain.outcome import Outcome
from tasks.domain.schema_text import fit_to_keep
from tasks.domain.target import Target
from tasks.domain.units import show_seconds
from tasks.domain.way_back import differences
from tasks.migrators import Migrated, Migrator
from tasks.same_schema import what_differs
from tasks.scratch import REHEARSAL, Scratch

PHASE = "rehearse"


@dataclass(frozen=True)
class State:
    """What a copy holds at one moment; ``schema`` is as pg_dump for a server of ``version`` words it."""

    schema: str
    version: int
    tables: Mapping[str, Any]
    columns: list[dropping.Column]
    rows: Mapping[str, Counter[int]]
    """The rows of tables in which the migrator's tool may leave some."""

    def has_only_more_in(self, table: str, before: State) -> bool:
        """Tell whether a table holds all the rows that it held before, and others besides."""
        return table in self.rows and not before.rows.get(table, Counter()) - self.rows[table]


def copy_of(ctx: Context) -> Target:
    """Return the rehearsal's copy as a target."""
    return ctx.on_copy().target().at(dsn=Scratch(ctx).dsn(REHEARSAL))


def up_down_up(ctx: Context) -> tuple[dict[str, Any], str | None]:
    """Migrate the copy up, down and up, and return what was measured, with the schema that came of it.

    Raises `RehearsalFailed` if it takes longer, or holds the application up for longer, than the release file permits.
    """
    migrator, target = ctx.file.migration, copy_of(ctx)
    names = list(migrator.pending(target))
    before = _state_of(ctx, target)
    up, grown = measured_upgrade(ctx, target)
    require_within_limits(migrator, up)
    require(look_at(ctx, PHASE, ctx.file.checks.migrate, target), "the schema after the migration, on the copy")
    after = _state_of(ctx, target)
    down = _down_and_compare(ctx, target, names, before, after)
    if down["applied"]:
        down["copied_anew"] = _up_again(ctx, target, after, exact=down["exact"] is Outcome.PASSED)
    found = {
        "pending": names,
        "fingerprint": migrator.fingerprint(target),
        "upgrade": migrated(up),
        "growth": grown,
        "downgrade": down,
        "schema_sha256": digest(after.schema),
        "schema_version": after.version,
        "changed_tables": differences(before.tables, after.tables),
    }
    return found, fit_to_keep(after.schema)


def measured_upgrade(ctx: Context, target: Target) -> tuple[Migrated, dict[str, Any]]:
    """Upgrade a copy and return what that did, with the growth of the database and of the log."""
    with ctx.world.databases.session(target.dsn, read_only=True) as session:
        before = extent(session)
        up = ctx.file.migration.upgrade(target)
        return up, growth(before, extent(session), shared=not Scratch(ctx).embedded)


def _up_again(ctx: Context, target: Target, after: State, *, exact: bool) -> bool:
    """Bring the copy to the schema that production will get, and tell whether that took a new copy.

    What a way down that failed or was inexact has left must not decide what the two versions then run against.
    """
    if exact:
        ctx.file.migration.upgrade(target)
        if schema_of(ctx, target.dsn, after.version) == after.schema:
            return False
    Scratch(ctx).clone()
    ctx.file.migration.upgrade(target)
    return True


def _down_and_compare(ctx: Context, target: Target, names: list[str], before: State, after: State) -> dict[str, Any]:
    migrator, none = ctx.file.migration, {"took": 0.0, "drops": []}
    if not names:
        return {"exact": Outcome.PASSED, "seen": "nothing to take back", "applied": False, **none}
    if not migrator.may_roll_back or not migrator.can_downgrade(target):
        return {"exact": Outcome.UNKNOWN, "seen": "there is no way down", "applied": False, **none}
    added = dropping.drops(before.columns, after.columns, [], books=migrator.books())
    with ctx.world.databases.session(target.dsn, read_only=True) as session:
        counts = dropping.count(session, added)
    try:
        down = migrator.downgrade(target, names)
    except GoliveError as error:
        # A way down that fails is a fact about the release, not about the rehearsal: the plan then is another one.
        seen = ctx.world.secrets.mask(str(error))
        return {"exact": Outcome.FAILED, "seen": seen, "applied": True, **none}
    now = _state_of(ctx, target)
    changed = differences(before.tables, now.tables)
    left = [name for name in changed if now.has_only_more_in(name, before)]
    wrong = [name for name in changed if name not in left]
    if now.schema != before.schema and what_differs(ctx, before.schema, now.schema, now.version):
        wrong = ["the schema", *wrong]
    seen = f"differs from before: {', '.join(wrong[:5])}" if wrong else "equal to before"
    seen += f", but for rows that {migrator.kind} leaves in {', '.join(left)}" if left and not wrong else ""
    exact = Outcome.FAILED if wrong else Outcome.PASSED
    dropped = dropping.drops(before.columns, after.columns, now.columns, books=migrator.books())
    drops = [{**asdict(one), "values": counts[one.name]} for one in dropped]
    return {"exact": exact, "seen": seen, "applied": True, "took": down.took, "drops": drops}


def require_within_limits(migrator: Migrator, run: Migrated) -> None:
    """Raise `RehearsalFailed` if a migration took, or held the application up for, longer than the file permits."""
    limits = migrator.limits
    if run.took > limits.duration:
        raise RehearsalFailed(
            f"the migration took {run.took:.1f} s",
            expected=f"at most {limits.duration:g} s",
            do="make it smaller, or raise migration.limits.duration",
        )
    if migrator.pause and run.took > migrator.pause:
        raise RehearsalFailed(
            f"the migration took {show_seconds(run.took)}",
            expected=f"at most {migrator.pause:g} s, for which requests may be held back",
            do="make it smaller, raise migration.pause, or do without",
        )
    over = [lock for lock in run.locks if lock.held > limits.lock and holds_up(lock.mode)]
    if over:
        worst = max(over, key=lambda lock: lock.held)
        raise RehearsalFailed(
            f"{worst.relation} was locked in {worst.mode}, which blocks {blocks(worst.mode)}, "
            f"for {show_seconds(worst.held)}",
            expected=f"at most {limits.lock:g} s for any table",
            do="do it in steps that lock briefly, or raise migration.limits.lock",
        )


def migrated(run: Migrated) -> dict[str, Any]:
    """Return what a migrator did in a form that JSON can hold."""
    return {**asdict(run), "locks": [asdict(lock) for lock in run.locks]}


def schema_of(ctx: Context, dsn: str, version: int) -> str:
    """Return a database's schema as pg_dump for a server of ``version`` words it.

    That wording changes with pg_dump's version, so both sides of a comparison must be given the same one.
    """
    return ctx.world.pg_tools.schema(dsn, server_version=version)


def digest(schema: str) -> str:
    """Return the SHA-256 of a schema."""
    return hashlib.sha256(schema.encode()).hexdigest()


def _state_of(ctx: Context, target: Target) -> State:
    with ctx.world.databases.session(target.dsn, read_only=True) as session:
        tables = fingerprint(session)
        columns = dropping.columns(session)
        rows = rows_of(session, ctx.file.migration.leaves_rows_in())
        # The copy's server is never older than production's, so its pg_dump can read both.
        version = session.server_version
    return State(schema_of(ctx, target.dsn, version), version, tables, columns, rows)
