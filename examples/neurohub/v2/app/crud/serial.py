"""Pages of serial numbers."""

from sqlalchemy.orm import Session, selectinload

from app.crud.eager import Level, page
from app.models import Lot, ProcessData, Serial, WipItem

_STANDARD = (
    selectinload(Serial.lot),
    selectinload(Serial.wip_items).load_only(WipItem.id),
    selectinload(Serial.process_data).load_only(ProcessData.id),
)
_FULL = (selectinload(Serial.lot).selectinload(Lot.product_model), *_STANDARD[1:])


def get_serials(db: Session, skip: int = 0, limit: int = 100, eager_loading: Level = "standard") -> list[Serial]:
    """Return a page of serial numbers: alone, with what the API shows, or with all that belongs to them."""
    return page(db, Serial, {"minimal": (), "standard": _STANDARD, "full": _FULL}, eager_loading, skip, limit)
