"""How many queries a page takes, whatever its length, and that one query too many is noticed."""

import time

import pytest
from app.crud.equipment import get_equipment
from app.crud.lot import get_lots
from app.crud.process_data import get_process_data
from app.crud.serial import get_serials
from app.models import Lot
from app.monitoring.query_monitor import Counts
from sqlalchemy import insert, select

BULK_SECONDS = 5


def queries_of(act):
    before = Counts.queries
    rows = act()
    assert rows
    return Counts.queries - before


class TestPages:
    def test_lots_standard(self, db):
        assert queries_of(lambda: get_lots(db)) == 4

    def test_lots_minimal(self, db):
        assert queries_of(lambda: get_lots(db, eager_loading="minimal")) == 1

    def test_lots_full(self, db):
        assert queries_of(lambda: get_lots(db, eager_loading="full")) == 5

    def test_serials_standard(self, db):
        assert queries_of(lambda: get_serials(db)) == 4

    def test_serials_minimal(self, db):
        assert queries_of(lambda: get_serials(db, eager_loading="minimal")) == 1

    def test_serials_full(self, db):
        assert queries_of(lambda: get_serials(db, eager_loading="full")) == 5

    def test_process_data_standard(self, db):
        assert queries_of(lambda: get_process_data(db)) == 4

    def test_process_data_minimal(self, db):
        assert queries_of(lambda: get_process_data(db, eager_loading="minimal")) == 1

    def test_process_data_full(self, db):
        assert queries_of(lambda: get_process_data(db, eager_loading="full")) == 5

    @pytest.mark.parametrize("level", ["full"])
    def test_ten_times_the_rows_take_no_more_queries(self, db, level):
        few = queries_of(lambda: get_lots(db, limit=10, eager_loading=level))
        db.expunge_all()
        assert queries_of(lambda: get_lots(db, limit=100, eager_loading=level)) == few

    def test_equipment(self, db):
        assert queries_of(lambda: get_equipment(db)) == 1


class TestDetection:
    def test_lazy_loading_is_noticed(self, db):
        assert queries_of(lambda: [len(lot.serials) for lot in get_lots(db, eager_loading="minimal")]) == 101


class TestBulk:
    def test_a_thousand_lots_are_stored_in_time(self, db):
        began = time.monotonic()
        db.execute(insert(Lot), [{"lot_number": f"B-{n}", "product_model_id": 1} for n in range(1000)])
        assert time.monotonic() - began < BULK_SECONDS

    def test_a_thousand_lots_are_read_in_time(self, db):
        db.execute(insert(Lot), [{"lot_number": f"B-{n}", "product_model_id": 1} for n in range(1000)])
        began = time.monotonic()
        assert len(db.scalars(select(Lot).where(Lot.lot_number.like("B-%"))).all()) == 1000
        assert time.monotonic() - began < BULK_SECONDS
