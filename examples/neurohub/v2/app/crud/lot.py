"""Pages of lots."""

from sqlalchemy.orm import Session, selectinload

from app.crud.eager import Level, page
from app.models import Lot, ProcessData, Serial

_STANDARD = (
    selectinload(Lot.product_model),
    selectinload(Lot.serials).load_only(Serial.id),
    selectinload(Lot.process_data).load_only(ProcessData.id),
)
_FULL = (*_STANDARD[:1], selectinload(Lot.serials).selectinload(Serial.wip_items), *_STANDARD[2:])


def get_lots(db: Session, skip: int = 0, limit: int = 100, eager_loading: Level = "standard") -> list[Lot]:
    """Return a page of lots: alone, with what the API shows, or with all that belongs to them."""
    return page(db, Lot, {"minimal": (), "standard": _STANDARD, "full": _FULL}, eager_loading, skip, limit)
