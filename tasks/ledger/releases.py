"""Sentences about releases: open one, take it over, move it on, say what a step is about to do and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select, true, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tasks.domain.errors import ActiveRelease, Fenced, IllegalMove, NotFound, Refused
from tasks.domain.messages import Note
from tasks.domain.release import TERMINAL, State, may_move
from tasks.ledger.models import Look, Message, Move, Release, Step, VersionBlock
from tasks.ledger.reading import ReadReleases

__all__ = ["HOLDER_SILENT_AFTER", "Claim", "Note", "Opening", "Releases", "message_of"]

HOLDER_SILENT_AFTER = timedelta(seconds=60)
"""A process that has not been heard of for so long is presumed dead, and its release may be taken over."""

_SETTABLE = frozenset(
    {"previous_version", "identity", "plan_hash", "live_at", "watch_until", "verdict", "automatic_rollback_at"}
)


@dataclass(frozen=True)
class Opening:
    """What is on record of a release from its first moment.

    ``file_text`` is the release file as it was then, ``checklist_text`` the checklist beside it, if there was one.
    """

    id: str
    system: str
    version: str
    scope: str
    mutates: bool
    started_by: str
    reason: str
    file: str
    file_text: str
    previous_version: str | None = None
    identity: str | None = None
    checklist_text: str = ""


@dataclass(frozen=True)
class Claim:
    """The right to drive a release. It ends when another process takes the release over, which raises the epoch.

    ``fenced`` is the process that held the release until then, if it was heard of in the minute before: it may be alive
    and in the middle of a step.
    """

    release_id: str
    epoch: int
    holder: str
    fenced: str = ""


class Releases(ReadReleases):
    """Reads and writes releases, their moves and their steps.

    Anybody may read any of them. What is to be done with them all, and the right to drive one, is of a part alone.
    """

    def open(self, opening: Opening) -> Release:
        """Put a release on record as ``planned``.

        Raises `ActiveRelease` if another one of the system is under way: the database holds that rule, not this code.
        """
        try:
            with self._engine.transaction() as session:
                row = Release(**vars(opening), state=State.PLANNED)
                session.add(row)
                session.flush()
                session.add(Move(release_id=row.id, before="", after=State.PLANNED, by=opening.started_by, epoch=0))
                session.refresh(row)
                return row
        except IntegrityError as error:
            raise self._why_refused(opening.id, opening.system, error) from error

    def _why_refused(self, release_id: str, system: str, error: IntegrityError) -> Refused:
        active = self.active(system)
        if active is None or active.id == release_id:
            return Refused(f"the ledger refused {release_id}: {str(error.orig).splitlines()[0]}")
        return ActiveRelease(
            f"{active.id} ({active.system} {active.version}) is {active.state}, "
            f"started {active.created_at:%Y-%m-%d %H:%M} by {active.started_by}",
            expected="no other release of the system under way",
            do=f"wait for it, or look at it with: golive status {active.system}",
        )

    def extend_watch(
        self,
        release_id: str,
        before: datetime,
        until: datetime,
        findings: Mapping[str, Any],
        *,
        tell: Sequence[Note] = (),
    ) -> None:
        """Let a watch that was to end at ``before`` end later, with the verdict for want of which that is done.

        Raises `IllegalMove` if the release is not watched any more, or has been extended meanwhile.
        """
        with self._engine.transaction() as session:
            changed = session.execute(
                update(Release)
                .where(Release.id == release_id, Release.state == State.WATCHING.value, Release.watch_until == before)
                .values(watch_until=until)
                .returning(Release.id)
            ).all()
            if not changed:
                raise IllegalMove(
                    f"{release_id} is not watched until {before:%Y-%m-%d %H:%M:%S} any more",
                    do="look at it with: golive status",
                )
            session.add(Look(release_id=release_id, source="verdict", outcome="unknown", findings=dict(findings)))
            session.add_all(message_of(release_id, one) for one in tell)

    def take(
        self, release_id: str, holder: str, *, force: bool = False, dead: str = "", epoch: int | None = None
    ) -> Claim:
        """Take over the driving of a release, which fences off whoever drove it before.

        Raises `Refused` while another holder has been heard of in the last minute, unless that is the one known to be
        ``dead``, or with ``force``; and if the release is not at ``epoch`` any more, where one is given.
        """
        with self._engine.transaction() as session:
            row = session.get(Release, release_id, with_for_update=True)
            if row is None:
                raise NotFound(f"no release {release_id!r} in the ledger")
            self._part.require(row)
            now = _now(session)
            alive = _heard_of(row, now, apart_from=(holder, dead))
            if epoch not in (None, row.epoch):
                raise Refused(
                    f"{release_id} was taken over meanwhile by {row.holder or 'another process'}",
                    expected=f"epoch {epoch}, it is {row.epoch}",
                    do="nothing: the other process goes on",
                )
            if alive and not force:
                raise Refused(
                    f"{release_id} is driven by {alive}, heard of {(now - row.holder_seen).seconds} s ago",  # type: ignore[operator]
                    expected="no other process at it",
                    do="wait a minute if that process is dead",
                )
            row.epoch += 1
            row.holder, row.holder_seen = holder, now
            return Claim(release_id, row.epoch, holder, alive)

    def beat(self, claim: Claim) -> None:
        """Say that the holder is alive; raises `Fenced`."""
        with self._engine.transaction() as session:
            self._hold(session, claim)
            session.execute(
                update(Release).where(Release.id == claim.release_id).values(holder_seen=func.clock_timestamp())
            )

    def let_go(self, claim: Claim) -> None:
        """Give the release up, so that another process may take it over at once. A claim already lost is fine."""
        with self._engine.transaction() as session:
            session.execute(
                update(Release)
                .where(Release.id == claim.release_id, Release.epoch == claim.epoch)
                .values(holder="", holder_seen=None)
            )

    def move(
        self,
        claim: Claim,
        before: State,
        after: State,
        *,
        note: str = "",
        tell: Sequence[Note] = (),
        **values: Any,
    ) -> None:
        """Move a release on by compare-and-set, with the messages that tell of it.

        Raises `Fenced` if another process took it over, `IllegalMove` if it is not (or may not go) there, and
        `ActiveRelease` if it would begin again while another one of the system is under way.
        """
        try:
            with self._engine.transaction() as session:
                self._hold(session, claim)
                self._move(session, claim, before, after, note, tell, values)
        except IntegrityError as error:
            raise self._why_refused(claim.release_id, self.get(claim.release_id).system, error) from error

    def seize(
        self,
        release_id: str,
        before: State,
        after: State,
        holder: str,
        *,
        note: str = "",
        tell: Sequence[Note] = (),
        **values: Any,
    ) -> Claim:
        """Move a release and take it over in one step, so that of several processes that want to, one does.

        Raises `IllegalMove` for all the others, and `ActiveRelease` as `move` does.
        """
        try:
            with self._engine.transaction() as session:
                row = session.get(Release, release_id, with_for_update=True)
                if row is None:
                    raise NotFound(f"no release {release_id!r} in the ledger")
                self._part.require(row)
                fenced = _heard_of(row, _now(session), apart_from=(holder,))
                claim = Claim(release_id, row.epoch + 1, holder, fenced)
                self._move(session, claim, before, after, note, tell, values)
                row.epoch, row.holder, row.holder_seen = claim.epoch, holder, func.clock_timestamp()
                return claim
        except IntegrityError as error:
            raise self._why_refused(release_id, self.get(release_id).system, error) from error

    def _move(
        self,
        session: Session,
        claim: Claim,
        before: State,
        after: State,
        note: str,
        tell: Sequence[Note],
        values: Mapping[str, Any],
    ) -> None:
        if not may_move(before, after):
            raise IllegalMove(f"{claim.release_id} may not go from {before} to {after}")
        if strange := set(values) - _SETTABLE:
            raise IllegalMove(f"a move does not set {', '.join(sorted(strange))}")
        if after in TERMINAL:
            values = {**values, "ended_at": func.clock_timestamp()}
        elif before in TERMINAL:
            values = {**values, "ended_at": None}
        untouched = Release.mutation_started_at.is_(None)
        as_it_was = untouched if after is State.STOPPED and before is not State.NEEDS_PERSON else true()
        changed = session.execute(
            update(Release)
            .where(Release.id == claim.release_id, Release.state == before.value, as_it_was)
            .values(state=after.value, **values)
            .returning(Release.id)
        ).all()
        if not changed:
            now = session.scalar(select(Release.state).where(Release.id == claim.release_id))
            if now == before:
                raise IllegalMove(
                    f"{claim.release_id} has touched production",
                    expected="nothing done there before it may count as stopped",
                    do="roll it back, or let a person decide",
                )
            raise IllegalMove(f"{claim.release_id} is {now}", expected=str(before), do="look at it with: golive status")
        session.add(
            Move(release_id=claim.release_id, before=before, after=after, by=claim.holder, note=note, epoch=claim.epoch)
        )
        session.add_all(message_of(claim.release_id, one) for one in tell)

    def _hold(self, session: Session, claim: Claim) -> None:
        row = session.execute(
            select(Release.epoch, Release.holder).where(Release.id == claim.release_id).with_for_update()
        ).one_or_none()
        if row is None:
            raise NotFound(f"no release {claim.release_id!r} in the ledger")
        epoch, holder = row
        if epoch != claim.epoch:
            raise Fenced(
                f"{claim.release_id} was taken over by {holder or 'another process'} (epoch {epoch})",
                expected=f"epoch {claim.epoch}",
                do="nothing: this process stops, the other one goes on",
            )

    def tell(self, release_id: str, *notes: Note) -> None:
        """Put messages into the outbox."""
        with self._engine.transaction() as session:
            session.add_all(message_of(release_id, note) for note in notes)

    def intend(self, claim: Claim, phase: str, name: str, *, mutates: bool, detail: Mapping[str, Any]) -> int:
        """Put on record that a step is about to be done, and return the number by which to report its end.

        The first step that mutates also marks the release as one that touched production. Raises `Fenced`.
        """
        with self._engine.transaction() as session:
            self._hold(session, claim)
            if mutates:
                session.execute(
                    update(Release)
                    .where(Release.id == claim.release_id, Release.mutation_started_at.is_(None))
                    .values(mutation_started_at=func.clock_timestamp())
                )
            row = Step(
                release_id=claim.release_id,
                phase=phase,
                name=name,
                event="started",
                mutates=mutates,
                epoch=claim.epoch,
                detail=dict(detail),
            )
            session.add(row)
            session.flush()
            return row.id

    def report(
        self, claim: Claim, phase: str, name: str, started: int, *, event: str, took: float, detail: Mapping[str, Any]
    ) -> None:
        """Put the end of a step on record (``done`` or ``failed``), even by a process that was fenced off meanwhile."""
        with self._engine.transaction() as session:
            session.add(
                Step(
                    release_id=claim.release_id,
                    phase=phase,
                    name=name,
                    event=event,
                    mutates=False,
                    epoch=claim.epoch,
                    started=started,
                    took=took,
                    detail=dict(detail),
                )
            )

    def block(self, system: str, version: str, *, by: str, reason: str, action: str = "block") -> None:
        """Block a version of a system with a reason, or ``unblock`` it."""
        with self._engine.transaction() as session:
            session.add(VersionBlock(system=system, version=version, action=action, by=by, reason=reason))


def message_of(release_id: str, note: Note) -> Message:
    """Return a message as the ledger keeps it."""
    return Message(release_id=release_id, kind=note.kind, text=note.text, blocks=dict(note.blocks))


def _now(session: Session) -> datetime:
    return session.scalar(select(func.clock_timestamp())) or datetime.now().astimezone()


def _heard_of(row: Release, now: datetime, *, apart_from: Sequence[str]) -> str:
    """Return who holds a release, if that is another process and it was heard of in the last minute."""
    heard = row.holder_seen is not None and now - row.holder_seen < HOLDER_SILENT_AFTER
    return row.holder if heard and row.holder not in apart_from else ""
