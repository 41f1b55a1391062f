"""Lots."""

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.models.base import Base, Timestamped
from app.models.masters import ProductModel


class Lot(Timestamped, Base):
    __tablename__ = "lots"

    lot_number: Mapped[str] = mapped_column(String(40), unique=True)
    status: Mapped[str] = mapped_column(String(20), default="CREATED", server_default="CREATED")
    product_model_id: Mapped[int] = mapped_column(ForeignKey(ProductModel.id, ondelete="RESTRICT", onupdate="CASCADE"))
    product_model: Mapped[ProductModel] = relationship()
    serials: Mapped[list["Serial"]] = relationship(back_populates="lot", passive_deletes="all")  # noqa: F821
    process_data: Mapped[list["ProcessData"]] = relationship(viewonly=True)  # noqa: F821
