"""Sentences about what was seen: measurements, probes, looks, backups, baselines, rehearsals, signatures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, insert, literal_column, select

from tasks.domain.errors import NotFound
from tasks.domain.outcome import Measurement as Seen
from tasks.domain.outcome import Outcome
from tasks.ledger import models
from tasks.ledger.engine import LedgerEngine
from tasks.ledger.record import BUNDLE, WORKLOAD
from tasks.ledger.releases import Note, message_of

DRILL = "restore drill"
"""The source of a look that tells what came of restoring a backup once more; its findings name the backup."""
# As it stands in the index, which a parameter would keep from being used.
_DRILL: ColumnElement[str] = literal_column(f"'{DRILL}'")


class Evidence:
    """Reads and writes what was seen of a release."""

    def __init__(self, engine: LedgerEngine) -> None:
        self._engine = engine

    def measured(self, release_id: str, phase: str, seen: Iterable[Seen]) -> None:
        """Put what checks saw on record."""
        rows = [
            {
                "release_id": release_id,
                "phase": phase,
                "name": one.check,
                "kind": one.kind,
                "outcome": one.outcome.value,
                "seen": one.reading.seen,
                "value": one.reading.value,
                "unit": one.reading.unit,
                "limit": one.reading.limit,
                "at": one.at,
                "took": one.took,
                "advisory": one.advisory,
                "covers": list(one.covers),
                "help": one.help,
                "detail": dict(one.reading.detail),
            }
            for one in seen
        ]
        if rows:
            with self._engine.transaction() as session:
                session.execute(insert(models.Measurement), rows)

    def measurements(self, release_id: str, phase: str | None = None) -> Sequence[models.Measurement]:
        """Return what was measured, in order."""
        query = select(models.Measurement).where(models.Measurement.release_id == release_id)
        if phase is not None:
            query = query.where(models.Measurement.phase == phase)
        with self._engine.transaction() as session:
            return session.scalars(query.order_by(models.Measurement.id)).all()

    def counted(self, release_id: str, phase: str, names: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        """Return the counters that the ``first`` and the ``last`` look of each check left, if any look left some."""
        row = models.Measurement
        of = (
            row.release_id == release_id,
            row.phase == phase,
            row.name.in_(names),
            row.detail["counters"].is_not(None),
        )
        found: dict[str, dict[str, Any]] = {}
        with self._engine.transaction() as session:
            for which, order in (("first", row.id), ("last", row.id.desc())) if names else ():
                query = select(row.name, row.detail["counters"]).where(*of).distinct(row.name).order_by(row.name, order)
                for name, counters in session.execute(query):
                    found.setdefault(name, {})[which] = counters
        return found

    def last_results(self, release_id: str, phase: str) -> Mapping[str, datetime]:
        """Return of each check when the last look of a phase began that came to a result, passed or failed."""
        row = models.Measurement
        known = row.outcome.in_([Outcome.PASSED.value, Outcome.FAILED.value])
        query = select(row.name, func.max(row.at)).where(row.release_id == release_id, row.phase == phase, known)
        with self._engine.transaction() as session:
            return dict(session.execute(query.group_by(row.name)).tuples().all())

    def probed(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Put the guard's probes on record; each mapping names the columns of `models.Probe`."""
        if rows:
            with self._engine.transaction() as session:
                session.execute(insert(models.Probe), [dict(row) for row in rows])

    def probes(self, release_id: str, since: datetime | None = None) -> Sequence[models.Probe]:
        """Return the guard's probes in order of time."""
        query = select(models.Probe).where(models.Probe.release_id == release_id)
        if since is not None:
            query = query.where(models.Probe.at >= since)
        with self._engine.transaction() as session:
            return session.scalars(query.order_by(models.Probe.at)).all()

    def probed_at(self, release_ids: Sequence[str], since: datetime) -> set[tuple[str, datetime]]:
        """Return of which releases probes from a moment on are on record, and when each was made."""
        query = select(models.Probe.release_id, models.Probe.at).where(
            models.Probe.release_id.in_(release_ids), models.Probe.at >= since
        )
        with self._engine.transaction() as session:
            return {(release_id, at) for release_id, at in session.execute(query)}

    def looked(
        self,
        release_id: str,
        source: str,
        outcome: str,
        findings: Mapping[str, Any],
        *,
        due_at: datetime | None = None,
        tell: Sequence[Note] = (),
    ) -> None:
        """Put a judgement on record with what it rests on, and with the messages that tell of it.

        ``due_at`` is the moment for which it stands, where it was due at one.
        """
        row = models.Look(release_id=release_id, source=source, due_at=due_at, outcome=outcome, findings=dict(findings))
        with self._engine.transaction() as session:
            session.add(row)
            session.add_all(message_of(release_id, one) for one in tell)

    def looks(self, release_id: str, source: str | None = None) -> Sequence[models.Look]:
        """Return the judgements in order."""
        query = select(models.Look).where(models.Look.release_id == release_id)
        if source is not None:
            query = query.where(models.Look.source == source)
        with self._engine.transaction() as session:
            return session.scalars(query.order_by(models.Look.id)).all()

    def traffic(self, system: str, since: datetime) -> Sequence[Mapping[str, Any]]:
        """Return the counters of a system's traffic that its releases have left since a moment, in order of time."""
        row, release = models.Look, models.Release
        query = (
            select(row.findings["traffic"])
            .join(release, release.id == row.release_id)
            .where(release.system == system, row.source == WORKLOAD, row.at >= since)
            .where(row.findings["traffic"]["at"].is_not(None))
        )
        with self._engine.transaction() as session:
            return session.scalars(query.order_by(row.at)).all()

    def bundled(self, release_id: str, findings: Mapping[str, Any], *, tell: Sequence[Note] = ()) -> bool:
        """Put on record that an evidence bundle was made, unless the one of its ``sha256`` is, and the messages of it.

        Returns whether it was new.
        """
        known = any(one.findings["sha256"] == findings["sha256"] for one in self.looks(release_id, BUNDLE))
        if not known:
            self.looked(release_id, BUNDLE, "passed", findings, tell=tell)
        elif tell:
            with self._engine.transaction() as session:
                session.add_all(message_of(release_id, one) for one in tell)
        return not known

    def backed_up(
        self,
        release_id: str,
        system: str,
        *,
        kind: str,
        location: str,
        size: int,
        took: float,
        proven: bool,
        proof: Mapping[str, Any],
    ) -> int:
        """Put a finished backup on record, and return its number. ``size`` in bytes, ``took`` in seconds."""
        with self._engine.transaction() as session:
            row = models.Backup(
                release_id=release_id,
                system=system,
                kind=kind,
                location=location,
                bytes=size,
                took=took,
                proven=proven,
                proof=dict(proof),
            )
            session.add(row)
            session.flush()
            return row.id

    def backups(self, system: str | None = None) -> Sequence[models.Backup]:
        """Return the backups of a system, or of all, that have not been removed, the newest first."""
        gone = select(models.BackupRemoval.backup_id)
        query = select(models.Backup).where(models.Backup.id.not_in(gone)).order_by(models.Backup.id.desc())
        if system is not None:
            query = query.where(models.Backup.system == system)
        with self._engine.transaction() as session:
            return session.scalars(query).all()

    def backup(self, backup_id: int) -> models.Backup:
        """Return a backup that is kept; raises `NotFound`, also with the reason for which it was removed."""
        with self._engine.transaction() as session:
            row = session.get(models.Backup, backup_id)
            removal = session.scalar(select(models.BackupRemoval).where(models.BackupRemoval.backup_id == backup_id))
        if row is None:
            raise NotFound(f"no backup {backup_id} in the ledger", do="golive backups lists those there are")
        if removal is not None:
            raise NotFound(
                f"backup {backup_id} of {row.system} was removed at {removal.at:%Y-%m-%d %H:%M}: {removal.reason}",
                do=f"use another one: golive backups {row.system}",
            )
        return row

    def drills(self) -> Mapping[int, models.Look]:
        """Return the newest drill of each backup."""
        with self._engine.transaction() as session:
            rows = session.scalars(
                select(models.Look).where(models.Look.source == _DRILL).order_by(models.Look.id)
            ).all()
        return {row.findings["backup"]: row for row in rows if row.findings["backup"] is not None}

    def backup_of(self, release_id: str) -> models.Backup | None:
        """Return the newest proven backup that was taken for a release."""
        with self._engine.transaction() as session:
            return session.scalar(
                select(models.Backup)
                .where(models.Backup.release_id == release_id, models.Backup.proven)
                .order_by(models.Backup.id.desc())
                .limit(1)
            )

    def removed_backup(self, backup_id: int, reason: str) -> None:
        """Put the removal of a backup on record."""
        with self._engine.transaction() as session:
            session.add(models.BackupRemoval(backup_id=backup_id, reason=reason))

    def baseline(self, release_id: str, name: str, detail: Mapping[str, Any]) -> None:
        """Put on record what a check found before the release."""
        with self._engine.transaction() as session:
            session.add(models.Baseline(release_id=release_id, name=name, detail=dict(detail)))

    def baselines(self, release_id: str) -> Mapping[str, Mapping[str, Any]]:
        """Return the baselines of a release by check; the newest of each counts."""
        with self._engine.transaction() as session:
            rows = session.scalars(
                select(models.Baseline).where(models.Baseline.release_id == release_id).order_by(models.Baseline.id)
            ).all()
        return {row.name: row.detail for row in rows}

    def rehearsed(self, release_id: str, fingerprint: str, plan: str, detail: Mapping[str, Any]) -> None:
        """Put on record what a rehearsal measured and which way back it proved."""
        with self._engine.transaction() as session:
            session.add(
                models.Rehearsal(release_id=release_id, fingerprint=fingerprint, plan=plan, detail=dict(detail))
            )

    def rehearsal(self, release_id: str) -> models.Rehearsal | None:
        """Return a release's newest rehearsal."""
        with self._engine.transaction() as session:
            return session.scalar(
                select(models.Rehearsal)
                .where(models.Rehearsal.release_id == release_id)
                .order_by(models.Rehearsal.id.desc())
                .limit(1)
            )

    def rehearsal_of(self, system: str, version: str, fingerprint: str) -> models.Rehearsal | None:
        """Return the newest rehearsal of exactly this migration for a system's version, whichever release made it."""
        with self._engine.transaction() as session:
            return session.scalar(
                select(models.Rehearsal)
                .join(models.Release, models.Release.id == models.Rehearsal.release_id)
                .where(
                    models.Release.system == system,
                    models.Release.version == version,
                    models.Rehearsal.fingerprint == fingerprint,
                )
                .order_by(models.Rehearsal.id.desc())
                .limit(1)
            )

    def signatures(self, release_id: str) -> Sequence[models.Approval]:
        """Return a release's signatures in order."""
        with self._engine.transaction() as session:
            return session.scalars(
                select(models.Approval).where(models.Approval.release_id == release_id).order_by(models.Approval.id)
            ).all()

    def now(self) -> datetime:
        """Return the ledger's own time."""
        with self._engine.transaction() as session:
            now: datetime = session.scalars(select(func.clock_timestamp())).one()
            return now
