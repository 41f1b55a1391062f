"""The steps of a restore into any database: look, put by what is there, restore beside it, exchange by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from tasks import destination
from tasks.acting import act, act_once, do_one
from tasks.apart import open_apart
from tasks.context import Context, context_of, is_gone, ledger, world
from tasks.domain.archive import Archive
from tasks.domain.database_locale import create_empty
from tasks.domain.errors import AccessDenied, GoliveError, Refused, SqlFailed
from tasks.domain.ports import Session
from tasks.domain.relation import quoted
from tasks.domain.release import TERMINAL, State
from tasks.driving import to_its_end
from tasks.dropping import drop_database
from tasks.keeping import known, opened
from tasks.ledger.models import Backup
from tasks.ledger.releases import Claim
from tasks.proving import SAFETY, plan_of, require_as_proven
from tasks.reckoning import require_room_back
from tasks.rollouts import Step
from tasks.scratch import Scratch
from tasks.settings import Settings
from tasks.twin import beside, create_like

PHASE = SAFETY
BRING_BACK = "restore beside and exchange"
_IN_USE = "55006"
_DUPLICATE = "42P04"
_INCOMING = "golive_incoming"


@contextmanager
def restoring(backup: int, to: str, *, started_by: str, reason: str) -> Iterator[Claim]:
    """Open a restore on record and run it; of its steps the destination is the database.

    Raises `Refused` before anything is on record if the destination is production of a system with an active release.
    Where it is production of another one, no release of that system can begin before the restore has ended. A process
    that is killed leaves the destination as it was or wholly restored, so that ``golive stop`` may end its record.
    """
    settings = Settings.from_environment()
    book, at = ledger(settings), world()
    one = book.evidence.backup(backup)
    reference = destination.reference_of(settings, to)
    system = destination.production_of(at, settings, book, at.secrets.resolve(reference))
    if system:
        destination.refuse_under_release(book, system)
    opened = open_apart(
        system or one.system,
        PHASE,
        version=book.releases.get(one.release_id).version,
        started_by=started_by,
        reason=reason or f"backup {one.id} of {one.system}",
        alone=bool(system),
        database=reference,
    )
    with to_its_end(opened) as claim:
        yield claim


@act
def inspect_destination(claim: Claim, backup: int, *, replace: bool) -> bool:
    """Tell whether the destination holds something that a safety backup must put by first.

    Raises `BackupNotProven` for a backup that is not whole, `DiskTooSmall`, and `Refused` for a destination that others
    use, that lacks a role, or that is not empty, unless it shall be replaced.
    """
    ctx = context_of(claim)

    def look() -> Mapping[str, Any]:
        one = ctx.ledger.evidence.backup(backup)
        taken = known(ctx, one)
        where = destination.look_at(ctx.world, ctx.target().dsn)
        destination.require_fit(where, replace=replace)
        destination.require_roles(ctx.world, where.dsn, taken.manifest.get("roles", ()))
        disks = require_room_back(ctx, plan_of(ctx.ledger, ctx.settings, one), taken.manifest, where.dsn)
        return {
            "backup": one.id,
            "database": where.name,
            "at": ctx.world.databases.redacted(where.dsn),
            "exists": where.exists,
            "held": where.held,
            "disks": disks,
        }

    return bool(do_one(ctx, PHASE, Step("look at the destination", look, mutates=False))["held"])


@act_once
def bring_back(claim: Claim, backup: int) -> str:
    """Restore a backup beside the destination, compare it with its proof, exchange the two, and tell what came of it.

    What was there is kept aside, unless it was empty. Until the exchange, which is one transaction, the destination is
    as it was; should anybody have connected meanwhile, it stays so and `Refused` names them.
    """
    ctx = context_of(claim)
    detail = do_one(ctx, PHASE, Step(BRING_BACK, lambda: _bring_back(ctx, backup), mutates=False))
    kept = f"; what was there is kept aside as {detail['kept_aside']}" if detail["kept_aside"] else ""
    safety = ctx.ledger.evidence.backup_of(ctx.release.id)
    put_by = f"; safety backup {safety.id}: {safety.location}" if safety is not None else ""
    return f"backup {backup} is restored into {detail['database']}, {detail['tables']} tables compared{put_by}{kept}"


def _bring_back(ctx: Context, backup: int) -> Mapping[str, Any]:
    one = ctx.ledger.evidence.backup(backup)
    with opened(ctx, one) as taken:
        return _brought_back(ctx, one, taken)


def _brought_back(ctx: Context, one: Backup, taken: Archive) -> Mapping[str, Any]:
    databases, clock, plan = ctx.world.databases, ctx.world.clock, plan_of(ctx.ledger, ctx.settings, one)
    where = destination.look_at(ctx.world, ctx.target().dsn)
    incoming = _incoming(ctx.release.id)
    aside = beside(where.name, f"before_{clock.now():%Y%m%d%H%M%S}") if where.exists else ""
    with databases.session(databases.with_database(where.dsn, "postgres")) as session:
        left_over = _drop_left_over(ctx, session, where.dsn)
        began = clock.monotonic()
        new = databases.with_database(where.dsn, incoming)
        try:
            if where.exists:
                create_like(session, where.name, incoming)
            else:
                create_empty(session, incoming, taken.manifest.get("locale"))
            place = Scratch(ctx, major=taken.server_version // 10000)
            plan.put_back(ctx.world, taken, new, place)
            tables = require_as_proven(ctx.world, one, taken, new)
            took = clock.monotonic() - began
            _exchange(session, where.name, incoming, aside)
        except BaseException as error:
            with suppress(GoliveError):
                drop_database(ctx.world, session, new)
            if isinstance(error, AccessDenied) and not error.do:
                error.do = f"use a role that owns {where.name}, may create databases, and may give them its owner"
            raise
        kept = aside and _kept(ctx, session, databases.with_database(where.dsn, aside), aside)
    return {
        "backup": one.id,
        "database": where.name,
        "tables": len(tables),
        "rows": sum(table["rows"] for table in tables.values()),
        "restore_seconds": took,
        "kept_aside": kept,
        "left_over_removed": left_over,
    }


def _exchange(session: Session, name: str, incoming: str, aside: str) -> None:
    """Give the restored database its name, and the one that has it another, in one transaction.

    PostgreSQL renames no database that anybody is connected to, and lets nobody in while it does.
    """
    try:
        with session.transaction():
            if aside:
                session.execute(f"ALTER DATABASE {quoted(name)} RENAME TO {quoted(aside)}")
            session.execute(f"ALTER DATABASE {quoted(incoming)} RENAME TO {quoted(name)}")
    except SqlFailed as error:
        if error.sqlstate == _IN_USE:
            raise destination.busy(name, destination.sessions(session, name) or ["a session that has ended"]) from error
        if error.sqlstate == _DUPLICATE:
            raise Refused(f"somebody has made {name} meanwhile", do="look at it, and restore again") from error
        raise


def _kept(ctx: Context, session: Session, dsn: str, aside: str) -> str:
    """Return the name of what was there, if it held anything by the last moment; else drop it."""
    try:
        if destination.what_is_in(ctx.world, dsn):
            return aside
        session.execute(f"DROP DATABASE {quoted(aside)}")
    except GoliveError as error:
        ctx.world.progress(f"{aside} is left over: {ctx.world.secrets.mask(str(error))}")
        return aside
    return ""


def _incoming(release_id: str) -> str:
    """Return the name of the database that a restore fills, by which its leftovers are found should it be killed."""
    return f"{_INCOMING}_{release_id.replace('-', '_')[-40:]}"


def _drop_left_over(ctx: Context, session: Session, dsn: str) -> list[str]:
    """Drop what restores that were killed have left on this server, and return the names."""
    there = {
        row["name"]
        for row in session.query(
            "SELECT datname AS name FROM pg_database WHERE starts_with(datname::text, %s)", (_INCOMING,)
        )
    }
    rows = ctx.ledger.releases.latest(limit=1000) if there else []
    over = [row for row in rows if State(row.state) in TERMINAL or is_gone(row.holder)]
    names = sorted(there & {_incoming(row.id) for row in over if row.scope == PHASE})
    for name in names:
        drop_database(ctx.world, session, ctx.world.databases.with_database(dsn, name))
    return names
