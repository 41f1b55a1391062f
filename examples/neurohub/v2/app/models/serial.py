"""Serial numbers, and what is still being worked on."""

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.models.base import Base, Timestamped
from app.models.lot import Lot


class Serial(Timestamped, Base):
    __tablename__ = "serials"
    __table_args__ = (Index("idx_serials_lot", "lot_id"),)

    serial_number: Mapped[str] = mapped_column(String(40), unique=True)
    lot_id: Mapped[int] = mapped_column(ForeignKey(Lot.id, ondelete="RESTRICT", onupdate="CASCADE"))
    lot: Mapped[Lot] = relationship(back_populates="serials")
    wip_items: Mapped[list["WipItem"]] = relationship(passive_deletes="all")
    process_data: Mapped[list["ProcessData"]] = relationship(viewonly=True)  # noqa: F821


class WipItem(Timestamped, Base):
    __tablename__ = "wip_items"
    __table_args__ = (Index("idx_wip_items_serial", "serial_id"),)

    wip_number: Mapped[str] = mapped_column(String(40), unique=True)
    serial_id: Mapped[int] = mapped_column(ForeignKey(Serial.id, ondelete="RESTRICT", onupdate="CASCADE"))
