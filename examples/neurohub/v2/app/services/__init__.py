"""What may be done with each kind of row."""

from app.services.lot_service import LotService
from app.services.process_data_service import ProcessDataService
from app.services.serial_service import SerialService

__all__ = ["LotService", "ProcessDataService", "SerialService"]
