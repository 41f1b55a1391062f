"""The 17 tables of the system."""

from app.models.base import Base
from app.models.lot import Lot
from app.models.masters import AuditLog, Equipment, Process, ProductModel
from app.models.process_data import ProcessData
from app.models.serial import Serial, WipItem

__all__ = ["AuditLog", "Base", "Equipment", "Lot", "Process", "ProcessData", "ProductModel", "Serial", "WipItem"]
