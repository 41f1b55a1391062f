"""The tables that the application uses."""

from app.models.base import Base
from app.models.lot import Lot
from app.models.masters import Equipment, Process, ProductModel
from app.models.process_data import ProcessData
from app.models.serial import Serial, WipItem

__all__ = ["Base", "Equipment", "Lot", "Process", "ProcessData", "ProductModel", "Serial", "WipItem"]
