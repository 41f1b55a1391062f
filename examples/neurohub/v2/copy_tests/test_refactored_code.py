"""The refactored code on the migrated data: services, eager loading, times, rules, the audit trail, monitoring."""

import inspect
import logging
from datetime import datetime, timezone

import pytest
from app.crud.equipment import get_equipment
from app.crud.lot import get_lots
from app.crud.process_data import get_process_data
from app.crud.serial import get_serials
from app.database import set_audit_context
from app.main import api, monitor
from app.models import AuditLog, Base, Lot, ProcessData, Serial, WipItem
from app.monitoring.performance_metrics import PerformanceMonitor
from app.monitoring.query_monitor import Counts, track_query_performance
from app.services import LotService, ProcessDataService, SerialService
from app.services.base_service import BaseService, Conflict, NotFound
from sqlalchemy import DateTime, select, text
from sqlalchemy import inspect as look
from sqlalchemy.exc import IntegrityError

CRUD = (get_lots, get_serials, get_process_data, get_equipment)


@pytest.fixture
def row(db):
    """A new row of process data, within the transaction."""
    first = db.scalars(select(ProcessData).limit(1)).one()
    made = ProcessData(lot_id=first.lot_id, process_id=first.process_id, equipment_id=first.equipment_id,
                       data_level="LOT", result="PASS", started_at=datetime.now(timezone.utc))  # fmt: skip
    db.add(made)
    db.flush()
    return made


@pytest.fixture
def log(caplog):
    logger = logging.getLogger("neurohub")
    logger.addHandler(caplog.handler)
    caplog.set_level("INFO", "neurohub")
    yield caplog
    logger.removeHandler(caplog.handler)


class TestServices:
    @pytest.mark.parametrize(("kind", "model"), [
        (LotService, Lot), (SerialService, Serial), (ProcessDataService, ProcessData)
    ])  # fmt: skip
    def test_each_is_a_base_service_of_its_model_and_can_be_made(self, db, kind, model):
        assert issubclass(kind, BaseService)
        assert kind.__orig_bases__[0].__args__ == (model,)
        assert kind(db).get(db.scalars(select(model.id).limit(1)).one()).id

    def test_every_endpoint_is_routed(self):
        assert len(api.openapi()["paths"]) >= 8

    def test_errors_are_told_apart(self, db):
        lots, taken = LotService(db), db.scalars(select(Lot).limit(1)).one()
        values = {"lot_number": taken.lot_number, "product_model_id": taken.product_model_id}
        with pytest.raises(NotFound):
            lots.get(-1)
        with pytest.raises(Conflict):
            lots.create(values)
        assert lots.get(taken.id).lot_number == taken.lot_number, "the session can be used on"

    def test_a_transaction_keeps_what_its_block_does(self, db):
        lot = db.scalars(select(Lot).limit(1)).one()
        with LotService(db).transaction():
            lot.status = "IN THE BLOCK"
        db.expire_all()
        assert db.scalars(select(Lot.status).where(Lot.id == lot.id)).one() == "IN THE BLOCK"

    def test_a_transaction_undoes_its_block_when_it_raises(self, db):
        lot = db.scalars(select(Lot).limit(1)).one()
        before = lot.status
        with pytest.raises(ZeroDivisionError), LotService(db).transaction():
            lot.status = "IN THE BLOCK"
            db.flush()
            raise ZeroDivisionError
        assert lot.status == before


class TestCrud:
    @pytest.mark.parametrize("function", CRUD)
    @pytest.mark.parametrize("level", ["minimal", "standard", "full"])
    def test_every_level_works(self, db, function, level):
        assert function(db, eager_loading=level)

    @pytest.mark.parametrize("function", CRUD)
    def test_the_level_may_be_left_out_and_is_standard(self, db, function):
        assert inspect.signature(function).parameters["eager_loading"].default == "standard"
        assert function(db)

    @pytest.mark.parametrize(("level", "expected"), [("minimal", 1), ("standard", 4), ("full", 5)])
    def test_each_level_takes_its_number_of_queries_whatever_the_rows(self, db, level, expected):
        for limit in (10, 100):
            db.expunge_all()
            before = Counts.queries
            get_lots(db, limit=limit, eager_loading=level)
            assert Counts.queries - before == expected


