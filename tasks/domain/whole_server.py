"""What the kinds that copy a whole server's files have in common: what is told of production, and how a copy is proven.

Such a copy holds production as it was while its files were read, and not in one snapshot: a table that production
wrote meanwhile may differ, and production's own counters must show it. Unlogged tables are emptied when a copy starts;
what they held is dumped beside the files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from tasks.domain.archive import Archive, database_size, exported_snapshot, moment_of, require_equal
from tasks.domain.errors import BackupNotProven, CommandFailed, OutsideError, UserError
from tasks.domain.fingerprint import change_counters, fingerprint, sequences
from tasks.domain.ports import Session, World
from tasks.domain.way_back import differences

UNLOGGED = "unlogged"
"""The directory beside the files with the dump of what unlogged tables held."""

STATISTICS_DELAY = 11
"""Seconds after which an idle session has surely reported the changes that it made (PGSTAT_IDLE_INTERVAL is 10 s)."""

_SIZE = """
    SELECT sum(pg_database_size(oid)) FROM pg_database
    WHERE has_database_privilege(oid, 'CONNECT') OR pg_has_role('pg_read_all_stats', 'USAGE')
"""
_UNLOGGED = """
    SELECT format('%I.%I', n.nspname, c.relname) AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.relpersistence = 'u' ORDER BY 1
"""
_ORIGIN = """
    SELECT system_identifier::text AS system_identifier, timeline_id AS timeline
    FROM pg_control_system(), pg_control_checkpoint()
"""
_SEQUENCES = """
    SELECT format('%I.%I', n.nspname, c.relname) AS name, s.seqincrement AS step, s.seqcache AS cache
    FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relpersistence = 'p'
"""
_AHEAD = 32  # so many numbers of a sequence PostgreSQL logs at once (SEQ_LOG_VALS), which a copy takes for given out
_TABLESPACES = "SELECT spcname AS name FROM pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global')"
_SEGMENT = "SELECT pg_size_bytes(current_setting('wal_segment_size'))"


def require_copyable(world: World, session: Session, *, kind: str, embedded: bool | None) -> None:
    """Raise what stands in the way of a copy of all files: tablespaces, or no server program of the version.

    ``embedded`` tells whether the copy is to run in a server of golive's own; None if there will be no copy.
    """
    if spaces := [row["name"] for row in session.query(_TABLESPACES)]:
        raise OutsideError(
            f"the server has tablespaces of its own: {', '.join(spaces)}", do="use a backup of kind dump"
        )
    if embedded is False:
        raise UserError(
            f"a backup of kind {kind} is proven by running a server of golive's own",
            do="set database.scratch.place to embedded, or use a backup of kind dump",
        )
    world.pg_servers.require(session.server_version // 10000)


def size_of_all(session: Session) -> int:
    """Return the bytes that all databases take which this role may see."""
    return int(session.value(_SIZE))


def origin(session: Session) -> dict[str, Any]:
    """Return which server this is, and on which timeline: what its backups have in common."""
    return dict(session.query(_ORIGIN)[0])


def save(
    world: World,
    dsn: str,
    into: Path,
    timeout: float,
    copy: Callable[[Session], Mapping[str, Any]],
    *,
    spare: bool = False,
) -> dict[str, Any]:
    """Copy the files by ``copy``, and return what it tells and what production's tables held meanwhile.

    The tables are read while the files are copied, or after that to ``spare`` production.
    """
    with (
        world.databases.session(dsn, statement_timeout=timeout, application="golive backup") as session,
        ThreadPoolExecutor(1) as beside,
    ):
        version = session.server_version
        began, before, at = _position(session), change_counters(session), sequences(session)
        if spare:
            told = _copied(session, copy)
            held = _held(world, dsn, into, timeout)
        else:
            reading = beside.submit(_held, world, dsn, into, timeout)
            told = _copied(session, copy)
            held = reading.result()
        after = sequences(session)
        return {
            "database": world.databases.name_of(dsn),
            "database_bytes": database_size(session),
            "server_bytes": size_of_all(session),
            "server_version": version,
            "tools": dict(world.pg_tools.versions(version)),
            **held,
            "counters": before,
            "counters_after": change_counters(session),
            "sequences": {name: (at[name], now) for name, now in after.items() if name in at},
            "origin": origin(session),
            "wal": {"began": began, "ended": _position(session), "segment": int(session.value(_SEGMENT))},
            **told,
        }


def _copied(session: Session, copy: Callable[[Session], Mapping[str, Any]]) -> Mapping[str, Any]:
    """Copy the files; where that failed because the server went away, the session knows it and raises that."""
    try:
        return copy(session)
    except CommandFailed:
        session.value("SELECT 1")
        raise


def _held(world: World, dsn: str, into: Path, timeout: float) -> dict[str, Any]:
    """Return what production's tables hold in one snapshot, from which the unlogged ones are dumped too."""
    with (
        world.databases.session(dsn, statement_timeout=timeout, application="golive backup") as session,
        exported_snapshot(session) as snapshot,
    ):
        told, tables = moment_of(session, snapshot), fingerprint(session)
        unlogged = [row["name"] for row in session.query(_UNLOGGED)]
        if unlogged:
            world.pg_tools.dump(
                dsn,
                into.with_name(UNLOGGED),
                server_version=session.server_version,
                jobs=1,
                snapshot=snapshot,
                timeout=timeout,
                tables=unlogged,
            )
        return {"snapshot": told, "tables": tables, "unlogged": unlogged}


