"""All that is on record of one release, as it was at one moment: read as a whole, and told as plain values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import DateTime, func, select
from sqlalchemy.orm import Session

from tasks.domain.errors import NotFound
from tasks.ledger import models
from tasks.ledger.engine import LedgerEngine

R = TypeVar("R", bound=models.Base)

BUNDLE = "bundle"
"""The source of a look that tells which evidence bundle was made; its findings name the bundle's SHA-256."""
WORKLOAD = "golive: workload"
"""The source of a look, and the name of a baseline, with what was counted of statements and tables."""
OF_BUNDLE = frozenset({"evidence", "plots"})
"""The kinds of messages that tell of a bundle."""

_LEFT_OUT: Mapping[type[models.Base], frozenset[str]] = {
    models.Release: frozenset({"holder", "holder_seen"}),
    models.GateEvent: frozenset({"nonce"}),
    models.Message: frozenset({"blocks"}),
}


@dataclass(frozen=True)
class Record:
    """A release with all its rows, by table; ``as_of`` is the ledger's time at which they were read."""

    release: models.Release
    rows: Mapping[str, Sequence[Any]]
    as_of: datetime

    def of(self, kind: type[R]) -> Sequence[R]:
        """Return the rows of one table in order."""
        return self.rows.get(kind.__tablename__, ())

    def before_bundles(self) -> Record:
        """Return the record without what tells of bundles of itself, as of its newest row.

        No bundle can hold its own hash; and by this the same record makes the same bundle, whenever it is made.
        """
        told = {row.id for row in self.of(models.Message) if row.kind in OF_BUNDLE}
        kept: dict[str, list[Any]] = {
            **{name: list(rows) for name, rows in self.rows.items()},
            models.Look.__tablename__: [row for row in self.of(models.Look) if row.source != BUNDLE],
            models.Message.__tablename__: [row for row in self.of(models.Message) if row.id not in told],
            models.Delivery.__tablename__: [row for row in self.of(models.Delivery) if row.message_id not in told],
        }
        newest = max((row.at for rows in kept.values() for row in rows), default=self.release.created_at)
        return replace(self, rows=kept, as_of=max(newest, self.release.created_at))

    def values(self, mask: Callable[[str], str]) -> dict[str, Any]:
        """Return the record as plain values with every text masked; times are ISO 8601 in UTC.

        Left out are who drives the release at the moment, which changes by the second, and what lets somebody sign:
        the nonces of gates, and the buttons of messages.
        """
        return {
            "as_of": self.as_of.astimezone(UTC).isoformat(),
            "release": _values(self.release, mask),
            "rows": {name: [_values(row, mask) for row in rows] for name, rows in sorted(self.rows.items())},
        }


def from_values(values: Mapping[str, Any]) -> Record:
    """Return the record that such values tell of; raises `ValueError`, `KeyError` or `TypeError` if they tell of none.

    Rows of a table that this golive does not know are left out.
    """
    kinds = {kind.__tablename__: kind for kind in _kinds()}
    rows = {name: [_row(kinds[name], one) for one in found] for name, found in values["rows"].items() if name in kinds}
    release = _row(models.Release, {"holder": "", **values["release"]})
    return Record(release, rows, datetime.fromisoformat(values["as_of"]))


def read(engine: LedgerEngine, release_id: str) -> Record:
    """Read a release with all its rows in one snapshot; raises `NotFound` and `LedgerUnreachable`."""
    with engine.transaction() as session:
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        release = session.get(models.Release, release_id)
        if release is None:
            raise NotFound(f"no release {release_id!r} in the ledger", do="golive status lists them")
        as_of: datetime = session.scalars(select(func.clock_timestamp())).one()
        rows = {kind.__tablename__: _rows(session, kind, release) for kind in _kinds()}
    return Record(release, rows, as_of)


def _kinds() -> Iterable[Any]:
    """Return the tables that may hold rows of a release."""
    return [one.class_ for one in models.Base.registry.mappers if issubclass(one.class_, models.Record)]


def _rows(session: Session, kind: Any, release: models.Release) -> Sequence[Any]:
    query = select(kind).order_by(kind.id)
    if hasattr(kind, "release_id"):
        query = query.where(kind.release_id == release.id)
    elif kind is models.Delivery:
        query = query.join(models.Message, models.Message.id == kind.message_id).where(
            models.Message.release_id == release.id
        )
    elif kind is models.BackupRemoval:
        query = query.join(models.Backup, models.Backup.id == kind.backup_id).where(
            models.Backup.release_id == release.id
        )
    elif hasattr(kind, "system") and hasattr(kind, "version"):
        # What is on record of a version is evidence of the releases of it.
        query = query.where(kind.system == release.system, kind.version == release.version)
    else:
        return ()
    return session.scalars(query).all()


def _values(row: Any, mask: Callable[[str], str]) -> dict[str, Any]:
    left_out = _LEFT_OUT.get(type(row), frozenset())
    names = (one.key for one in row.__mapper__.column_attrs if one.key not in left_out)
    return {name: _plain(getattr(row, name), mask) for name in names}


def _plain(value: Any, mask: Callable[[str], str]) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, Mapping):
        return {mask(str(key)): _plain(one, mask) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, mask) for one in value]
    return value


def _row(kind: type[R], values: Mapping[str, Any]) -> R:
    moments = {one.key for one in kind.__mapper__.column_attrs if isinstance(one.columns[0].type, DateTime)}
    known = {one.key for one in kind.__mapper__.column_attrs}
    given = {
        name: datetime.fromisoformat(value) if name in moments and value is not None else value
        for name, value in values.items()
        if name in known
    }
    return kind(**given)
