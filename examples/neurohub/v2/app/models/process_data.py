"""What was measured on a lot or a serial number in a process."""

from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.database import JSONB
from app.models.base import Base, Timestamped, utc_now
from app.models.lot import Lot
from app.models.masters import Equipment, Process
from app.models.serial import Serial, WipItem

_KEPT = {"ondelete": "RESTRICT", "onupdate": "CASCADE"}


class ProcessData(Timestamped, Base):
    __tablename__ = "process_data"
    __table_args__ = (
        *(Index(f"idx_process_data_{name}", f"{name}_id") for name in ("lot", "serial", "wip")),
        Index("idx_process_data_serial_process", "serial_id", "process_id"),
        Index("idx_process_data_measurements", "measurements", postgresql_using="gin"),
        Index("idx_process_data_defects", "defects", postgresql_using="gin"),
        Index("idx_process_data_wip_unique", "wip_id", "process_id", unique=True,
              postgresql_where=text("wip_id IS NOT NULL")),
    )  # fmt: skip

    lot_id: Mapped[int] = mapped_column(ForeignKey(Lot.id, **_KEPT))
    serial_id: Mapped[int | None] = mapped_column(ForeignKey(Serial.id, **_KEPT))
    wip_id: Mapped[int | None] = mapped_column(ForeignKey(WipItem.id, **_KEPT))
    process_id: Mapped[int] = mapped_column(ForeignKey(Process.id, **_KEPT))
    equipment_id: Mapped[int] = mapped_column(ForeignKey(Equipment.id, **_KEPT))
    data_level: Mapped[str] = mapped_column(String(10))
    result: Mapped[str] = mapped_column(String(10))
    measurements: Mapped[Any | None] = mapped_column(JSONB)
    defects: Mapped[Any | None] = mapped_column(JSONB)
    duration_seconds: Mapped[int | None]
    started_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=utc_now)
    completed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    serial: Mapped[Serial | None] = relationship()
    equipment: Mapped[Equipment] = relationship()
