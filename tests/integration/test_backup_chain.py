"""Physical backups that hold only what changed since another, and the chain that they make."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tasks.backups.physical import Physical
from tasks.domain import archive
from tasks.domain.archive import MANIFEST, Archive
from tasks.domain.backup_chain import parent_for
from tasks.domain.errors import BackupNotProven
from tasks.domain.ports import World
from tests.conftest import _open_directory
from tests.flows import SmallSystem
from tests.places import OwnPlace, run
from tests.smallest import smallest_server

KIND = Physical(timeout=60.0, full_every=timedelta(days=7).total_seconds())


@pytest.fixture(scope="module")
def summarizing():
    """A server that summarises its log, with its directory."""
    directory = _open_directory()
    try:
        with smallest_server(directory / "server") as server:
            yield server, directory / "server"
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def production(world, summarizing):
    dsn = summarizing[0].dsn()
    run(world, dsn, "ALTER SYSTEM SET summarize_wal = on")
    run(world, dsn, "SELECT pg_reload_conf()")
    run(
        world,
        dsn,
        "DROP TABLE IF EXISTS item; CREATE TABLE item AS SELECT n, md5(n::text) FROM generate_series(1, 50000) n",
    )
    return dsn


@pytest.fixture
def place(world, open_directory):
    yield OwnPlace(world, open_directory / "scratch")
    world.pg_servers.remove(open_directory / "scratch")


def take(world: World, dsn: str, directory: Path, *proven: Archive, kind: Physical = KIND) -> Archive:
    return kind.take(world, dsn, directory, {"system": "shop"}, [one.directory for one in proven])


def spoil(taken: Archive) -> None:
    path = max((path for path in taken.content.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_chain_is_proven_as_one_and_a_link_that_is_not_what_it_was_breaks_it(world, production, place, tmp_path):
    first = take(world, production, tmp_path / "1")
    assert (KIND.needs(first), first.manifest["whole_because"]) == ((), "there is no proven backup to build upon")
    run(world, production, "UPDATE item SET n = -n WHERE n <= 10")
    second = take(world, production, tmp_path / "2", first)
    run(world, production, "DELETE FROM item WHERE n = 20; CREATE UNLOGGED TABLE passing AS SELECT 1 AS n")
    third = take(world, production, tmp_path / "3", second, first)
    assert (KIND.needs(second), KIND.needs(third)) == (("1",), ("1", "2"))
    tables = (third.content / "base").rglob("*")
    assert sum(path.stat().st_size for path in tables if path.is_file()) < first.size / 4
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    copy = KIND.copy_into(world, third, place)
    run(world, copy, "UPDATE item SET n = 7")  # a copy that shared its files with the chain would spoil it
    run(world, copy, "CHECKPOINT")
    proof = KIND.prove(world, third, KIND.copy_into(world, third, place), production)
    assert proof["tables"]["public.item"]["rows"] == 49_999
    assert proof["tables"]["public.passing"]["rows"] == 1
    assert proof["builds_upon"] == ["1", "2"]
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before

    manifest = tmp_path / "2" / MANIFEST
    text = manifest.read_text()
    manifest.write_text(json.dumps({**json.loads(text), "system": "another"}))
    with pytest.raises(BackupNotProven, match=r"builds upon cannot be used: .*/2: is not the backup that it was"):
        KIND.verify(world, third)
    manifest.write_text(text)
    spoil(first)
    for act in (lambda: KIND.verify(world, third), lambda: KIND.copy_into(world, third, place)):
        with pytest.raises(BackupNotProven, match=r"builds upon cannot be used: .*/1: 1 files are not what was dumped"):
            act()
    whole = take(world, production, tmp_path / "4", third)
    assert KIND.needs(whole) == ()
    assert "/1: 1 files are not what was dumped" in whole.manifest["whole_because"]
    world.host.remove_tree(tmp_path / "1")
    with pytest.raises(BackupNotProven, match=r"expected 1 beside it"):
        KIND.verify(world, third)


def test_where_nothing_can_be_built_upon_the_copy_is_whole_and_says_why(
    world, production, summarizing, place, tmp_path
):
    first = take(world, production, tmp_path / "1")
    manifest = first.manifest
    now = datetime.fromisoformat(manifest["finished_at"])

    def why_not(directory: Path = first.directory, full_every: float = 60.0, **other: str) -> str:
        origin = {**manifest["origin"], **other}
        return parent_for([directory], origin, kind="physical", full_every=full_every, now=now)[1]

    assert why_not() == ""
    assert why_not(system_identifier="1") == why_not(timeline="2") == "1 is of another server or timeline"
    assert why_not(full_every=0.0) == "the last whole one, 1, is old enough for another"
    assert why_not(tmp_path / "none").endswith("cannot be read: No such file or directory")
    elsewhere = shutil.copytree(first.directory, tmp_path / "elsewhere/1")
    assert take(world, production, tmp_path / "2", archive.load(elsewhere)).manifest["whole_because"] == (
        f"the last backup lies in {elsewhere.parent}"
    )
    # The server no longer has what it wrote down of its log.
    for summary in (summarizing[1] / "data/pg_wal/summaries").glob("*.summary"):
        summary.unlink()
    taken = take(world, production, tmp_path / "3", first)
    assert "WAL summaries are required" in taken.manifest["whole_because"]
    assert KIND.needs(taken) == ()
    run(world, production, "ALTER SYSTEM SET summarize_wal = off")
    run(world, production, "SELECT pg_reload_conf()")
    taken = take(world, production, tmp_path / "4", first)
    assert taken.manifest["whole_because"] == "summarize_wal is off"
    KIND.prove(world, taken, KIND.copy_into(world, taken, place), production)


def kept(system: SmallSystem) -> list[str]:
    return sorted(path.name for path in (system.home / "golive/systems/shop/backups").iterdir())


def test_backups_that_another_builds_upon_outlast_their_number(small_system, pg_server, world):
    shop = small_system
    run(world, pg_server.dsn(), "ALTER SYSTEM SET summarize_wal = on")
    run(world, pg_server.dsn(), "SELECT pg_reload_conf()")
    try:
        plan = {"backup.kind": "physical", "backup.keep": 1, "database.scratch": {"place": "embedded"}}
        shop.write({**plan, "backup.full_every": "7d"})
        first, second = (Path(shop.phase("backup", "v1")).name for _ in range(2))
        rows = shop.ledger.evidence.backups("shop")
        assert [row.proof["needs"] for row in rows] == [[first], []]
        assert kept(shop) == [first, second]
        shop.write({**plan, "backup.full_every": "0s"})
        third = Path(shop.phase("backup", "v1")).name
        assert kept(shop) == [third]
    finally:
        run(world, pg_server.dsn(), "ALTER SYSTEM RESET summarize_wal")
        run(world, pg_server.dsn(), "SELECT pg_reload_conf()")
