"""Pages of what was measured."""

from sqlalchemy.orm import Session, selectinload

from app.crud.eager import Level, page
from app.models import ProcessData, Serial

_STANDARD = (selectinload(ProcessData.equipment), selectinload(ProcessData.serial).selectinload(Serial.wip_items))
_FULL = (*_STANDARD, selectinload(ProcessData.serial).selectinload(Serial.lot))


def get_process_data(
    db: Session, skip: int = 0, limit: int = 100, eager_loading: Level = "standard"
) -> list[ProcessData]:
    """Return a page of what was measured: alone, with what the API shows, or with all that belongs to it."""
    return page(db, ProcessData, {"minimal": (), "standard": _STANDARD, "full": _FULL}, eager_loading, skip, limit)
