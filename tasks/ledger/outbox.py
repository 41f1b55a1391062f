"""Sentences about messages on their way out, and about jobs of which there may be only one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, func, literal_column, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import aliased

from tasks.ledger.engine import LedgerEngine
from tasks.ledger.models import Delivery, Lease, Message, Release
from tasks.ledger.part import Part

LEFT_OUT = "left_out"
"""What is kept instead of a reference of a message that a notifier was not to deliver."""


class Outbox:
    """The messages that were written with a change of state and go out afterwards, at least once each."""

    def __init__(self, engine: LedgerEngine) -> None:
        self._engine = engine

    def due(
        self, notifier: str, limit: int = 100, *, system: str | None = None, refused_by: Sequence[str] | None = None
    ) -> Sequence[Message]:
        """Return the messages that a notifier has neither delivered nor given up, the oldest first.

        A message whose next try lies in the future holds back the later ones of its own release only, so that a
        thread stays in order; plots hold nothing back. With ``system`` only its releases count, and of those that
        ended more than a day ago only the ones that the notifier has told of before: a new one does not tell of the
        past. With ``refused_by`` only what one of those notifiers has given up counts.
        """
        waiting_messages = _waiting(notifier, system, refused_by).order_by(Message.id).limit(limit)
        with self._engine.transaction() as session:
            waiting = session.scalars(waiting_messages).all()
            # The newest event counts: a try whose end is on record holds a message for as long as that end says.
            newest = (
                select(func.max(Delivery.id))
                .where(Delivery.notifier == notifier, Delivery.message_id.in_([m.id for m in waiting]))
                .group_by(Delivery.message_id)
            )
            later = select(Delivery.message_id).where(
                Delivery.id.in_(newest), Delivery.retry_at > func.clock_timestamp()
            )
            held = set(session.scalars(later))
        due: list[Message] = []
        stuck: set[str] = set()
        for message in waiting:
            if message.id in held:
                if message.kind != "plots":
                    stuck.add(message.release_id)
            elif message.release_id not in stuck:
                due.append(message)
        return due

    def waiting(self, notifier: str, system: str, refused_by: Sequence[str] | None = None) -> int:
        """Return how many messages of a system a notifier has neither delivered nor given up."""
        with self._engine.transaction() as session:
            return (
                session.scalar(select(func.count()).select_from(_waiting(notifier, system, refused_by).subquery())) or 0
            )

    def written(self, release_ids: Sequence[str]) -> Mapping[str, int]:
        """Return how many messages each release has that has any, delivered or not."""
        query = select(Message.release_id, func.count()).where(Message.release_id.in_(release_ids))
        with self._engine.transaction() as session:
            return dict(session.execute(query.group_by(Message.release_id)).tuples().all())

    def waits(self, notifier: str, system: str, refused_by: Sequence[str] | None = None) -> bool:
        """Tell whether anything is left for a notifier to deliver, now or later."""
        with self._engine.transaction() as session:
            return session.scalar(_waiting(notifier, system, refused_by).limit(1)) is not None

    def sending(self, message_id: int, notifier: str, settled_after: float = 0) -> int:
        """Put on record that a message is about to be sent, and return how often it was so before.

        More than never means that an earlier try may have arrived without golive having heard of it. If no end of this
        try comes on record, the message is due again ``settled_after`` seconds from now, when it has surely arrived or
        never will.
        """
        with self._engine.transaction() as session:
            before = session.scalar(
                select(func.count()).where(
                    Delivery.message_id == message_id, Delivery.notifier == notifier, Delivery.outcome == "sending"
                )
            )
            session.add(
                Delivery(
                    message_id=message_id,
                    notifier=notifier,
                    outcome="sending",
                    retry_at=func.clock_timestamp() + timedelta(seconds=settled_after),
                )
            )
            return before or 0

    def delivered(self, message_id: int, notifier: str, ref: Mapping[str, Any]) -> None:
        """Put on record that a message arrived, with what is needed to edit it."""
        self._end(message_id, notifier, "delivered", ref=ref)

    def retry(self, message_id: int, notifier: str, error: str, after: float) -> None:
        """Put on record that a try failed and the next is due ``after`` seconds from now."""
        self._end(message_id, notifier, "retry", error=error, after=after)

    def dead(self, message_id: int, notifier: str, error: str) -> None:
        """Put on record that a message cannot be delivered."""
        self._end(message_id, notifier, "dead", error=error)

    def _end(
        self,
        message_id: int,
        notifier: str,
        outcome: str,
        *,
        ref: Mapping[str, Any] | None = None,
        error: str = "",
        after: float | None = None,
    ) -> None:
        with self._engine.transaction() as session:
            retry_at = None
            if after is not None:
                retry_at = session.scalars(select(func.clock_timestamp())).one() + timedelta(seconds=after)
            session.add(
                Delivery(
                    message_id=message_id,
                    notifier=notifier,
                    outcome=outcome,
                    ref=dict(ref or {}),
                    error=error,
                    retry_at=retry_at,
                )
            )

    def tries(self, message_id: int, notifier: str) -> int:
        """Return how often a notifier has failed to deliver a message."""
        with self._engine.transaction() as session:
            return (
                session.scalar(
                    select(func.count()).where(
                        Delivery.message_id == message_id, Delivery.notifier == notifier, Delivery.outcome == "retry"
                    )
                )
                or 0
            )

    def root_ref(self, release_id: str, notifier: str) -> Mapping[str, Any]:
        """Return what the notifier gave back for the release's root message; empty if it was not sent yet."""
        return self._ref(notifier, Message.release_id == release_id, Message.kind == "root")

    def request_ref(self, release_id: str, notifier: str, nonce: str) -> Mapping[str, Any]:
        """Return what the notifier gave back for the request with a nonce; empty if that was not sent yet."""
        asked = Message.blocks["nonce"].astext == nonce
        return self._ref(notifier, Message.release_id == release_id, Message.kind == "request", asked)

    def _ref(self, notifier: str, *where: ColumnElement[bool]) -> Mapping[str, Any]:
        """Return what the notifier gave back for the first of such messages that it delivered."""
        with self._engine.transaction() as session:
            found = session.scalar(
                select(Delivery.ref)
                .join(Message, Message.id == Delivery.message_id)
                .where(*where, Delivery.notifier == notifier, Delivery.outcome == "delivered")
                .order_by(Delivery.id)
                .limit(1)
            )
        return found if found and LEFT_OUT not in found else {}

    def messages(self, release_id: str) -> Sequence[Message]:
        """Return all messages of a release in order."""
        with self._engine.transaction() as session:
            return session.scalars(select(Message).where(Message.release_id == release_id).order_by(Message.id)).all()

    def count_dead(self, since: datetime | None = None) -> int:
        """Return how many deliveries were given up, of all or since a moment."""
        query = select(func.count()).where(Delivery.outcome == literal_column("'dead'"))
        with self._engine.transaction() as session:
            return session.scalar(query if since is None else query.where(Delivery.at >= since)) or 0

    def dead_letters(self) -> Sequence[tuple[Message, Delivery]]:
        """Return what could not be delivered, the newest first."""
        with self._engine.transaction() as session:
            rows = session.execute(
                select(Message, Delivery)
                .join(Delivery, and_(Delivery.message_id == Message.id, Delivery.outcome == literal_column("'dead'")))
                .order_by(Delivery.id.desc())
            ).all()
        return [(message, delivery) for message, delivery in rows]


