"""What all tables have."""

from datetime import datetime

from sqlalchemy import FetchedValue, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """A table."""


class Timestamped:
    """When a row was made and changed, in UTC without saying so."""

    id: Mapped[int] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())
    updated_at: Mapped[datetime] = mapped_column(server_default=FetchedValue())


class Coded(Timestamped):
    """Something that has no more than a code here."""

    code: Mapped[str] = mapped_column(String(40), unique=True)
