"""What may be done with what was measured."""

from collections.abc import Mapping
from typing import Any

from app.models import ProcessData
from app.services.base_service import BaseService


class ProcessDataService(BaseService[ProcessData]):
    """Reads, stores, tries and removes what was measured."""

    model = ProcessData

    def dry_run(self, values: Mapping[str, Any], show: Any) -> Any:
        """Store a row, return how it would be shown, and keep nothing; raises `Conflict`."""
        row = ProcessData(**values)
        with self.transaction(keep=False) as db:
            db.add(row)
            db.flush()
            return show(row)
