"""What the services of all kinds of rows share."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Generic, TypeVar

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.database import set_audit_context

T = TypeVar("T")


class NotFound(Exception):
    """There is no such row."""


class Conflict(Exception):
    """The database refuses the change, because other rows forbid it."""


class BaseService(Generic[T]):
    """Reads, stores, changes and removes the rows of one model, each change in a transaction of its own."""

    model: ClassVar[type[Any]]

    def __init__(self, db: Session, user_id: str = "", client_ip: str = "") -> None:
        """Work in a session, on behalf of a user."""
        self.db, self._who = db, (user_id, client_ip)

    @contextmanager
    def transaction(self, *, keep: bool = True) -> Iterator[Session]:
        """Commit what the block does, or undo all of it if it raises; raises `Conflict` if the database refuses it."""
        try:
            set_audit_context(self.db, *self._who)
            yield self.db
            self.db.flush()
            if keep:
                self.db.commit()
            else:
                self.db.rollback()
        except IntegrityError as error:
            self.db.rollback()
            raise Conflict(str(error.orig).splitlines()[0]) from error
        except BaseException:
            self.db.rollback()
            raise

    def get(self, row_id: int) -> T:
        """Return a row; raises `NotFound`."""
        row: T | None = self.db.get(self.model, row_id)
        if row is None:
            raise NotFound(f"{self.model.__name__} {row_id} not found")
        return row

    def create(self, values: Mapping[str, Any]) -> T:
        """Store a row; raises `Conflict`."""
        row: T = self.model(**values)
        with self.transaction() as db:
            db.add(row)
        return row

    def update(self, row_id: int, values: Mapping[str, Any]) -> T:
        """Change a row; raises `NotFound` or `Conflict`."""
        row = self.get(row_id)
        with self.transaction():
            for name, value in values.items():
                setattr(row, name, value)
        return row

    def delete(self, row_id: int) -> None:
        """Remove a row; raises `NotFound`, or `Conflict` if others refer to it."""
        row = self.get(row_id)
        with self.transaction() as db:
            db.delete(row)
