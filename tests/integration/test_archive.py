"""A backup of real data: dumped, restored and shown to be equal, whatever the tables hold."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.backups.dump import Dump
from tasks.domain import archive
from tasks.domain.archive import Archive, require_equal
from tasks.domain.errors import AccessDenied, BackupNotProven, DiskTooSmall, TimedOut
from tasks.domain.fingerprint import Fingerprint, change_counters, fingerprint
from tasks.domain.ports import RunningServer, World
from tasks.domain.room import by_disk, require_room

DATA = r"""
CREATE SCHEMA "Odd schema.";
CREATE TYPE mood AS ENUM ('calm', 'cross');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TABLE "Odd schema."."Table ""quoted"".%s" ("a column" int PRIMARY KEY, "SELECT" text);
INSERT INTO "Odd schema."."Table ""quoted"".%s" SELECT n, repeat('ü', n) FROM generate_series(1, 50) n;
CREATE TABLE without_key (n int, word text);
INSERT INTO without_key SELECT n % 3, 'same' FROM generate_series(1, 100) n;
CREATE TABLE kinds (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, doc jsonb, loose json, numbers int[], words text[][], raw bytea,
    at timestamptz DEFAULT now(), day date, span interval, exact numeric, rough float8, small float4, is_it boolean,
    how mood, many positive, inside inet, here point, over int4range, key uuid DEFAULT gen_random_uuid(), paid money,
    which regclass, page xml, bits bit varying, twice int GENERATED ALWAYS AS (many * 2) STORED
);
INSERT INTO kinds (doc, loose, numbers, words, raw, day, span, exact, rough, small, is_it, how, many, inside, here,
                   over, paid, which, bits)
SELECT jsonb_build_object('n', n, 'x', '\u00e9"'), '{"b": 1, "a": [null, 1.50]}', ARRAY[n, NULL, 2],
       '{{a,"b,c"},{"",NULL}}',
       decode(md5(n::text), 'hex'), '2026-02-28', '1 mon -3 days', n / 7.0, n / 7.0::float8, n / 7.0::float4, n % 2 = 0,
       'cross', n, '10.0.0.1/8', '(1.5,2)', '[1,5)', n, 'without_key', '1011'
