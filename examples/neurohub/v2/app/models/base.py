"""What all tables have."""

from datetime import datetime, timezone

from sqlalchemy import DateTime, String, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """A table."""


def utc_now() -> datetime:
    """Return this moment, with its time zone."""
    return datetime.now(timezone.utc)


class Timestamped:
    """When a row was made and changed, by the database's clock."""

    id: Mapped[int] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.current_timestamp())
    updated_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=func.current_timestamp(), onupdate=func.current_timestamp()
    )


class Coded(Timestamped):
    """Something that has no more than a code here."""

    code: Mapped[str] = mapped_column(String(40), unique=True)