def refill_unlogged(world: World, archive: Archive, copy: str, timeout: float) -> None:
    """Bring back into a running copy what unlogged tables held."""
    if archive.manifest["unlogged"]:
        world.pg_tools.restore(
            archive.directory / UNLOGGED,
            copy,
            server_version=archive.server_version,
            jobs=1,
            timeout=timeout,
            data_only=True,
        )


def prove(world: World, archive: Archive, copy: str, production: str) -> dict[str, Any]:
    """Return the fingerprint of the copy, and which tables production's own counters saw written meanwhile.

    A table that was not written must be equal to production's.
    """
    with world.databases.session(copy, read_only=True) as session:
        found = fingerprint(session, archive.tables)
        _require_sequences(archive, session)
    differ = differences(archive.tables, found)
    changed = _seen_written(world, archive, set(differ), production)
    require_equal(
        replace(archive, manifest={**archive.manifest, "tables": _without(archive.tables, changed)}),
        _without(found, changed),
    )
    return {
        "tables": found,
        "equal": len(found.keys() - changed.keys()),
        "changed_since": changed,
        "unlogged": archive.manifest["unlogged"],
        "sequences": len(archive.manifest["sequences"]),
        "wal": archive.manifest["wal"],
    }


def put_back(world: World, archive: Archive, copy: str, dsn: str, timeout: float) -> None:
    """Dump the database from a running copy, restore that with owners and grants, and compare it with the copy."""
    content = archive.directory.with_name(f".partial-{archive.directory.name}-back")
    try:
        with world.databases.session(copy, read_only=True) as session:
            held, at, version = fingerprint(session), sequences(session), session.server_version
        with world.databases.session(dsn) as session:
            target = session.server_version
        world.host.remove_tree(content)
        world.pg_tools.dump(copy, content, server_version=version, jobs=2, snapshot=None, timeout=timeout)
        world.pg_tools.restore(content, dsn, server_version=target, jobs=2, timeout=timeout, keep_rights=True)
        with world.databases.session(dsn) as session:
            told = replace(archive, manifest={**archive.manifest, "tables": held})
            require_equal(told, fingerprint(session, held))
            if wrong := differences(at, sequences(session)):
                raise BackupNotProven(
                    f"{len(wrong)} sequences differ from the copy's: {', '.join(wrong[:5])}",
                    expected="each to go on where it stood",
                    where=str(archive.directory),
                    do="take a new backup; nothing in production was changed",
                )
            session.execute("ANALYZE")
    finally:
        world.host.remove_tree(content)


def _require_sequences(archive: Archive, session: Session) -> None:
    """Raise `BackupNotProven` unless every sequence goes on no earlier than it stood, and but a little later."""
    now, wrong = sequences(session), []
    told = archive.manifest["sequences"]
    for row in session.query(_SEQUENCES):
        name, step = row["name"], row["step"]
        if name not in told or name not in now:
            continue
        before, after = told[name]
        least, most = sorted((before * step, after * step))
        if not least <= now[name] * step <= most + step * step * (_AHEAD + row["cache"]):
            wrong.append(f"{name}: {before} to {after} in production, {now[name]} in the copy")
    wrong += [f"{name}: no sequence in the copy" for name in sorted(told.keys() - now.keys())]
    if wrong:
        raise BackupNotProven(
            f"{len(wrong)} sequences differ in the copy: {'; '.join(wrong[:5])}",
            expected="each to go on where it stood",
            where=str(archive.directory),
            do="take a new backup; nothing in production was changed",
        )


def _seen_written(
    world: World, archive: Archive, differ: set[str], production: str
) -> dict[str, Mapping[str, int | None]]:
    """Return those tables whose counter moved since the backup began, with the counter before and after."""
    before, after = archive.manifest["counters"], archive.manifest["counters_after"]
    seen = {name for name in differ if before.get(name) != after.get(name)}
    for later in _later_counters(world, production) if differ - seen else ():
        for name in {name for name in differ - seen if before.get(name) != later.get(name)}:
            after = {**after, name: later.get(name)}
            seen.add(name)
        if seen == differ:
            break
    return {name: {"before": before.get(name), "after": after.get(name)} for name in sorted(seen)}


def _later_counters(world: World, production: str) -> Iterator[Mapping[str, int]]:
    with world.databases.session(production, read_only=True) as session:
        yield change_counters(session)
        for _ in range(STATISTICS_DELAY):
            world.clock.sleep(1.0)
            yield change_counters(session)


def _without(tables: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in tables.items() if name not in names}


def _position(session: Session) -> str:
    return str(session.value("SELECT pg_current_wal_insert_lsn()"))
