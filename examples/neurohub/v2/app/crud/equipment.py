"""Pages of equipment."""

from sqlalchemy.orm import Session

from app.crud.eager import Level, page
from app.models import Equipment


def get_equipment(db: Session, skip: int = 0, limit: int = 100, eager_loading: Level = "standard") -> list[Equipment]:
    """Return a page of equipment, to which nothing belongs."""
    return page(db, Equipment, {"minimal": (), "standard": (), "full": ()}, eager_loading, skip, limit)
