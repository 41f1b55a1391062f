"""The tables that have no more than a code here, and the audit trail."""

from sqlalchemy import BigInteger, Identity, String
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Coded, Timestamped


class Equipment(Coded, Base):
    __tablename__ = "equipment"


class ProductModel(Coded, Base):
    __tablename__ = "product_models"


class Process(Coded, Base):
    __tablename__ = "processes"


class ProductionLine(Coded, Base):
    __tablename__ = "production_lines"


class User(Coded, Base):
    __tablename__ = "users"


class WorkOrder(Coded, Base):
    __tablename__ = "work_orders"


class DefectCode(Coded, Base):
    __tablename__ = "defect_codes"


class Alert(Coded, Base):
    __tablename__ = "alerts"


class ErrorLog(Coded, Base):
    __tablename__ = "error_logs"


class PrintLog(Coded, Base):
    __tablename__ = "print_logs"


class Shift(Coded, Base):
    __tablename__ = "shifts"


class WipProcessHistory(Coded, Base):
    __tablename__ = "wip_process_history"


class AuditLog(Timestamped, Base):
    """What was changed by whom; only the database's triggers write it."""

    __tablename__ = "audit_logs"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    table_name: Mapped[str] = mapped_column(String(40))
    row_id: Mapped[int]
    action: Mapped[str] = mapped_column(String(10))
    user_id: Mapped[str | None] = mapped_column(String(80))
    client_ip: Mapped[str | None] = mapped_column(String(45))
