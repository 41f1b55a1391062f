"""Serial numbers, and what is still being worked on."""

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.models.base import Base, Timestamped
from app.models.lot import Lot


class Serial(Timestamped, Base):
    __tablename__ = "serials"

    serial_number: Mapped[str] = mapped_column(String(40), unique=True)
    lot_id: Mapped[int] = mapped_column(ForeignKey(Lot.id))
    lot: Mapped[Lot] = relationship(lazy="joined", innerjoin=True, back_populates="serials")
    wip_items: Mapped[list["WipItem"]] = relationship()
    process_data: Mapped[list["ProcessData"]] = relationship(viewonly=True)  # noqa: F821


class WipItem(Timestamped, Base):
    __tablename__ = "wip_items"

    wip_number: Mapped[str] = mapped_column(String(40), unique=True)
    serial_id: Mapped[int] = mapped_column(ForeignKey(Serial.id))
