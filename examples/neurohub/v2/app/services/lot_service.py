"""What may be done with lots."""

from app.models import Lot
from app.services.base_service import BaseService


class LotService(BaseService[Lot]):
    """Reads, stores, changes and removes lots."""

    model = Lot
