"""What was measured on a lot or a serial number in a process."""

from datetime import datetime

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.models.base import Base, Timestamped
from app.models.lot import Lot
from app.models.masters import Equipment, Process
from app.models.serial import Serial


class ProcessData(Timestamped, Base):
    __tablename__ = "process_data"

    lot_id: Mapped[int] = mapped_column(ForeignKey(Lot.id))
    serial_id: Mapped[int | None] = mapped_column(ForeignKey(Serial.id))
    process_id: Mapped[int] = mapped_column(ForeignKey(Process.id))
    equipment_id: Mapped[int] = mapped_column(ForeignKey(Equipment.id))
    data_level: Mapped[str] = mapped_column(String(10))
    result: Mapped[str] = mapped_column(String(10))
    measurements: Mapped[str | None]
    defects: Mapped[str | None]
    duration_seconds: Mapped[int | None]
    started_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]
    serial: Mapped[Serial | None] = relationship()
    equipment: Mapped[Equipment] = relationship(lazy="joined", innerjoin=True)
