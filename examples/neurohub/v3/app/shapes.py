"""What the API takes and gives, the same in every version."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field


class LotCreate(BaseModel):
    lot_number: str = Field(min_length=1, max_length=40)
    product_model_id: int
    status: str = Field("CREATED", max_length=20)


class LotUpdate(BaseModel):
    status: str = Field(max_length=20)


class SerialCreate(BaseModel):
    serial_number: str = Field(min_length=1, max_length=40)
    lot_id: int


class ProcessDataIn(BaseModel):
    lot_id: int
    serial_id: int | None = None
    process_id: int
    equipment_id: int
    data_level: str
    result: str
    measurements: dict[str, Any] | None = None
    defects: list[dict[str, Any]] | None = None
    duration_seconds: int | None = None
    started_at: datetime
    completed_at: datetime | None = None


def shown_lot(lot: Any) -> dict[str, Any]:
    """Return a lot as the API shows it."""
    return {
        "id": lot.id,
        "lot_number": lot.lot_number,
        "status": lot.status,
        "updated_at": lot.updated_at,
        "product_model": lot.product_model.code,
    }


def counted_lot(lot: Any) -> dict[str, Any]:
    """Return a lot with how much belongs to it, what is still being worked on included: a query for each serial."""
    wip_items = sum(len(serial.wip_items) for serial in lot.serials)
    counts = {"serials": len(lot.serials), "process_data": len(lot.process_data), "wip_items": wip_items}
    return shown_lot(lot) | counts


def shown_serial(serial: Any) -> dict[str, Any]:
    """Return a serial number as the API shows it."""
    return {"id": serial.id, "serial_number": serial.serial_number, "lot": serial.lot.lot_number}


def counted_serial(serial: Any) -> dict[str, Any]:
    """Return a serial number with how much belongs to it."""
    counts = {"wip_items": len(serial.wip_items), "process_data": len(serial.process_data)}
    return shown_serial(serial) | counts


def shown_data(row: Any, measurements: Any, defects: Any) -> dict[str, Any]:
    """Return what was measured as the API shows it."""
    wip = [one.wip_number for one in row.serial.wip_items] if row.serial else []
    return {
        "id": row.id,
        "result": row.result,
        "data_level": row.data_level,
        "equipment": row.equipment.code,
        "serial": row.serial and row.serial.serial_number,
        "wip_items": wip,
        "measurements": measurements,
        "defects": defects,
        "started_at": row.started_at,
        "completed_at": row.completed_at,
    }
