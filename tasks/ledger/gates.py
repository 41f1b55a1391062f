"""Sentences about gates: who was asked, who has signed, who was reminded, and which buttons were pressed."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import and_, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tasks.domain.errors import NotFound, Refused
from tasks.domain.gates import same_person
from tasks.domain.messages import Note
from tasks.domain.release import State
from tasks.ledger.engine import LedgerEngine
from tasks.ledger.models import Approval, Click, GateEvent, Release
from tasks.ledger.releases import message_of

OVER = ("passed", "ended")
"""The events after which nobody is asked at a gate any more, unless it is opened anew."""


@dataclass(frozen=True)
class Signing:
    """A signature that is about to be put on record."""

    gate: str
    role: str
    person: str
    decision: str
    reason: str
    plan_hash: str
    via: str = ""


@dataclass(frozen=True)
class Signed:
    """What a signature comes to, put on record with it: messages, and the event that it is at the gate, if any."""

    tell: Sequence[Note] = ()
    event: str = ""


class Gates:
    """Reads and writes what happens at the gates of releases."""

    def __init__(self, engine: LedgerEngine) -> None:
        self._engine = engine

    def open(
        self,
        release_id: str,
        gate: str,
        plan_hash: str,
        until: datetime,
        tell: Callable[[str], Sequence[Note]],
        *,
        state: State,
        now: datetime,
    ) -> GateEvent:
        """Put on record that people are asked, with the messages that ask them, and return that.

        Where they are asked for the same already nothing is done. ``tell`` gets the new request's nonce, which cannot
        be guessed. Raises `Refused` if the release is not in ``state``.
        """
        with self._engine.transaction() as session:
            self._require(session, release_id, state)
            last = self._last(session, release_id, gate)
            if last is not None and last.plan_hash == plan_hash and (last.until is None or last.until > now):
                return last
            row = GateEvent(
                release_id=release_id,
                gate=gate,
                event="opened",
                plan_hash=plan_hash,
                nonce=secrets.token_urlsafe(18),
                until=until,
            )
            session.add(row)
            session.add_all(message_of(release_id, one) for one in tell(row.nonce or ""))
            session.flush()
            session.refresh(row)
            return row

    def opened(self, release_id: str, gate: str) -> GateEvent | None:
        """Return the newest request at a gate, if people were ever asked."""
        with self._engine.transaction() as session:
            return self._last(session, release_id, gate)

    def events(self, release_id: str, gate: str | None = None) -> Sequence[GateEvent]:
        """Return what happened at a release's gates, or at one of them, in order."""
        query = select(GateEvent).where(GateEvent.release_id == release_id)
        if gate is not None:
            query = query.where(GateEvent.gate == gate)
        with self._engine.transaction() as session:
            return session.scalars(query.order_by(GateEvent.id)).all()

    def is_over(self, release_id: str, gate: str) -> bool:
        """Tell whether the newest request at a gate has come to an end."""
        return any(one.event in OVER for one in self._since_asked(release_id, gate))

    def has_passed(self, release_id: str, gate: str) -> bool:
        """Tell whether the newest request at a gate ended with all signatures."""
        return any(one.event == "passed" for one in self._since_asked(release_id, gate))

    def _since_asked(self, release_id: str, gate: str) -> Sequence[GateEvent]:
        rows = self.events(release_id, gate)
        last = max((at for at, one in enumerate(rows) if one.event == "opened"), default=len(rows))
        return rows[last:]

    def asked(self) -> Sequence[GateEvent]:
        """Return the newest request at each gate at which one has not come to an end, the oldest first."""
        newest = select(func.max(GateEvent.id)).where(GateEvent.event == "opened")
        over = (
            select(GateEvent.release_id, GateEvent.gate, func.max(GateEvent.id).label("id"))
            .where(GateEvent.event.in_(OVER))
            .group_by(GateEvent.release_id, GateEvent.gate)
            .subquery()
        )
        query = (
            select(GateEvent)
            .outerjoin(over, and_(over.c.release_id == GateEvent.release_id, over.c.gate == GateEvent.gate))
            .where(
                GateEvent.id.in_(newest.group_by(GateEvent.release_id, GateEvent.gate)),
                or_(over.c.id.is_(None), over.c.id < GateEvent.id),
            )
            .order_by(GateEvent.id)
        )
        with self._engine.transaction() as session:
            return session.scalars(query).all()

    def by_nonce(self, nonce: str) -> GateEvent:
        """Return the request that has a nonce; raises `NotFound`."""
        with self._engine.transaction() as session:
            found = session.scalar(select(GateEvent).where(GateEvent.nonce == nonce)) if nonce else None
        if found is None:
            raise NotFound("no such request is on record", do="use the buttons of the newest request")
        return found

    def sign(
        self,
        release_id: str,
        one: Signing,
        then: Callable[[Sequence[Approval], datetime], Signed],
        *,
        state: State,
        expires: timedelta,
    ) -> bool:
        """Put a signature on record with what it comes to, and tell whether it was new.

        The same decision of the same person in the same role, for the same thing, is on record once until it expires.
        Raises `Refused` if the release is not in ``state`` any more.
        """
        with self._engine.transaction() as session:
            self._require(session, release_id, state)
            now = session.scalars(select(func.clock_timestamp())).one()
            query = select(Approval).where(Approval.release_id == release_id, Approval.gate == one.gate)
            before = session.scalars(query.order_by(Approval.id)).all()
            if any(_same(one, row) and now - row.at <= expires for row in before):
                return False
            row = Approval(release_id=release_id, **vars(one))
            session.add(row)
            session.flush()
            session.refresh(row)
            came = then([*before, row], now)
            if came.event:
                session.add(GateEvent(release_id=release_id, gate=one.gate, event=came.event, plan_hash=one.plan_hash))
            session.add_all(message_of(release_id, note) for note in came.tell)
            return True

    def note(
        self,
        after: GateEvent,
        event: str,
        *,
        seen: int,
        by: str = "",
        until: datetime | None = None,
        tell: Sequence[Note] = (),
    ) -> bool:
        """Put an event at a request's gate on record, if number ``seen`` is still the newest there, and tell so."""
        with self._engine.transaction() as session:
            session.get(Release, after.release_id, with_for_update=True)
            last = session.scalar(
                select(func.max(GateEvent.id)).where(
                    GateEvent.release_id == after.release_id, GateEvent.gate == after.gate
                )
            )
            if last != seen:
                return False
            row = GateEvent(
                release_id=after.release_id,
                gate=after.gate,
                event=event,
                plan_hash=after.plan_hash,
                by=by,
                until=until,
            )
            session.add(row)
            session.add_all(message_of(after.release_id, one) for one in tell)
            return True

    def pressed(self, press: str, *, by: str, act: str, nonce: str) -> bool:
        """Put a press of a button on record, and tell whether it is the first time that one is heard of."""
        try:
            with self._engine.transaction() as session:
                session.add(Click(press=press, by=by, act=act, nonce=nonce))
        except IntegrityError:
            return False
        return True

    def clicks(self, nonce: str) -> Sequence[Click]:
        """Return who pressed which button of a request, in order."""
        with self._engine.transaction() as session:
            return session.scalars(select(Click).where(Click.nonce == nonce).order_by(Click.id)).all()

    def signatures(self, release_id: str, gate: str) -> Sequence[Approval]:
        """Return what people decided at a gate, in order."""
        with self._engine.transaction() as session:
            query = select(Approval).where(Approval.release_id == release_id, Approval.gate == gate)
            return session.scalars(query.order_by(Approval.id)).all()

    def _last(self, session: Session, release_id: str, gate: str) -> GateEvent | None:
        return session.scalar(
            select(GateEvent)
            .where(GateEvent.release_id == release_id, GateEvent.gate == gate, GateEvent.event == "opened")
            .order_by(GateEvent.id.desc())
            .limit(1)
        )

    def _require(self, session: Session, release_id: str, state: State) -> None:
        row = session.get(Release, release_id, with_for_update=True)
        if row is None:
            raise NotFound(f"no release {release_id!r} in the ledger", do="golive status lists those there are")
        if row.state != state:
            raise Refused(f"{release_id} is {row.state}", expected=str(state), do="sign when it asks for it")


def _same(one: Signing, row: Approval) -> bool:
    return (one.role, one.decision, one.plan_hash) == (row.role, row.decision, row.plan_hash) and same_person(
        one.person, row.person
    )
