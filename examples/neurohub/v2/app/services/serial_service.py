"""What may be done with serials."""

from app.models import Serial
from app.services.base_service import BaseService


class SerialService(BaseService[Serial]):
    """Reads, stores, changes and removes serials."""

    model = Serial
