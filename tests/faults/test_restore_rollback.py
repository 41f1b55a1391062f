"""The ways back of a release that is live: keep the schema, take it down, or restore the database and lose writes."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

import pytest

from tasks.adapters.host import LocalHost
from tasks.adapters.postgres import Postgres
from tasks.backups.dump import Dump
from tasks.domain.errors import (
    AccessDenied,
    BackupNotProven,
    ChecksFailed,
    DiskTooSmall,
    LockNotGranted,
    NeedsPerson,
    Refused,
    RehearsalFailed,
)
from tests.flows import GROW, ON_TITLE, RENAME, RENAME_BACK, SmallSystem


def way_of(shop: SmallSystem) -> str:
    """Return the way back that the newest release's rehearsal has proven."""
    return str(shop.ledger.evidence.rehearsal(shop.latest().id).plan)


def detail_of(shop: SmallSystem, step: str) -> dict[str, Any]:
    """Return the evidence of a step of the newest release."""
    found = [one for one in shop.ledger.releases.steps(shop.latest().id) if one.name == step and one.event == "done"]
    return dict(found[-1].detail)


def test_where_the_old_version_breaks_the_schema_is_taken_down_and_what_was_written_stays(shop):
    shop.add_version("v2-down", query=ON_TITLE, up={"1_rename": RENAME}, down={"1_rename": RENAME_BACK})
    before = shop.content()
    assert "live" in shop.release("v2-down")
    assert way_of(shop) == "downgrade"
    assert shop.serving() == "v2-down"
    shop.sql("INSERT INTO item (title, price) VALUES ('written under v2', 1)")
    # The previous version lies on the host: its source may have lost it by now.
    (shop.home / "versions" / "v1").rename(shop.home / "versions" / ".v1")
    try:
        assert shop.rollback(reason="sold too little", started_by="bob") == "v1"
    finally:
        (shop.home / "versions" / ".v1").rename(shop.home / "versions" / "v1")
    assert shop.serving() == "v1"
    assert shop.sql("SELECT name FROM item WHERE price = 1 AND name LIKE 'written%'") == [{"name": "written under v2"}]
    assert shop.content()["columns"] == before["columns"]
    shop.sql("DELETE FROM item WHERE name = 'written under v2'")
    assert shop.content() == before
    row = shop.latest()
    assert (row.state, row.automatic_rollback_at) == ("rolled_back", None)
    assert shop.ledger.releases.blocked("shop", "v2-down").reason == "sold too little"
    with pytest.raises(Refused, match="is rolled_back"):
        shop.rollback(reason="once more")


def test_a_migration_that_stops_half_way_is_taken_down_although_the_whole_of_it_could_stay(shop):
    shop.write({"migration.limits.lock": "60s"})  # so that the reader's transaction does not count as long
    shop.add_version(
        "v2-half",
        up={"1_grow": GROW, "2_grow": "ALTER TABLE note ADD COLUMN colour text;\n"},
        down={"1_grow": "ALTER TABLE item DROP COLUMN colour;\n", "2_grow": "ALTER TABLE note DROP COLUMN colour;\n"},
    )
    with shop.untouched():
        with Postgres().session(shop.dsn) as reader, reader.transaction():
            reader.query("SELECT count(*) FROM note")
            with pytest.raises(LockNotGranted, match="2_grow"):
                shop.release("v2-half")
        assert way_of(shop) == "keep"
        assert shop.latest().state == "rolled_back"
        assert detail_of(shop, "take the schema back")["applied"] == ["migrations/1_grow_up.sql"]


