"""The chain of migrations, up and down, which leaves the tests' database empty: no test after these reads it."""

from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from app.database import engine

CHAIN = ["0001_initial", "0002_refactor_schema", "0003_add_wip_unique_index"]
OLD_ROWS = """
INSERT INTO product_models (code) VALUES ('M'); INSERT INTO processes (code) VALUES ('P');
INSERT INTO equipment (code) VALUES ('E'); INSERT INTO lots (lot_number, product_model_id) VALUES ('L', 1);
INSERT INTO serials (serial_number, lot_id) VALUES ('S', 1);
INSERT INTO process_data (lot_id, serial_id, process_id, equipment_id, data_level, result, measurements, started_at)
VALUES (1, 1, 1, 1, 'SERIAL', 'PASS', '{"torque": 1.5}', '2024-03-31 01:30:00');
"""


def ask(query):
    with engine().connect() as connection:
        return connection.exec_driver_sql(query).scalars().all()


def columns(table):
    query = f"SELECT column_name || ' ' || data_type FROM information_schema.columns WHERE table_name = '{table}'"
    return set(ask(query))


def indexes():
    return set(ask("SELECT indexname FROM pg_indexes WHERE tablename = 'process_data'"))


@pytest.fixture(scope="module")
def scripts(alembic):
    return ScriptDirectory.from_config(alembic)


@pytest.fixture(scope="class")
def chain(alembic):
    """What was seen at each stop of the way up, down and up again, with a row that is there from the first on."""
    seen = {}

    def stop(name):
        seen[name] = {
            "revision": ask("SELECT version_num FROM alembic_version"), "columns": columns("process_data"),
            "lots": columns("lots"), "indexes": indexes(),
            "rows": ask("SELECT coalesce(max(measurements::text), '') || count(*) FROM process_data"),
            "started": ask("SELECT extract(epoch FROM started_at)::bigint FROM process_data"),
        }  # fmt: skip

    command.downgrade(alembic, "base")
    command.upgrade(alembic, CHAIN[0])
    with engine().begin() as connection:
        connection.exec_driver_sql(OLD_ROWS.replace("%", "%%"))
    stop("old")
    command.upgrade(alembic, "head")
    stop("new")
    command.downgrade(alembic, "-1")
    stop("one back")
    command.downgrade(alembic, CHAIN[0])
    stop("back")
    command.upgrade(alembic, "head")
    stop("again")
    command.downgrade(alembic, "base")
    seen["base"] = {"tables": ask("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"),
                    "revision": ask("SELECT version_num FROM alembic_version")}  # fmt: skip
    return seen


class TestChain:
    def test_there_are_three_revisions(self, scripts):
        assert sorted(one.revision for one in scripts.walk_revisions()) == CHAIN

    def test_each_revision_builds_on_the_one_before(self, scripts):
        assert [one.down_revision for one in scripts.walk_revisions()] == [CHAIN[1], CHAIN[0], None]

    def test_there_is_one_head(self, scripts):
        assert scripts.get_heads() == CHAIN[2:]

    def test_each_revision_says_what_it_does_and_by_whom(self, scripts):
        for one in scripts.walk_revisions():
            assert "Author:" in Path(one.path).read_text().split('"""')[1]


class TestWay:
    def test_the_way_up_ends_at_the_head(self, chain):
        assert chain["new"]["revision"] == CHAIN[2:]

    def test_wip_id_is_added(self, chain):
        assert "wip_id integer" in chain["new"]["columns"] - chain["old"]["columns"]

    def test_json_is_kept_as_jsonb(self, chain):
        assert {"measurements jsonb", "defects jsonb"} <= chain["new"]["columns"]

    def test_times_get_a_zone(self, chain):
        assert "created_at timestamp with time zone" in chain["new"]["lots"]

    def test_the_unique_index_comes_with_the_last(self, chain):
        assert chain["new"]["indexes"] - chain["one back"]["indexes"] == {"idx_process_data_wip_unique"}

    def test_one_step_back_keeps_wip_id(self, chain):
        assert chain["one back"]["revision"] == CHAIN[1:2]
        assert "wip_id integer" in chain["one back"]["columns"]

    def test_two_steps_back_remove_wip_id(self, chain):
        assert chain["back"]["columns"] == chain["old"]["columns"]
        assert chain["back"]["indexes"] == chain["old"]["indexes"]

    def test_the_way_up_again_comes_out_the_same(self, chain):
        assert chain["again"] == chain["new"]

    def test_all_the_way_down_nothing_is_left(self, chain):
        assert chain["base"] == {"tables": ["alembic_version"], "revision": []}


class TestDataPreserved:
    def test_rows_are_preserved_on_the_way_up(self, chain):
        assert chain["new"]["rows"] == chain["old"]["rows"] == ['{"torque": 1.5}1']

    def test_rows_are_preserved_on_the_way_down(self, chain):
        assert chain["back"]["rows"] == chain["old"]["rows"]

    def test_times_are_preserved_as_instants(self, chain):
        assert {tuple(chain[stop]["started"]) for stop in ("old", "new", "back", "again")} == {(1711848600,)}
