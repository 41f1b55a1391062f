"""The ledger's tables. All but `Release` and `Lease` are append-only, which triggers of the database enforce."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, Dialect, ForeignKey, Identity, Index, MetaData, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from tasks.domain.release import TERMINAL

_ENDED = ", ".join(sorted(f"'{state}'" for state in TERMINAL))
ONE_ACTIVE_RELEASE = f"mutates AND state NOT IN ({_ENDED})"
"""The rows of which there may be at most one for each system."""

APPEND_ONLY = (
    "move",
    "step",
    "measurement",
    "probe",
    "look",
    "backup",
    "backup_removal",
    "baseline",
    "rehearsal",
    "approval",
    "gate_event",
    "click",
    "message",
    "delivery",
    "version_block",
)
"""Tables whose rows are never changed or deleted."""


def storable(value: Any) -> Any:
    """Return a value as PostgreSQL can keep it: what a check saw may hold NUL, half a surrogate pair, or NaN."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {storable(str(key)): storable(below) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [storable(below) for below in value]
    return value


class AnyText(TypeDecorator[str]):
    """Text that is made storable on its way in."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:  # noqa: ARG002 - SQLAlchemy's signature
        """Return what is stored."""
        return storable(value)


class AnyJson(TypeDecorator[dict[str, Any]]):
    """JSON that is made storable on its way in."""

    impl = JSONB
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:  # noqa: ARG002 - SQLAlchemy's signature
        """Return what is stored."""
        return storable(value)


class Base(DeclarativeBase):
    """The declarative base; datetimes are aware, texts unbounded, mappings JSON."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - the name and form are SQLAlchemy's
        datetime: DateTime(timezone=True),
        str: AnyText(),
        dict[str, Any]: AnyJson(),
        list[str]: ARRAY(AnyText()),
    }


_NOW = text("clock_timestamp()")


class Release(Base):
    """One attempt to take a system to a version, or one phase of it that was started alone.

    ``state`` moves by compare-and-set only; ``epoch`` grows with every process that takes the release over, so that an
    older one is fenced off.
    """

    __tablename__ = "release"
    __table_args__ = (
        Index(
            "uq_release_one_active",
            "system",
            unique=True,
            postgresql_where=text(ONE_ACTIVE_RELEASE),
        ),
        Index("ix_release_state", "state"),
        Index("ix_release_system_created", "system", "created_at"),
        Index("ix_release_created", "created_at"),
        Index("ix_release_stable", "system", "live_at", postgresql_where=text("state = 'stable'")),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    system: Mapped[str]
    version: Mapped[str]
    scope: Mapped[str]
    mutates: Mapped[bool]
    state: Mapped[str]
    epoch: Mapped[int] = mapped_column(server_default="0")
    holder: Mapped[str] = mapped_column(server_default="")
    holder_seen: Mapped[datetime | None]
    started_by: Mapped[str]
    reason: Mapped[str]
    file: Mapped[str]
    file_text: Mapped[str]
    checklist_text: Mapped[str] = mapped_column(server_default="")
    previous_version: Mapped[str | None]
    identity: Mapped[str | None]
    plan_hash: Mapped[str | None]
    mutation_started_at: Mapped[datetime | None]
    live_at: Mapped[datetime | None]
    watch_until: Mapped[datetime | None]
    automatic_rollback_at: Mapped[datetime | None]
    verdict: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    ended_at: Mapped[datetime | None]


class Record:
    """What every append-only row has."""

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=_NOW)


def _of_release() -> Mapped[str]:
    return mapped_column(ForeignKey("release.id"), index=True)


class Move(Record, Base):
    """A change of a release's state."""

    __tablename__ = "move"
    release_id: Mapped[str] = _of_release()
    before: Mapped[str]
    after: Mapped[str]
    by: Mapped[str]
    note: Mapped[str] = mapped_column(server_default="")
    epoch: Mapped[int]


class Step(Record, Base):
    """One event of a step: ``started`` before the world changes, ``done`` or ``failed`` after; ``took`` in seconds."""

    __tablename__ = "step"
    __table_args__ = (Index("ix_step_phase", "phase", "id"),)
    release_id: Mapped[str] = _of_release()
    phase: Mapped[str]
    name: Mapped[str]
    event: Mapped[str]
    mutates: Mapped[bool]
    epoch: Mapped[int]
    started: Mapped[int | None] = mapped_column(BigInteger)
    took: Mapped[float | None]
    detail: Mapped[dict[str, Any]] = mapped_column(server_default="{}")


class Measurement(Record, Base):
    """What a check saw; ``took`` in seconds."""

    __tablename__ = "measurement"
    __table_args__ = (Index("ix_measurement_release_check", "release_id", "phase", "name", "id"),)
    release_id: Mapped[str] = mapped_column(ForeignKey("release.id"))
    phase: Mapped[str]
    name: Mapped[str]
    kind: Mapped[str]
    outcome: Mapped[str]
    seen: Mapped[str]
    value: Mapped[float | None]
    unit: Mapped[str] = mapped_column(server_default="")
    limit: Mapped[float | None] = mapped_column("limit_value")
    took: Mapped[float]
    advisory: Mapped[bool]
    covers: Mapped[list[str]] = mapped_column(server_default="{}")
    help: Mapped[str] = mapped_column(server_default="")
    detail: Mapped[dict[str, Any]] = mapped_column(server_default="{}")


