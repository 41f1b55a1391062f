"""Questions about releases: which there are, which are under way, what became of their steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, case, func, literal_column, select, true
from sqlalchemy.orm import InstrumentedAttribute, aliased

from tasks.domain.errors import NotFound
from tasks.domain.release import MUTATING, TERMINAL, State
from tasks.ledger.engine import LedgerEngine
from tasks.ledger.models import Move, Release, Step, VersionBlock
from tasks.ledger.part import Part

_ACTIVE = select(Release).where(Release.mutates, Release.state.not_in([s.value for s in TERMINAL]))


@dataclass(frozen=True)
class Armed:
    """A release whose triggers are armed, by what changes of it while it is guarded."""

    id: str
    epoch: int
    state: str
    mutation_started_at: datetime | None
    live_at: datetime | None


class ReadReleases:
    """Reads releases, their moves and their steps."""

    def __init__(self, engine: LedgerEngine, part: Part) -> None:
        self._engine, self._part = engine, part

    def get(self, release_id: str) -> Release:
        """Return a release; raises `NotFound`."""
        with self._engine.transaction() as session:
            row = session.get(Release, release_id)
        if row is None:
            raise NotFound(f"no release {release_id!r} in the ledger", do="golive status lists those there are")
        return row

    def active(self, system: str) -> Release | None:
        """Return the one release of the system that has begun and not ended, if there is one."""
        with self._engine.transaction() as session:
            return session.scalar(_ACTIVE.where(Release.system == system))

    def active_of_each(self) -> Mapping[str, Release]:
        """Return by system the one release that has begun and not ended, of those that have one."""
        with self._engine.transaction() as session:
            return {row.system: row for row in session.scalars(_ACTIVE)}

    def latest(self, system: str | None = None, limit: int = 20) -> Sequence[Release]:
        """Return releases, the newest first."""
        query = select(Release).order_by(Release.created_at.desc()).limit(limit)
        if system is not None:
            query = query.where(Release.system == system)
        with self._engine.transaction() as session:
            return session.scalars(query).all()

    def moved_last_by(self, holder: str, among: int = 50) -> Release | None:
        """Return the release, of the newest ones, that a process has moved last, if it has moved any."""
        newest = select(Release.id).order_by(Release.created_at.desc()).limit(among)
        moved = select(Release).join(Move, Move.release_id == Release.id).where(Move.by == holder)
        with self._engine.transaction() as session:
            return session.scalar(moved.where(Release.id.in_(newest)).order_by(Move.at.desc(), Move.id.desc()).limit(1))

    def in_state(self, *states: State) -> Sequence[Release]:
        """Return the releases that stand in one of the states, the oldest first."""
        with self._engine.transaction() as session:
            return session.scalars(
                select(Release)
                .where(Release.state.in_([s.value for s in states]), self._part.rows())
                .order_by(Release.created_at)
            ).all()

    def armed(self) -> Sequence[Armed]:
        """Return the releases that may have changed production and have not ended, the oldest first.

        Without their files: the guard asks every few seconds, and a thousand files are tens of megabytes.
        """
        of = (Release.id, Release.epoch, Release.state, Release.mutation_started_at, Release.live_at)
        query = select(*of).where(
            Release.state.in_([s.value for s in MUTATING]), Release.mutation_started_at.is_not(None), self._part.rows()
        )
        with self._engine.transaction() as session:
            return [Armed(*row) for row in session.execute(query.order_by(Release.created_at))]

    def newest_stable(self) -> Sequence[Release]:
        """Return of each system the release that went live last among those that are stable."""
        return self._newest(
            Release.live_at, Release.state == literal_column(f"'{State.STABLE.value}'"), Release.live_at.is_not(None)
        )

    def newest_of_each(self) -> Sequence[Release]:
        """Return of each system the release that was begun last."""
        return self._newest(Release.created_at)

    def _newest(self, by: InstrumentedAttribute[Any], *where: ColumnElement[bool]) -> Sequence[Release]:
        """Return of each system the last release by a column; what it takes grows with the systems, not with time."""
        first = select(func.min(Release.system).label("system")).cte("systems", recursive=True)
        following = select(func.min(Release.system)).where(Release.system > first.c.system).scalar_subquery()
        systems = first.union_all(select(following).where(first.c.system.is_not(None)))
        of = aliased(Release)
        newest = (
            select(Release.id)
            .where(Release.system == systems.c.system, self._part.rows(), *where)
            .order_by(by.desc())
            .limit(1)
            .correlate(systems)
            .lateral()
        )
        with self._engine.transaction() as session:
            return session.scalars(
                select(of).select_from(systems).join(newest, true()).join(of, of.id == newest.c.id).order_by(of.system)
            ).all()

    def newest(self) -> Sequence[Release]:
        """Return of each system the whole release that was opened last, by system."""
        return self._newest(Release.created_at, Release.scope == literal_column("'release'"))

    def rolled_back(self) -> Sequence[tuple[str, str, int]]:
        """Return how many releases of each system were rolled back ``automatic``ally, and how many by a ``person``."""
        by = case((Release.automatic_rollback_at.is_(None), "person"), else_="automatic").label("by")
        query = select(Release.system, by, func.count()).where(Release.state == State.ROLLED_BACK.value)
        with self._engine.transaction() as session:
            rows = session.execute(query.group_by(Release.system, by).order_by(Release.system, by)).all()
        return [(system, way, count) for system, way, count in rows]

    def steps(self, release_id: str) -> Sequence[Step]:
        """Return the events of a release's steps in order."""
        with self._engine.transaction() as session:
            return session.scalars(select(Step).where(Step.release_id == release_id).order_by(Step.id)).all()

    def events_of(self, phase: str) -> Sequence[tuple[Release, Step]]:
        """Return every event of a phase's steps with the release or operation that it belongs to, in order."""
        with self._engine.transaction() as session:
            query = select(Release, Step).join(Step, Step.release_id == Release.id).where(Step.phase == phase)
            return [(row, step) for row, step in session.execute(query.order_by(Step.id)).all()]

    def unfinished(self, release_id: str, before: int) -> Sequence[Step]:
        """Return the steps that change production and were begun in an epoch below ``before``, but never reported."""
        end = aliased(Step)
        with self._engine.transaction() as session:
            return session.scalars(
                select(Step)
                .where(Step.release_id == release_id, Step.event == "started", Step.mutates, Step.epoch < before)
                .where(~select(end.id).where(end.release_id == release_id, end.started == Step.id).exists())
                .order_by(Step.id)
            ).all()

    def moves(self, release_id: str) -> Sequence[Move]:
        """Return a release's moves in order."""
        with self._engine.transaction() as session:
            return session.scalars(select(Move).where(Move.release_id == release_id).order_by(Move.id)).all()

    def blocked(self, system: str, version: str) -> VersionBlock | None:
        """Return the block in force on a version, if there is one."""
        with self._engine.transaction() as session:
            last = session.scalar(
                select(VersionBlock)
                .where(VersionBlock.system == system, VersionBlock.version == version)
                .order_by(VersionBlock.id.desc())
                .limit(1)
            )
        return last if last is not None and last.action == "block" else None
