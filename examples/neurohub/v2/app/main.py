"""The application after the refactoring: services, eager loading, validation, an audit trail, metrics."""

import os
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.crud.equipment import get_equipment
from app.crud.lot import get_lots
from app.crud.process_data import get_process_data
from app.crud.serial import get_serials
from app.database import get_db
from app.edge import Edge, database_away
from app.models import ProcessData
from app.monitoring.performance_metrics import PerformanceMonitor
from app.schemas.process_data import ProcessDataCreate
from app.services import LotService, ProcessDataService, SerialService
from app.services.base_service import BaseService, Conflict, NotFound
from app.shapes import (
    LotCreate,
    LotUpdate,
    SerialCreate,
    counted_lot,
    counted_serial,
    shown_data,
    shown_lot,
    shown_serial,
)
from app.version import VERSION

Db = Annotated[Session, Depends(get_db)]
monitor = PerformanceMonitor(enabled=True, environment=os.environ.get("NEUROHUB_ENVIRONMENT", "production"))
api = FastAPI(title="F2X NeuroHub", version=VERSION)
api.add_middleware(monitor.get_middleware())
api.add_exception_handler(SQLAlchemyError, database_away)


@api.exception_handler(NotFound)
def not_found(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 404)


@api.exception_handler(Conflict)
def conflict(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": f"The database refuses this: {error}"}, 409)


def service(kind: type[BaseService[Any]]) -> Any:
    """Return the dependency that makes a service for a request, on behalf of who sends it."""

    def make(db: Db, request: Request, x_user_id: Annotated[str, Header()] = "anonymous") -> BaseService[Any]:
        return kind(db, x_user_id[:80], request.client.host if request.client else "")

    return Depends(make)


Lots = Annotated[LotService, service(LotService)]
Serials = Annotated[SerialService, service(SerialService)]
Measured = Annotated[ProcessDataService, service(ProcessDataService)]


@api.get("/health")
def health(db: Db) -> dict[str, str]:
    db.execute(text("SELECT 1"))
    return {"status": "healthy", "version": VERSION}


@api.get("/metrics")
def metrics() -> PlainTextResponse:
    return PlainTextResponse(monitor.exposition())


@api.get("/api/v1/lots")
def list_lots(db: Db, skip: int = 0, limit: int = 100) -> list[dict[str, Any]]:
    return [counted_lot(lot) for lot in get_lots(db, skip, limit)]


@api.post("/api/v1/lots", status_code=201)
def create_lot(lots: Lots, body: LotCreate) -> dict[str, Any]:
    return shown_lot(lots.create(body.model_dump()))


@api.get("/api/v1/lots/{row_id}")
def read_lot(lots: Lots, row_id: int) -> dict[str, Any]:
    return shown_lot(lots.get(row_id))


@api.patch("/api/v1/lots/{row_id}")
def update_lot(lots: Lots, row_id: int, body: LotUpdate) -> dict[str, Any]:
    return shown_lot(lots.update(row_id, body.model_dump()))


@api.delete("/api/v1/lots/{row_id}", status_code=204)
def delete_lot(lots: Lots, row_id: int) -> Response:
    lots.delete(row_id)
    return Response(status_code=204)


@api.get("/api/v1/serials")
def list_serials(db: Db, skip: int = 0, limit: int = 100) -> list[dict[str, Any]]:
    return [counted_serial(serial) for serial in get_serials(db, skip, limit)]


@api.post("/api/v1/serials", status_code=201)
def create_serial(serials: Serials, body: SerialCreate) -> dict[str, Any]:
    return shown_serial(serials.create(body.model_dump()))


@api.delete("/api/v1/serials/{row_id}", status_code=204)
def delete_serial(serials: Serials, row_id: int) -> Response:
    serials.delete(row_id)
    return Response(status_code=204)


@api.get("/api/v1/equipment")
def list_equipment(db: Db, skip: int = 0, limit: int = 100) -> list[dict[str, Any]]:
    return [{"id": one.id, "code": one.code} for one in get_equipment(db, skip, limit)]


def _shown(row: ProcessData) -> dict[str, Any]:
    return shown_data(row, row.measurements, row.defects)


@api.get("/api/v1/process-data")
def list_process_data(db: Db, skip: int = 0, limit: int = 100) -> list[dict[str, Any]]:
    return [_shown(row) for row in get_process_data(db, skip, limit)]


@api.post("/api/v1/process-data", status_code=201)
def create_process_data(
    measured: Measured, body: ProcessDataCreate, response: Response, dry_run: bool = False
) -> dict[str, Any]:
    """Store what was measured; with ``dry_run`` do all of that, answer 200, and keep nothing."""
    if dry_run:
        response.status_code = 200
        return measured.dry_run(body.model_dump(), _shown)
    return _shown(measured.create(body.model_dump()))


@api.delete("/api/v1/process-data/{row_id}", status_code=204)
def delete_process_data(measured: Measured, row_id: int) -> Response:
    measured.delete(row_id)
    return Response(status_code=204)


app = Edge(api)