def test_where_only_a_restore_is_left_a_person_accepts_the_loss_and_the_live_database_is_kept_aside(shop, monkeypatch):
    tail = secrets.token_hex(4)
    name = Postgres().name_of(shop.dsn)
    for statement in (
        f"CREATE ROLE owner_{tail}",
        f"CREATE ROLE reader_{tail}",
        f"ALTER TABLE note OWNER TO owner_{tail}",
        f"GRANT SELECT ON item TO reader_{tail}",
        f"REVOKE ALL ON DATABASE {name} FROM PUBLIC",
        f"GRANT CONNECT ON DATABASE {name} TO reader_{tail}",
        f"ALTER DATABASE {name} SET work_mem TO '7MB'",
        f"ALTER DATABASE {name} SET search_path TO public, pg_temp",
        f"ALTER ROLE reader_{tail} IN DATABASE {name} SET statement_timeout TO '9s'",
        f"ALTER DATABASE {name} CONNECTION LIMIT 77",
        f"ALTER DATABASE {name} OWNER TO owner_{tail}",
    ):
        shop.sql(statement)
    before, rights = shop.content(), rights_of(shop)
    shop.add_version("v2-up", query=ON_TITLE, up={"1_rename": RENAME})
    shop.release("v2-up")
    assert way_of(shop) == "restore"
    shop.sql("INSERT INTO item (title, price) SELECT 'written under v2', 1 FROM generate_series(1, 20)")
    live = shop.content()

    with pytest.raises(NeedsPerson) as caught:
        shop.rollback(reason="API answers failed", started_by="guard", automatic=True)
    row = shop.latest()
    # 20 rows, and the row that the migration wrote to its own table.
    assert "loses 21 changed rows" in str(caught.value)
    assert f"golive rollback shop --release {row.id} --accept-loss 21" in caught.value.do
    assert caught.value.exit_code == 11
    assert (row.state, shop.serving(), shop.content()) == ("needs_person", "v2-up", live)
    with pytest.raises(NeedsPerson, match="was already rolled back by itself"):
        shop.rollback(reason="API answers failed", started_by="guard", automatic=True)
    assert shop.latest().state == "needs_person"

    with pytest.raises(NeedsPerson, match=r"loses 21 changed rows.*at most 20"):
        shop.rollback(reason="accepted", started_by="bob", accept_loss=20, release=row.id)

    put_back = Dump.put_back

    def put_back_while_it_is_written(*given: Any) -> None:
        put_back(*given)
        shop.sql("INSERT INTO item (title, price) SELECT 'written meanwhile', 1 FROM generate_series(1, 5)")

    monkeypatch.setattr(Dump, "put_back", put_back_while_it_is_written)
    with pytest.raises(NeedsPerson, match="loses 26 changed rows") as more:
        shop.rollback(reason="accepted", started_by="bob", accept_loss=21, release=row.id)
    monkeypatch.setattr(Dump, "put_back", put_back)
    assert "--accept-loss 26" in more.value.do
    assert (shop.latest().state, shop.serving()) == ("needs_person", "v2-up")
    assert shop.sql("SELECT count(*) AS n FROM item WHERE title LIKE 'written %'") == [{"n": 25}]
    names = [row["datname"] for row in shop.sql("SELECT datname FROM pg_database")]
    assert not [one for one in names if one.startswith((f"{name}_restored_", f"{name}_before_"))]

    another_backup_is_refused(shop, row.id)
    a_disk_without_room_is_left_alone(shop, row.id, monkeypatch)

    with Postgres().session(shop.dsn) as idle:
        idle.query("SELECT 1")
        assert shop.rollback(reason="accepted", started_by="bob", accept_loss=30, release=row.id) == "v1"
    assert (shop.latest().state, shop.serving()) == ("rolled_back", "v1")
    assert shop.content() == before
    assert rights_of(shop) == rights
    detail = detail_of(shop, "restore the database")
    assert detail["lost_rows"] == 26
    assert detail["ended_connections"]
    aside = Postgres().with_database(shop.dsn, detail["kept_aside"])
    assert shop.sql("SELECT count(*) AS n FROM item WHERE title = 'written under v2'", aside) == [{"n": 20}]
    shop.no_scratch_is_left()


def test_a_restore_that_could_not_be_made_stops_the_release_before_production_is_touched(shop, monkeypatch):
    def denied(*_given: Any) -> None:
        raise AccessDenied("permission denied to create database [42501]")

    monkeypatch.setattr("tasks.restore.create_like", denied)
    shop.add_version("v2-denied", query=ON_TITLE, up={"1_rename": RENAME})
    with shop.untouched(), pytest.raises(RehearsalFailed, match="a restore, and that could not be made: permission"):
        shop.release("v2-denied")
    assert (shop.latest().state, shop.latest().mutation_started_at) == ("stopped", None)


def another_backup_is_refused(shop: SmallSystem, release: str) -> None:
    """Put another backup, whole in itself, in the place of the proven one for a while: it is not restored."""
    manifest = Path(shop.ledger.evidence.backup_of(release).location) / "manifest.json"
    proven = manifest.read_text()
    manifest.write_text(proven.replace(release, "shop-of-last-year"))
    with pytest.raises(BackupNotProven, match="not the backup that is on record"):
        shop.rollback(reason="accepted", started_by="bob", accept_loss=30, release=release)
    manifest.write_text(proven)
    assert (shop.latest().state, shop.serving()) == ("needs_person", "v2-up")


def a_disk_without_room_is_left_alone(shop: SmallSystem, release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let production's disk be full for a while: nothing is restored beside it."""
    with monkeypatch.context() as full:
        full.setattr(LocalHost, "disk_free", lambda *_given: 1000)
        with pytest.raises(DiskTooSmall) as caught:
            shop.rollback(reason="accepted", started_by="bob", accept_loss=30, release=release)
    assert caught.value.where == shop.sql("SHOW data_directory")[0]["data_directory"]
    assert (shop.latest().state, shop.serving()) == ("needs_person", "v2-up")


def rights_of(shop: SmallSystem) -> list[Any]:
    """Return owners, grants, settings and limits of the database and of its tables."""
    return [
        shop.sql(
            "SELECT relname, pg_get_userbyid(relowner) AS owner, relacl::text FROM pg_class "
            "WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'golive_fence' ORDER BY 1"
        ),
        shop.sql(
            "SELECT pg_get_userbyid(datdba) AS owner, datconnlimit, datcollate, datctype, encoding, "
            "(SELECT array_agg(a ORDER BY a) FROM unnest(datacl::text[]) a) AS acl "
            "FROM pg_database WHERE datname = current_database()"
        ),
        shop.sql(
            "SELECT setrole::regrole::text AS role, s FROM pg_db_role_setting, unnest(setconfig) s "
            "WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY 1, 2"
        ),
    ]


def test_a_first_version_that_fails_in_production_has_nothing_to_go_back_to(small_system):
    shop = small_system
    shop.add_version("v0", fault="in_production")
    with pytest.raises(NeedsPerson) as caught:
        shop.release("v0")
    assert "no version is on record that served before" in str(caught.value)
    assert "release a good version" in caught.value.do
    assert isinstance(caught.value.__context__, ChecksFailed)
    assert shop.latest().state == "needs_person"
    assert os.environ["SHOP_DSN"].partition("@")[0] not in shop.notes()