class Probe(Record, Base):
    """One look of the guard; ``elapsed`` in seconds, ``control`` the outcome of the control probe if one was made.

    ``asked`` and ``failed`` are how many requests of clients came, and failed, in the ``counted`` seconds until then.
    """

    __tablename__ = "probe"
    __table_args__ = (Index("ix_probe_release_at", "release_id", "at"),)
    release_id: Mapped[str] = mapped_column(ForeignKey("release.id"))
    check: Mapped[str] = mapped_column("check_name")
    outcome: Mapped[str]
    elapsed: Mapped[float | None]
    control: Mapped[str | None]
    source: Mapped[str]
    asked: Mapped[int | None] = mapped_column(BigInteger)
    failed: Mapped[int | None] = mapped_column(BigInteger)
    counted: Mapped[float | None]


class Look(Record, Base):
    """One judgement of a release under watch, or of a backup that was drilled, with the findings it rests on."""

    __tablename__ = "look"
    __table_args__ = (Index("ix_look_drill", "id", postgresql_where=text("source = 'restore drill'")),)
    release_id: Mapped[str] = _of_release()
    source: Mapped[str]
    due_at: Mapped[datetime | None]
    outcome: Mapped[str]
    findings: Mapped[dict[str, Any]]


class Backup(Record, Base):
    """A finished backup with its proof; ``took`` in seconds, ``bytes`` on disk."""

    __tablename__ = "backup"
    release_id: Mapped[str] = _of_release()
    system: Mapped[str] = mapped_column(index=True)
    kind: Mapped[str]
    location: Mapped[str]
    bytes: Mapped[int] = mapped_column(BigInteger)
    took: Mapped[float]
    proven: Mapped[bool]
    proof: Mapped[dict[str, Any]]


class BackupRemoval(Record, Base):
    """The removal of a backup by retention or by a person."""

    __tablename__ = "backup_removal"
    backup_id: Mapped[int] = mapped_column(ForeignKey("backup.id"), unique=True)
    reason: Mapped[str]


class Baseline(Record, Base):
    """What a check recorded before the release."""

    __tablename__ = "baseline"
    release_id: Mapped[str] = _of_release()
    name: Mapped[str]
    detail: Mapped[dict[str, Any]]


class Rehearsal(Record, Base):
    """What a rehearsal measured, and the rollback plan derived from it."""

    __tablename__ = "rehearsal"
    release_id: Mapped[str] = _of_release()
    fingerprint: Mapped[str]
    plan: Mapped[str]
    detail: Mapped[dict[str, Any]]


class Approval(Record, Base):
    """A decision of a person at a gate: who, in which role, for what was shown, and by which way it came in."""

    __tablename__ = "approval"
    release_id: Mapped[str] = _of_release()
    gate: Mapped[str]
    role: Mapped[str]
    person: Mapped[str]
    decision: Mapped[str]
    reason: Mapped[str] = mapped_column(server_default="")
    plan_hash: Mapped[str]
    via: Mapped[str] = mapped_column(server_default="")


class GateEvent(Record, Base):
    """What happened at a gate besides signatures.

    ``opened`` (people were asked, for ``plan_hash``, until ``until``), ``reminded``, ``acknowledged`` (until then),
    ``passed``, or ``ended`` without that. ``nonce`` is known only to those who were asked.
    """

    __tablename__ = "gate_event"
    release_id: Mapped[str] = _of_release()
    gate: Mapped[str]
    event: Mapped[str]
    plan_hash: Mapped[str] = mapped_column(server_default="")
    nonce: Mapped[str | None] = mapped_column(unique=True)
    until: Mapped[datetime | None]
    by: Mapped[str] = mapped_column(server_default="")


class Click(Record, Base):
    """A button that was pressed in a chat, by the number that the chat gave the press; each is heeded once."""

    __tablename__ = "click"
    press: Mapped[str] = mapped_column(unique=True)
    by: Mapped[str]
    act: Mapped[str]
    nonce: Mapped[str] = mapped_column(server_default="")


class Message(Record, Base):
    """A message for people, written in the transaction that changed the state it tells of."""

    __tablename__ = "message"
    release_id: Mapped[str] = _of_release()
    kind: Mapped[str]
    text: Mapped[str]
    blocks: Mapped[dict[str, Any]] = mapped_column(server_default="{}")


class Delivery(Record, Base):
    """One event of a delivery: ``sending`` before it, then ``delivered``, ``retry`` or ``dead``.

    ``retry_at`` is when the next try is due; of ``sending`` it holds where nothing came after it.
    """

    __tablename__ = "delivery"
    __table_args__ = (Index("ix_delivery_dead", "id", postgresql_where=text("outcome = 'dead'")),)
    message_id: Mapped[int] = mapped_column(ForeignKey("message.id"), index=True)
    notifier: Mapped[str]
    outcome: Mapped[str]
    ref: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    error: Mapped[str] = mapped_column(server_default="")
    retry_at: Mapped[datetime | None]


class VersionBlock(Record, Base):
    """A version that may not be released again (``block``), or may after all (``unblock``)."""

    __tablename__ = "version_block"
    __table_args__ = (Index("ix_version_block_system_version", "system", "version", "id"),)
    system: Mapped[str]
    version: Mapped[str]
    action: Mapped[str]
    by: Mapped[str]
    reason: Mapped[str]


class Lease(Base):
    """Which process does a job of which there may be only one; a lease that is not renewed runs out."""

    __tablename__ = "lease"
    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str]
    epoch: Mapped[int]
    seen_at: Mapped[datetime]
    expires_at: Mapped[datetime]
