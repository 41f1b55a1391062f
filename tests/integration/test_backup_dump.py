"""The dump: sequences, roles of policies, extensions, limits of the role, and a gentle hand."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tasks.backups.dump import Dump
from tasks.domain import archive
from tasks.domain.archive import MANIFEST
from tasks.domain.errors import BackupNotProven, ToolMissing
from tasks.domain.fingerprint import fingerprint, sequences
from tasks.domain.ports import Command
from tests.parts import missing
from tests.places import OwnPlace, PlaceBeside, run


@pytest.fixture
def place(world, open_directory):
    yield OwnPlace(world, open_directory / "scratch")
    world.pg_servers.remove(open_directory / "scratch")


@pytest.fixture
def beside(world, database, pg_server):
    yield PlaceBeside(world, database)
    run(world, pg_server.dsn(), f"DROP DATABASE IF EXISTS {world.databases.name_of(database)}_copy WITH (FORCE)")


SEQUENCES = """
CREATE SEQUENCE up; SELECT setval('up', 41);
CREATE SEQUENCE down INCREMENT -5 MAXVALUE 100 START 100; SELECT nextval('down'), nextval('down');
CREATE SEQUENCE untouched START 7;
CREATE SEQUENCE "Round" MINVALUE 1 MAXVALUE 3 CYCLE;
CREATE TABLE item (id int GENERATED ALWAYS AS IDENTITY); INSERT INTO item SELECT FROM generate_series(1, 9);
"""


def test_every_sequence_of_the_copy_goes_on_where_it_stood(world, database, beside, tmp_path):
    run(world, database, SEQUENCES)
    taken = Dump(timeout=60.0).take(world, database, tmp_path / "backup", {})
    copy = Dump().copy_into(world, taken, beside)
    assert Dump().prove(world, taken, copy, database)["sequences"] == 4
    with world.databases.session(copy) as session:
        assert sequences(session) == {
            "public.up": 42,
            "public.down": 90,
            "public.untouched": 7,
            "public.item_id_seq": 10,
        }
        session.execute("SELECT setval('item_id_seq', 3)")
    with pytest.raises(BackupNotProven, match=r"public\.item_id_seq: 10 to 10 dumped, 4 restored"):
        Dump().prove(world, taken, copy, database)
    run(world, copy, "SELECT setval('item_id_seq', 9); DROP SEQUENCE up")
    with pytest.raises(BackupNotProven, match=r"public\.up: 42 to 42 dumped, no sequence restored"):
        Dump().prove(world, taken, copy, database)


def test_a_sequence_may_have_gone_on_while_the_dump_was_made(world, database, beside, tmp_path):
    run(world, database, SEQUENCES)
    taken = Dump(timeout=60.0).take(world, database, tmp_path / "backup", {})
    manifest = json.loads((taken.directory / MANIFEST).read_text())
    manifest["sequences"] |= {"public.up": [40, 45], "public.down": [95, 90]}
    (taken.directory / MANIFEST).write_text(json.dumps(manifest))
    taken = archive.load(taken.directory)
    Dump().prove(world, taken, Dump().copy_into(world, taken, beside), database)


def test_roles_that_policies_and_grants_name_are_made_in_a_server_of_golives_own(
    world, database, pg_server, place, tmp_path
):
    tail = world.databases.name_of(database)
    reader, owner = f'"Reader {tail}"', f"owner_{tail}"
    run(
        world,
        database,
        f"CREATE ROLE {reader} LOGIN; CREATE ROLE {owner}; CREATE TABLE item AS SELECT 1 AS n;"
        f"ALTER TABLE item ENABLE ROW LEVEL SECURITY; CREATE POLICY few ON item TO {reader} USING (n < 3);"
        f"CREATE TABLE other (n int); ALTER TABLE other OWNER TO {owner}",
    )
    try:
        taken = Dump(timeout=60.0).take(world, database, tmp_path / "backup", {})
    finally:
        run(world, database, f"DROP TABLE item, other; DROP ROLE {reader}, {owner}")
    copy = Dump().copy_into(world, taken, place)
    Dump().prove(world, taken, copy, database)
    with world.databases.session(copy) as session:
        found = session.query("SELECT rolname, rolcanlogin FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY rolname")
        assert [(row["rolname"], row["rolcanlogin"]) for row in found] == [
            (f"Reader {tail}", False),
            (owner, False),
            ("postgres", True),
        ]
        assert session.value("SELECT roles::text FROM pg_policies") == f'{{"Reader {tail}"}}'


def test_an_extension_that_the_scratch_server_lacks_is_named_before_the_restore(world, database, place, tmp_path):
    run(world, database, "CREATE TABLE item AS SELECT 1 AS n")
    taken = Dump(timeout=60.0).take(world, database, tmp_path / "backup", {})
    manifest = json.loads((taken.directory / MANIFEST).read_text())
    assert manifest["extensions"] == []
    manifest["extensions"] = ["vector", "no_such_extension"]
    (taken.directory / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ToolMissing, match="lacks production's extensions no_such_extension") as caught:
        Dump().copy_into(world, archive.load(taken.directory), place)
    assert "set database.scratch.place to same_server or server" in caught.value.do


def test_collations_that_the_scratch_server_lacks_are_named_before_a_dump(world, place, open_directory, tmp_path):
    packaged = sorted(
        int(path.name) for path in Path("/usr/lib/postgresql").glob("*") if (path / "bin/postgres").exists()
    )
    if not packaged:
        missing("Debian's PostgreSQL is not installed")
    with world.pg_servers.throwaway(open_directory / "icu", major=packaged[0]) as server:
        dsn = server.dsn()
        run(world, dsn, 'CREATE TABLE item (name text, label varchar COLLATE "C")')
        Dump().require_possible(world, dsn, place)
        run(world, dsn, 'ALTER TABLE item ALTER name TYPE text COLLATE "de-x-icu"')
        with pytest.raises(ToolMissing, match="lacks production's collations de-x-icu") as caught:
            Dump().require_possible(world, dsn, place)
        assert "set database.scratch.place to same_server or server" in caught.value.do
        Dump().require_possible(world, dsn, PlaceBeside(world, dsn))
        taken = Dump(timeout=60.0).take(world, dsn, tmp_path / "backup", {})
        with pytest.raises(ToolMissing, match="lacks production's collations de-x-icu"):
            Dump().copy_into(world, taken, place)
        run(
            world,
            dsn,
            "ALTER TABLE item DROP name; CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2')",
        )
        with pytest.raises(ToolMissing, match="lacks production's collations und-x-icu"):
            Dump().require_possible(world, dsn, place)


def test_an_extension_that_both_servers_have_is_restored(world, database, place, tmp_path):
    run(world, database, "CREATE EXTENSION vector; CREATE TABLE item AS SELECT '[1,2]'::vector AS v")
    Dump().require_possible(world, database, place)
    taken = Dump(timeout=60.0).take(world, database, tmp_path / "backup", {})
    Dump().prove(world, taken, Dump().copy_into(world, taken, place), database)


def test_limits_of_the_role_on_time_do_not_end_a_dump(world, database, beside, tmp_path):
    name = world.databases.name_of(database)
    run(world, database, "CREATE TABLE item AS SELECT n FROM generate_series(1, 100) n")
    for limit in (
        "statement_timeout TO '50ms'",
        "idle_in_transaction_session_timeout TO '50ms'",
        "idle_session_timeout TO '50ms'",
        "transaction_timeout TO '100ms'",
        "lock_timeout TO '20ms'",
    ):
        run(world, database, f"ALTER DATABASE {name} SET {limit}")
    taken = Dump(timeout=60.0).take(world, database, tmp_path / "backup", {})
    Dump().prove(world, taken, Dump().copy_into(world, taken, beside), database)


def test_a_gentle_dump_runs_one_process_behind_all_others_and_hashes_after_it(
    world, database, beside, tmp_path, monkeypatch
):
    run(world, database, "CREATE TABLE item AS SELECT n FROM generate_series(1, 100) n")
    seen: list[Command] = []
    ended_before_hashing: list[str] = []
    real = type(world.host).run

    def noting(host, command):
        ended = real(host, command)
        seen.append(command)
        return ended

    def hashing(session):
        ended_before_hashing.extend(word for one in seen for word in one.argv if word.startswith("--snapshot"))
        return fingerprint(session)

    monkeypatch.setattr(type(world.host), "run", noting)
    monkeypatch.setattr("tasks.backups.dump.fingerprint", hashing)
    taken = Dump(gentle=True, jobs=8, timeout=60.0).take(world, database, tmp_path / "backup", {})
    (dumping,) = (one for one in seen if any(word.startswith("--snapshot") for word in one.argv))
    assert "--jobs=1" in dumping.argv
    if world.host.which("nice"):
        assert dumping.argv[0].endswith("/nice")
    assert len(ended_before_hashing) == 1
    monkeypatch.undo()
    Dump().prove(world, taken, Dump().copy_into(world, taken, beside), database)


def test_old_backups_and_what_killed_ones_left_are_removed_but_never_the_newest(small_system):
    shop = small_system
    kept = [Path(shop.phase("backup", "v1")) for _ in range(2)]
    assert all(path.exists() for path in kept)
    directory = kept[0].parent
    now = datetime.now(UTC)
    left = directory / f".partial-{now - timedelta(days=2):%Y%m%dT%H%M%S}000-shop-9"
    fresh = directory / f".partial-{now:%Y%m%dT%H%M%S}000-shop-9"
    for path in (left, fresh):
        path.mkdir()
    shop.write({"backup.keep_for": "1ms"})
    newest = Path(shop.phase("backup", "v1"))
    assert [path.exists() for path in (*kept, newest)] == [False, False, True]
    assert (left.exists(), fresh.exists()) == (False, True)
    assert [row.location for row in shop.ledger.evidence.backups("shop")] == [str(newest)]
    assert {row.kind for row in shop.ledger.evidence.backups("shop")} == {"dump"}
    shop.write({"backup.keep": 1, "backup.keep_for": "30d"})
    last = Path(shop.phase("backup", "v1"))
    assert (newest.exists(), last.exists()) == (False, True)


def test_only_what_was_left_long_ago_counts_as_left_over():
    now = datetime(2026, 3, 2, 12, tzinfo=UTC)
    names = [
        ".partial-20260301T115959000-shop-1",
        ".partial-20260301T120001000-shop-1",
        ".20260201T000000000-shop-1.0a1b2c3d.partial",
        "20260101T000000000-shop-1",
        ".partial-backup",
        ".hidden",
    ]
    assert archive.leftovers(names, now, timedelta(days=1)) == [names[0], names[2]]
