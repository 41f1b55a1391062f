"""How deep a backup's copy is looked into: damage in its pages and indexes is found, and what cannot be is unknown."""

from __future__ import annotations

import pytest

from tasks.adapters.pg_server import EmbeddedServers
from tasks.backups.dump import Dump
from tasks.backups.physical import Physical
from tasks.domain.errors import BackupNotProven
from tests.places import OwnPlace, run
from tests.stanza import MAJOR, server_programs


@pytest.fixture
def place(world, open_directory):
    yield OwnPlace(world, open_directory / "scratch")
    world.pg_servers.remove(open_directory / "scratch")


def overwrite(world, dsn, taken, relation, at):
    """Write over some bytes of a relation's first page but one, in a backup of the server's files."""
    with world.databases.session(dsn) as session:
        path = taken.content / session.value("SELECT pg_relation_filepath(%s)", (relation,))
    with path.open("r+b") as file:
        file.seek(8192 + at)
        file.write(b"\x55" * 64)


def test_damage_in_an_index_that_no_table_shows_is_found_by_amcheck(world, open_directory, place, tmp_path):
    server_programs()
    with EmbeddedServers().throwaway(open_directory / "production", major=MAJOR) as server:
        dsn = server.dsn()
        run(
            world, dsn, "CREATE TABLE item AS SELECT n FROM generate_series(1, 5000) n; CREATE INDEX item_n ON item (n)"
        )
        kind = Physical(timeout=60.0, depth="amcheck")
        taken = kind.take(world, dsn, tmp_path / "backup", {})
        copy = kind.copy_into(world, taken, place)
        found = kind.examine(world, copy, place)
        assert found["indexes"]["outcome"] == "passed"
        assert found["indexes"]["by"].startswith("pg_amcheck ")
        assert found["pages"]["outcome"] == "unknown"
        assert "production keeps no checksums" in found["pages"]["reason"]
        with world.databases.session(copy) as session:
            assert session.value("SELECT count(*) FROM pg_extension WHERE extname = 'amcheck'") == 0
        overwrite(world, dsn, taken, "item_n", 6000)
        copy = kind.copy_into(world, taken, place)
        with world.databases.session(copy) as session:
            assert session.value("SELECT sum(n) FROM item") == 12_502_500
        with pytest.raises(BackupNotProven, match=r"pg_amcheck found damage in the copy: .*item_n"):
            kind.examine(world, copy, place)


def test_a_page_that_is_not_as_its_checksum_says_is_found_and_a_look_that_cannot_be_had_is_unknown(
    world, database, place, tmp_path
):
    run(world, database, "CREATE TABLE item AS SELECT n FROM generate_series(1, 5000) n")
    kind = Physical(timeout=60.0, depth="amcheck")
    taken = kind.take(world, database, tmp_path / "backup", {})
    copy = kind.copy_into(world, taken, place)
    found = kind.examine(world, copy, place)
    assert found["pages"] == {"outcome": "passed", "by": "pg_checksums"}
    assert found["indexes"]["outcome"] == "unknown"
    assert "does not have the extension amcheck" in found["indexes"]["reason"]
    with world.databases.session(copy) as session:
        assert session.value("SELECT count(*) FROM item") == 5000
    found = Dump(depth="checksums").examine(world, copy, place)
    assert found["pages"]["outcome"] == "unknown"
    assert "restored from a dump" in found["pages"]["reason"]
    assert Dump().examine(world, copy, place) == {"depth": "content"}
    overwrite(world, database, taken, "item", 6000)
    copy = kind.copy_into(world, taken, place)
    with pytest.raises(BackupNotProven, match=r"pg_checksums found damage in the copy: .*Bad checksums: +1"):
        Physical(timeout=60.0, depth="checksums").examine(world, copy, place)
