"""The application before the refactoring: each row of a page is asked for what belongs to it, one query at a time."""

import json
from datetime import UTC
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Response
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from app.database import get_db
from app.edge import Edge, database_away
from app.models import Equipment, Lot, ProcessData, Serial
from app.shapes import (
    LotCreate,
    LotUpdate,
    ProcessDataIn,
    SerialCreate,
    counted_lot,
    counted_serial,
    shown_data,
    shown_lot,
    shown_serial,
)
from app.version import VERSION

Db = Annotated[Session, Depends(get_db)]
api = FastAPI(title="F2X NeuroHub", version=VERSION)
api.add_exception_handler(SQLAlchemyError, database_away)


def found(db: Session, model: Any, row_id: int) -> Any:
    """Return a row; 404 if there is none."""
    if (row := db.get(model, row_id)) is None:
        raise HTTPException(404, f"{model.__name__} {row_id} not found")
    return row


def stored(db: Session, row: Any) -> None:
    """Commit a new row; 409 if the database refuses it."""
    db.add(row)
    try:
        db.commit()
    except IntegrityError as error:
        raise HTTPException(409, "The database refuses this row") from error


@api.get("/health")
def health(db: Db) -> dict[str, str]:
    db.execute(text("SELECT 1"))
    return {"status": "healthy", "version": VERSION}


@api.get("/api/v1/lots")
def list_lots(db: Db, skip: int = 0, limit: int = 100) -> list[dict[str, Any]]:
    return [counted_lot(lot) for lot in db.scalars(select(Lot).order_by(Lot.id).offset(skip).limit(limit))]


@api.post("/api/v1/lots", status_code=201)
def create_lot(db: Db, body: LotCreate) -> dict[str, Any]:
    stored(db, lot := Lot(**body.model_dump()))
    return shown_lot(lot)


@api.get("/api/v1/lots/{row_id}")
def read_lot(db: Db, row_id: int) -> dict[str, Any]:
    return shown_lot(found(db, Lot, row_id))


@api.patch("/api/v1/lots/{row_id}")
def update_lot(db: Db, row_id: int, body: LotUpdate) -> dict[str, Any]:
    lot = found(db, Lot, row_id)
    lot.status = body.status
    db.commit()
    return shown_lot(lot)


@api.delete("/api/v1/lots/{row_id}", status_code=204)
def delete_lot(db: Db, row_id: int) -> Response:
    db.delete(found(db, Lot, row_id))
    db.commit()
    return Response(status_code=204)


@api.get("/api/v1/serials")
def list_serials(db: Db, skip: int = 0, limit: int = 100) -> list[dict[str, Any]]:
    rows = db.scalars(select(Serial).order_by(Serial.id).offset(skip).limit(limit))
    return [counted_serial(serial) for serial in rows]


@api.post("/api/v1/serials", status_code=201)
def create_serial(db: Db, body: SerialCreate) -> dict[str, Any]:
    stored(db, serial := Serial(**body.model_dump()))
    return shown_serial(serial)


@api.delete("/api/v1/serials/{row_id}", status_code=204)
def delete_serial(db: Db, row_id: int) -> Response:
    db.delete(found(db, Serial, row_id))
    db.commit()
    return Response(status_code=204)


@api.get("/api/v1/equipment")
def list_equipment(db: Db, skip: int = 0, limit: int = 100) -> list[dict[str, Any]]:
    rows = db.scalars(select(Equipment).order_by(Equipment.id).offset(skip).limit(limit))
    return [{"id": one.id, "code": one.code} for one in rows]


def _shown(row: ProcessData) -> dict[str, Any]:
    return shown_data(row, json.loads(row.measurements or "null"), json.loads(row.defects or "null"))


@api.get("/api/v1/process-data")
def list_process_data(db: Db, skip: int = 0, limit: int = 100) -> list[dict[str, Any]]:
    return [_shown(row) for row in db.scalars(select(ProcessData).order_by(ProcessData.id).offset(skip).limit(limit))]


@api.post("/api/v1/process-data", status_code=201)
def create_process_data(db: Db, body: ProcessDataIn, response: Response, dry_run: bool = False) -> dict[str, Any]:
    """Store what was measured; with ``dry_run`` do all of that, answer 200, and keep nothing."""
    values = body.model_dump()
    for name in ("measurements", "defects"):
        values[name] = None if values[name] is None else json.dumps(values[name])
    for name in ("started_at", "completed_at"):
        at = values[name]
        values[name] = at.astimezone(UTC).replace(tzinfo=None) if at and at.tzinfo else at
    db.add(row := ProcessData(**values))
    try:
        db.flush()
    except IntegrityError as error:
        raise HTTPException(409, "The database refuses this row") from error
    shown = _shown(row)
    if dry_run:
        response.status_code = 200
        db.rollback()
    else:
        db.commit()
    return shown


@api.delete("/api/v1/process-data/{row_id}", status_code=204)
def delete_process_data(db: Db, row_id: int) -> Response:
    db.delete(found(db, ProcessData, row_id))
    db.commit()
    return Response(status_code=204)


app = Edge(api)
