"""What is loaded together with the rows of a page."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

Level = Literal["minimal", "standard", "full"]


def page(
    db: Session, model: Any, levels: Mapping[Level, Sequence[Any]], level: Level, skip: int, limit: int
) -> list[Any]:
    """Return a page of rows with what the level says: one query for the rows, and one for each kind of what belongs."""
    asked = select(model).order_by(model.id).offset(skip).limit(limit).options(*levels[level])
    return list(db.scalars(asked))
