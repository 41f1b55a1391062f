"""The tables that others refer to."""

from app.models.base import Base, Coded


class Equipment(Coded, Base):
    __tablename__ = "equipment"


class ProductModel(Coded, Base):
    __tablename__ = "product_models"


class Process(Coded, Base):
    __tablename__ = "processes"