class TestTimes:
    def test_a_new_row_is_read_back_with_its_zone_at_the_same_instant(self, db, row):
        now = row.started_at
        db.expire_all()
        assert row.started_at.tzinfo is not None
        assert row.started_at == now

    def test_offsets_and_the_change_to_summer_time_keep_the_instant(self, db, row):
        for at in ("2026-03-29T01:59:59+01:00", "2026-03-29T03:00:00+02:00", "2026-12-31T23:59:59-11:00"):
            row.started_at = datetime.fromisoformat(at)
            db.flush()
            db.expire_all()
            assert row.started_at == datetime.fromisoformat(at)

    def test_created_at_is_the_databases_own_time(self, db, row):
        db.refresh(row)
        assert row.created_at == db.scalar(text("SELECT now()"))

    def test_the_orm_reads_what_the_database_holds(self, db):
        first = db.scalars(select(ProcessData).limit(1)).one()
        query = text("SELECT extract(epoch FROM started_at) FROM process_data WHERE id = :id")
        raw = db.scalar(query, {"id": first.id})
        assert abs(float(raw) - first.started_at.timestamp()) < 1e-5

    def test_updated_at_moves_with_an_update(self, db):
        for model in (Lot, Serial):
            first = db.scalars(select(model).where(model.updated_at < text("now()")).limit(1)).one()
            before = first.updated_at
            name = "lot_number" if model is Lot else "serial_number"
            setattr(first, name, f"{getattr(first, name)}x")
            db.flush()
            db.refresh(first)
            assert first.updated_at > before

    def test_all_17_models_have_times_with_a_zone_and_a_default(self, db):
        mapped = [mapper.class_ for mapper in Base.registry.mappers]
        assert len(mapped) == 17
        for model in mapped:
            times = [column for column in look(model).columns if isinstance(column.type, DateTime)]
            assert {"created_at", "updated_at"} <= {column.name for column in times}
            assert all(column.type.timezone for column in times)
            assert look(model).columns["created_at"].server_default is not None
            assert look(model).columns["updated_at"].onupdate is not None


class TestSecurity:
    EVIL = "'; DROP TABLE lots; --"

    def test_a_malicious_user_is_no_more_than_a_name(self, db):
        before = db.scalar(text("SELECT count(*) FROM lots"))
        set_audit_context(db, self.EVIL)
        assert db.scalar(text("SELECT current_setting('app.current_user_id', true)")) == self.EVIL
        assert db.scalar(text("SELECT count(*) FROM lots")) == before

    def test_the_context_names_user_and_address(self, db):
        set_audit_context(db, "ann", "192.0.2.7")
        assert db.scalar(text("SELECT current_setting('app.current_user_id')")) == "ann"
        assert db.scalar(text("SELECT current_setting('app.client_ip')")) == "192.0.2.7"

    def test_a_lot_with_serial_numbers_is_not_deleted(self, db):
        lot_id = db.scalars(select(Serial.lot_id).limit(1)).one()
        with pytest.raises(Conflict):
            LotService(db).delete(lot_id)

    def test_every_change_of_every_audited_table_leaves_its_trail(self, db, row):
        serial = db.scalars(select(Serial).limit(1)).one()
        changed = [
            row,
            WipItem(wip_number="T-1", serial_id=serial.id),
            Serial(serial_number="T-1", lot_id=serial.lot_id),
            Lot(lot_number="T-1", product_model_id=1),
        ]
        set_audit_context(db, "ann", "192.0.2.7")
        for one in changed:
            db.add(one)
            db.flush()
            one.updated_at = datetime.now(timezone.utc)
            db.flush()
            db.delete(one)
            db.flush()
            trail = select(AuditLog).where(AuditLog.table_name == one.__tablename__, AuditLog.row_id == one.id)
            seen = db.scalars(trail.order_by(AuditLog.id)).all()
            assert [entry.action for entry in seen] == ["INSERT", "UPDATE", "DELETE"]
            assert {(entry.user_id, entry.client_ip) for entry in seen[1:]} == {("ann", "192.0.2.7")}


class TestMonitoring:
    def test_the_monitor_can_be_made_for_staging_and_is_in_the_application(self):
        staging = PerformanceMonitor(enabled=True, environment="staging")
        assert staging.exposition()
        assert [one.cls.__qualname__ for one in api.user_middleware] == [monitor.get_middleware().__qualname__]

    def test_a_tracked_function_returns_its_result_and_is_logged(self, db, log):
        @track_query_performance()
        def read_some(db):
            return db.query(ProcessData).limit(5).all()

        assert len(read_some(db)) == 5
        assert "read_some: 1 queries, " in log.text

    def test_a_slow_query_raises_an_alert_and_a_quicker_one_does_not(self, db, log):
        before = Counts.slow
        db.execute(text("SELECT pg_sleep(0.15)"))
        assert Counts.slow == before + 1
        assert "alert: slow query" in log.text
        log.clear()
        db.execute(text("SELECT 'not slow'"))
        assert "not slow" not in log.text


class TestRules:
    @pytest.mark.parametrize(("rule", "wrong"), [
        ("data_level", {"data_level": "X"}), ("result", {"result": "X"}), ("duration", {"duration_seconds": -1}),
        ("wip_serial_consistency", {"data_level": "SERIAL"}),
        ("timestamps", {"completed_at": datetime(2020, 1, 1, tzinfo=timezone.utc)}),
    ])  # fmt: skip
    def test_the_database_itself_refuses_what_is_wrong(self, db, row, rule, wrong):
        with pytest.raises(IntegrityError, match=f"chk_process_data_{rule}"), db.begin_nested():
            for name, value in wrong.items():
                setattr(row, name, value)
            db.flush()