FROM generate_series(1, 200) n;
INSERT INTO kinds (rough, small, exact, raw, at, doc)
VALUES ('NaN', '-Infinity', 'NaN', '', 'infinity', 'null'), (NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE empty (id int);
CREATE TABLE no_columns ();
INSERT INTO no_columns DEFAULT VALUES;
CREATE UNLOGGED TABLE unlogged AS SELECT 1 AS n;
CREATE TABLE parted (day date, n int) PARTITION BY RANGE (day);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE parted_rest PARTITION OF parted DEFAULT;
INSERT INTO parted SELECT '2026-01-30'::date + n, n FROM generate_series(0, 9) n;
CREATE TABLE parent (id int);
CREATE TABLE child (more text) INHERITS (parent);
INSERT INTO parent VALUES (1);
INSERT INTO child VALUES (2, 'two');
CREATE TABLE shadowed (t text, n int);
INSERT INTO shadowed VALUES ('same', 1), (NULL, 2);
CREATE VIEW seen AS SELECT * FROM kinds;
CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM without_key;
CREATE MATERIALIZED VIEW not_yet AS SELECT 1 AS n WITH NO DATA;
INSERT INTO without_key VALUES (9, 'after the view was computed');
"""
TABLES = {
    '"Odd schema."."Table ""quoted"".%s"': 50,
    "public.without_key": 101,
    "public.kinds": 202,
    "public.empty": 0,
    "public.no_columns": 1,
    "public.unlogged": 1,
    "public.parted_1": 2,
    "public.parted_rest": 8,
    "public.parent": 1,
    "public.child": 1,
    "public.shadowed": 2,
}


def run(world: World, dsn: str, script: str) -> None:
    with world.databases.session(dsn) as session:
        session.script(script)


def took(world: World, dsn: str, directory: Path, jobs: int = 2) -> Archive:
    return Dump(jobs=jobs, timeout=60.0).take(world, dsn, directory, {"system": "shop", "release": "r1"})


@pytest.fixture
def copy_of(world: World, pg_server: RunningServer, database: str) -> Iterator[Callable[[Archive], str]]:
    """Restores an archive into a new database and gives its DSN."""
    name = world.databases.name_of(database) + "_copy"

    def restore(taken: Archive) -> str:
        run(world, pg_server.dsn(), f"CREATE DATABASE {name} TEMPLATE template0")
        dsn = world.databases.with_database(database, name)
        version = taken.manifest["server_version"]
        world.pg_tools.restore(taken.content, dsn, server_version=version, jobs=2, timeout=60)
        return dsn

    yield restore
    run(world, pg_server.dsn(), f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def held(world: World, dsn: str) -> Fingerprint:
    with world.databases.session(dsn, read_only=True) as session:
        return fingerprint(session)


def test_a_restored_copy_of_all_kinds_of_data_is_equal(world, database, copy_of, tmp_path):
    run(world, database, DATA)
    taken = took(world, database, tmp_path / "backup")
    assert {name: one["rows"] for name, one in taken.tables.items()} == TABLES
    copy = copy_of(taken)
    require_equal(taken, held(world, copy))
    require_equal(archive.load(taken.directory), held(world, copy))
    assert held(world, database) == taken.tables


@pytest.mark.parametrize(
    ("damage", "table"),
    [
        ("DELETE FROM without_key WHERE ctid = (SELECT min(ctid) FROM without_key)", "public.without_key"),
        ("INSERT INTO without_key VALUES (1, 'same')", "public.without_key"),
        ("UPDATE kinds SET rough = rough + 1e-15 WHERE id = 7", "public.kinds"),
        ("UPDATE kinds SET raw = raw || '\\x00' WHERE id = 7", "public.kinds"),
        ("UPDATE kinds SET doc = jsonb_set(doc, '{n}', '8.0') WHERE id = 7", "public.kinds"),
        ("UPDATE kinds SET numbers[2] = 0 WHERE id = 7", "public.kinds"),
        ("UPDATE kinds SET at = at + '1 microsecond' WHERE id = 7", "public.kinds"),
        ("UPDATE shadowed SET n = 3 WHERE n = 2", "public.shadowed"),
        ("UPDATE shadowed SET n = 3 WHERE n = 1", "public.shadowed"),
        ("UPDATE parted SET n = 99 WHERE n = 9", "public.parted_rest"),
        ("INSERT INTO empty VALUES (1)", "public.empty"),
        ("UPDATE parent SET id = 3 WHERE id = 2", "public.child"),
        ("DROP TABLE empty", "public.empty"),
        ("CREATE TABLE more AS SELECT 1 AS n", "public.more"),
        ("""UPDATE "Odd schema."."Table ""quoted"".%s" SET "SELECT" = ' ' WHERE "a column" = 1""", "Odd schema"),
    ],
)  # fmt: skip
def test_a_copy_that_lacks_a_row_or_has_another_value_is_not_proven(damage, table, world, database, tmp_path):
    run(world, database, DATA)
    with world.databases.session(database) as session:
        before = fingerprint(session)
    taken = Archive(tmp_path, 0, "", {"tables": before})
    run(world, database, damage)
    with pytest.raises(BackupNotProven) as caught:
        require_equal(taken, held(world, database))
    assert table in str(caught.value)
    assert "1 of 11 tables differ" in str(caught.value)
    assert caught.value.exit_code == 8


@pytest.mark.parametrize("pair", [(1, 2), (3, 4), (5, 96), (50, 51)])
def test_rows_that_swap_their_values_are_noticed(pair, world, database):
    run(
        world,
        database,
        "CREATE TABLE two AS SELECT n, md5(n::text) AS word, n::bigint AS big FROM generate_series(1, 100) n",
    )
    before = held(world, database)
    run(world, database, f"UPDATE two SET word = md5(({sum(pair)} - n)::text) WHERE n IN {pair}")
    assert held(world, database) != before
    run(world, database, f"UPDATE two SET word = md5(n::text), big = {sum(pair)} - n WHERE n IN {pair}")
    assert held(world, database) != before
    run(world, database, f"UPDATE two SET big = n WHERE n IN {pair}")
    assert held(world, database) == before


@pytest.mark.parametrize(
    ("column", "before", "after"),
    [
        ("numeric", "1.0", "1.00"),
        ("float8", "0", "-0"),
        ("interval", "1 day", "24:00:00"),
        ("jsonb", "[1.0]", "[1.00]"),
        ("text[]", "{1}", "[0:0]={1}"),
    ],
)
def test_values_that_count_as_equal_but_are_not_alike_are_told_apart(column, before, after, world, database):
    run(world, database, f"CREATE TABLE alike (value {column}); INSERT INTO alike VALUES ('{before}')")
    first = held(world, database)
    run(world, database, f"UPDATE alike SET value = '{after}'")
    assert held(world, database) != first


def test_a_row_is_hashed_alike_by_every_version_of_the_server(world, open_directory):
    seen: dict[int, Fingerprint] = {}
    for major in (14, 16, 18):
        with world.pg_servers.throwaway(open_directory / str(major), major=major) as server:
            run(world, server.dsn(), f"{DATA}; UPDATE kinds SET at = '2026-02-28', key = md5(id::text)::uuid")
            with world.databases.session(server.dsn()) as session:
                seen[session.server_version // 10000] = fingerprint(session)
    assert len(seen) > 1
    assert len({json.dumps(one, sort_keys=True) for one in seen.values()}) == 1


@pytest.mark.parametrize("column", ["int8", "int4", "text", "date", "bytea", "timestamptz", "numeric"])
def test_a_value_that_is_missing_is_no_other_value(column, world, database):
    run(
        world,
        database,
        f"CREATE TABLE gap (one {column}, two {column}, three int); INSERT INTO gap (three) VALUES (1)",
    )
    seen = [held(world, database)["public.gap"]["hash"]]
    empty = {"text": "''", "bytea": "''", "date": "'epoch'", "timestamptz": "'epoch'"}.get(column, "0")
    for change in (
        f"one = {empty}",
        f"one = NULL, two = {empty}",
        f"one = {empty}",
        "one = NULL, two = NULL, three = 2",
    ):
        run(world, database, f"UPDATE gap SET {change}")
        seen.append(held(world, database)["public.gap"]["hash"])
    assert len(set(seen)) == len(seen)


def test_a_number_and_one_whose_halves_fold_to_the_same_are_told_apart(world, database):
    run(world, database, "CREATE TABLE big (n bigint); INSERT INTO big VALUES (1)")
    first = held(world, database)
    run(world, database, "UPDATE big SET n = 4294967296")
    assert held(world, database) != first


@pytest.mark.parametrize("columns", [200, 201, 1600])
def test_a_row_of_many_columns_is_hashed_too(columns, world, database):
    names = ", ".join(f"c{n} int2" for n in range(columns))
    run(world, database, f"CREATE TABLE wide ({names}); INSERT INTO wide (c0, c{columns - 1}) VALUES (1, 2)")
    first = held(world, database)
    run(world, database, f"UPDATE wide SET c{columns - 1} = 3")
    assert held(world, database)["public.wide"]["hash"] != first["public.wide"]["hash"]


def test_a_backup_whose_rows_were_hashed_as_text_is_still_compared_as_text(world, database):
    run(world, database, "CREATE TABLE item AS SELECT n, n::text AS word FROM generate_series(1, 5) n")
    with world.databases.session(database) as session:
        total = session.value("SELECT sum(hashtextextended((t.*)::text, 0))::text FROM item t")
        earlier = {"public.item": {"rows": 5, "hash": total}}
        assert fingerprint(session, earlier) == earlier
        assert fingerprint(session)["public.item"]["hash"] != total


def test_the_manifest_says_what_was_dumped_and_with_what(world, database, tmp_path):
    run(world, database, "CREATE TABLE item AS SELECT n FROM generate_series(1, 5) n")
    taken = took(world, database, tmp_path / "backup")
    manifest = taken.manifest
    assert manifest["system"] == "shop"
    assert manifest["database"] == world.databases.name_of(database)
    assert set(manifest["tools"]) == {"pg_dump", "pg_restore"}
    assert set(manifest["files"]) == {
        str(path.relative_to(taken.directory)) for path in taken.content.rglob("*") if path.is_file()
    }
    assert taken.size == sum(path.stat().st_size for path in taken.directory.rglob("*") if path.is_file())
    assert len(taken.digest) == 64
    snapshot = manifest["snapshot"]
    assert re.fullmatch(r"[0-9A-F]+-[0-9A-F]+-[0-9]+", snapshot["name"])
    with world.databases.session(database) as session:
        ahead = "SELECT %s::timestamptz <= now() AND %s::pg_lsn <= pg_current_wal_insert_lsn()"
        assert session.value(ahead, (snapshot["at"], snapshot["log"]))
        sees = "SELECT txid_visible_in_snapshot(txid_current(), %s::txid_snapshot)"
        assert session.value(sees, (snapshot["transactions"],)) is False
        password = session.value("SELECT current_setting('port')")
    assert password not in (json.dumps(manifest["tools"]) + json.dumps(manifest["files"]))


def test_a_backup_is_for_its_owner_alone(world, database, tmp_path):
    run(world, database, "CREATE TABLE item AS SELECT 1 AS n")
    taken = took(world, database, tmp_path / "below" / "backup")
    for path in [taken.directory, *taken.directory.rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_a_copy_is_equal_although_production_goes_on_writing(world, database, copy_of, tmp_path):
    run(
        world,
        database,
        "CREATE TABLE item (id bigserial PRIMARY KEY, n int); INSERT INTO item (n) SELECT generate_series(1, 20000)",
    )
    ended = threading.Event()
    written = 0

    def write() -> None:
        nonlocal written
        with world.databases.session(database) as session:
            while not ended.wait(0.001):
                session.execute("INSERT INTO item (n) VALUES (1)")
                session.execute("UPDATE item SET n = n + 1 WHERE id = %s", (1 + written % 20000,))
                session.execute("DELETE FROM item WHERE id = %s", (20000 - written,))
                written += 1

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    try:
        taken = took(world, database, tmp_path / "backup")
    finally:
        ended.set()
        writer.join(10)
    assert written > 3
    require_equal(taken, held(world, copy_of(taken)))
    with pytest.raises(BackupNotProven, match=r"public\.item"):
        require_equal(taken, held(world, database))


def test_rows_that_a_policy_hides_are_an_error_and_not_a_smaller_count(world, pg_server, database, tmp_path):
    role = world.databases.name_of(database) + "_reader"
    run(
        world,
        database,
        "CREATE TABLE item AS SELECT n FROM generate_series(1, 10) n; ALTER TABLE item ENABLE ROW LEVEL SECURITY;"
        f"CREATE POLICY few ON item USING (n < 3); CREATE ROLE {role} LOGIN PASSWORD 'reader';"
        f"GRANT SELECT ON item TO {role}",
    )
    before, _, after = database.partition("://")[2].partition("@")
    assert before
    reader = f"postgresql://{role}:reader@{after}"
    try:
        with world.databases.session(reader) as session:
            assert session.value("SELECT count(*) FROM item") == 2
            with pytest.raises(AccessDenied, match="row-level security"):
                fingerprint(session)
        with pytest.raises(AccessDenied, match="row-level security"):
            took(world, reader, tmp_path / "backup")
        assert list(tmp_path.iterdir()) == [], "nothing is left of a backup that failed"
    finally:
        run(world, database, f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_backup_that_takes_too_long_is_given_up_and_leaves_nothing(world, database, tmp_path):
    run(world, database, "CREATE TABLE item AS SELECT 1 AS n")
    with world.databases.session(database) as other, other.transaction():
        other.execute("LOCK TABLE item IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(TimedOut):
            Dump(jobs=1, timeout=1.0).take(world, database, tmp_path / "backup", {})
    assert list(tmp_path.iterdir()) == []


def test_the_hash_does_not_depend_on_settings_of_database_or_role(world, database):
    run(world, database, DATA)
    before = held(world, database)
    name = world.databases.name_of(database)
    for setting in (
        "TimeZone TO 'Asia/Tokyo'",
        "DateStyle TO 'German'",
        "IntervalStyle TO 'sql_standard'",
        "bytea_output TO 'escape'",
        "extra_float_digits TO 0",
        'search_path TO "Odd schema."',
        "row_security TO on",
    ):
        run(world, database, f"ALTER DATABASE {name} SET {setting}")
    assert held(world, database) == before


def test_changes_are_counted_by_table(world, database):
    run(world, database, "CREATE TABLE item (n int)")
    with world.databases.session(database) as session:
        before = change_counters(session)["public.item"]
        session.execute("INSERT INTO item SELECT generate_series(1, 5)")
        session.execute("UPDATE item SET n = 0 WHERE n < 3")
        session.execute("SELECT pg_stat_force_next_flush()")
        assert change_counters(session)["public.item"] - before == 7


def test_a_disk_that_is_too_small_is_refused_with_figures(world, tmp_path):
    reckoned = require_room(world, tmp_path / "not" / "yet", 1000, 1000)
    assert reckoned["needed"] == 1000
    with pytest.raises(DiskTooSmall) as caught:
        require_room(world, tmp_path, 10**15, 2 * 10**8)
    assert "1000.0 TB for the work and 200.0 MB to spare" in str(caught.value)
    # Other processes write to the same disk, so which figure it is cannot be foretold.
    assert re.search(r"\d+\.\d [MG]B free", str(caught.value))
    assert str(tmp_path) in str(caught.value)
    assert caught.value.exit_code == 6


def test_what_is_needed_on_one_disk_is_added_up(tmp_path):
    needs = [(tmp_path / "not" / "yet", 5), (Path("/proc/none"), 7), (tmp_path, 1)]
    assert by_disk(needs) == {tmp_path / "not" / "yet": 6, Path("/proc/none"): 7}


def test_a_backup_is_named_so_that_names_sort_by_time(world):
    now = world.clock.now()
    # One that is taken again at once, after a kill, does not meet the one before.
    times = [now.replace(year=2026, microsecond=micro) for micro in (0, 1000)] + [now.replace(year=2027)]
    names = [archive.name_for("shop-1", at) for at in times]
    assert names == sorted(set(names))
    assert [archive.release_of(name) for name in names] == ["shop-1"] * 3