def _waiting(notifier: str, system: str | None, refused_by: Sequence[str] | None) -> Select[tuple[Message]]:
    """Return the query of `Outbox.due`, without order or limit."""
    ended = exists().where(
        Delivery.message_id == Message.id,
        Delivery.notifier == notifier,
        Delivery.outcome.in_(["delivered", "dead"]),
    )
    query = select(Message).where(~ended)
    if refused_by is not None:
        given_up = exists().where(
            Delivery.message_id == Message.id, Delivery.notifier.in_(refused_by), Delivery.outcome == "dead"
        )
        query = query.where(given_up)
    if system is None:
        return query
    earlier = aliased(Message)
    told = exists().where(
        earlier.release_id == Release.id, Delivery.message_id == earlier.id, Delivery.notifier == notifier
    )
    return query.join(Release, Release.id == Message.release_id).where(
        Release.system == system,
        or_(Release.ended_at.is_(None), Release.ended_at > func.clock_timestamp() - timedelta(days=1), told),
    )


class Leases:
    """Jobs of which only one process may do each at a time."""

    def __init__(self, engine: LedgerEngine, part: Part) -> None:
        self._engine, self._part = engine, part

    def take(self, name: str, holder: str, seconds: float) -> int | None:
        """Take or renew a lease for some seconds and return its epoch, or None while another process has it."""
        now = func.clock_timestamp()
        expires = now + timedelta(seconds=seconds)
        statement = (
            insert(Lease)
            .values(name=self._part.job(name), holder=holder, epoch=1, seen_at=now, expires_at=expires)
            .on_conflict_do_update(
                index_elements=[Lease.name],
                set_={
                    "epoch": Lease.epoch + (Lease.holder != holder).cast(Lease.epoch.type),
                    "holder": holder,
                    "seen_at": now,
                    "expires_at": expires,
                },
                where=or_(Lease.holder == holder, Lease.expires_at < now),
            )
            .returning(Lease.epoch)
        )
        with self._engine.transaction() as session:
            return session.scalar(statement)

    def give_back(self, name: str, holder: str) -> None:
        """End a lease before its time."""
        with self._engine.transaction() as session:
            row = session.get(Lease, self._part.job(name), with_for_update=True)
            if row is not None and row.holder == holder:
                row.expires_at = session.scalars(select(func.clock_timestamp())).one()

    def seen(self, name: str) -> tuple[str, datetime, bool] | None:
        """Return who last had a lease, when they were heard of, and whether it still runs."""
        with self._engine.transaction() as session:
            row = session.get(Lease, self._part.job(name))
            now = session.scalars(select(func.clock_timestamp())).one()
        return None if row is None else (row.holder, row.seen_at, row.expires_at > now)
