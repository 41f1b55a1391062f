"""A proven backup goes into any database, which stays as it was unless all goes well; drills find what went bad."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks import destination, drill, proving
from tasks.adapters.host import LocalHost
from tasks.adapters.postgres import Postgres
from tasks.destination import production_of
from tasks.domain import archive
from tasks.domain.errors import BackupNotProven, ChecksFailed, DiskTooSmall, Inconclusive, NotFound, Refused, UserError
from tasks.domain.fingerprint import fingerprint
from tasks.domain.ports import RunningServer
from tasks.settings import Settings
from tests.flows import SmallSystem, a_running_system, wait_until
from tests.systems import run

pytestmark = pytest.mark.timeout(300)
NAMES = ["F2X_NeuroHub", 'два слова; and a " quote']


@pytest.fixture(scope="module")
def with_backup(pg_server: RunningServer, prefect_server: str) -> Iterator[SmallSystem]:
    """A system that v1 serves and of which there is one proven backup, with id 1."""
    with a_running_system(pg_server) as system:
        system.phase("backup", "v1")
        yield system


@pytest.fixture
def shop(with_backup: SmallSystem) -> Iterator[SmallSystem]:
    with with_backup.in_environment():
        yield with_backup


@pytest.fixture
def target(shop: SmallSystem, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The DSN of a database that is not there, by a name as people give them; the variable TARGET holds it."""
    name = f"{getattr(request, 'param', NAMES[0])} {secrets.token_hex(3)}"
    dsn = Postgres().with_database(shop.dsn, name)
    monkeypatch.setenv("TARGET", dsn)
    yield dsn
    begins = name.encode()[:30].decode(errors="ignore")
    for row in shop.sql("SELECT datname FROM pg_database"):
        if row["datname"].startswith(begins):
            shop.sql(f"DROP DATABASE {quoted(row['datname'])} WITH (FORCE)")


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def make(shop: SmallSystem, dsn: str, *statements: str) -> None:
    shop.sql(f"CREATE DATABASE {quoted(Postgres().name_of(dsn))}")
    for statement in statements:
        shop.sql(statement, dsn)


def content(dsn: str) -> Any:
    with Postgres().session(dsn) as session:
        return fingerprint(session)


def databases(shop: SmallSystem) -> set[str]:
    return {row["datname"] for row in shop.sql("SELECT datname FROM pg_database")}


def restore(backup: int, to: str = "${env:TARGET}", **given: Any) -> str:
    from flows.restore import restore

    return str(run(restore(str(backup), to, **given)))


def backup_id(shop: SmallSystem) -> int:
    """The id of the system's own backup."""
    return int(shop.ledger.evidence.backups("shop")[-1].id)


@pytest.mark.parametrize("target", NAMES, indirect=True)
def test_a_backup_makes_a_database_and_replaces_one_only_if_told_and_after_a_safety_backup(shop, target):
    number, proven = backup_id(shop), content(shop.dsn)
    said = restore(number, started_by="ann")
    assert content(target) == proven
    assert said == f"backup {number} is restored into {Postgres().name_of(target)}, 2 tables compared"
    row = shop.latest()
    assert (row.scope, row.state, row.started_by, row.mutation_started_at) == ("restore", "done", "ann", None)

    shop.sql("UPDATE item SET name = 'changed here' WHERE id < 10", target)
    changed = content(target)
    with pytest.raises(Refused, match=r"is not empty: it holds .*--replace"):
        restore(number)
    assert content(target) == changed

    name = Postgres().name_of(target)
    before = databases(shop)
    said = restore(number, replace=True)
    assert content(target) == proven
    safety = shop.ledger.evidence.backup_of(shop.latest().id)
    assert f"safety backup {safety.id}: {safety.location}" in said
    assert safety.proof["tables"] == changed
    (aside,) = databases(shop) - before
    assert f"kept aside as {aside}" in said
    assert aside.startswith(name.encode()[:20].decode(errors="ignore"))
    assert content(Postgres().with_database(target, aside)) == changed
    shop.no_scratch_is_left()
    # It is of another database, and must not pass for production's newest one.
    newest = proving.newest_backup(shop.ledger, "shop")
    assert newest is not None
    assert newest.id == number


def test_a_destination_whose_disk_has_too_little_room_is_not_even_made(shop, target, monkeypatch):
    before = databases(shop)
    monkeypatch.setattr(LocalHost, "disk_free", lambda *_given: 1_000_000)
    with pytest.raises(DiskTooSmall) as caught:
        restore(backup_id(shop))
    assert caught.value.where == shop.sql("SHOW data_directory")[0]["data_directory"]
    assert "1.0 MB to spare" in caught.value.expected
    assert databases(shop) == before


def test_an_empty_database_is_filled_with_its_owner_and_settings_kept(shop, target):
    role = f"owner_{secrets.token_hex(4)}"
    make(shop, target)
    name = quoted(Postgres().name_of(target))
    shop.sql(f"CREATE ROLE {role}")
    shop.sql(f"ALTER DATABASE {name} OWNER TO {role}")
    shop.sql(f"ALTER DATABASE {name} SET work_mem TO '7MB'")
    before = databases(shop)
    try:
        said = restore(backup_id(shop))
        assert "aside" not in said
        assert "safety" not in said
        assert databases(shop) == before
        assert content(target) == content(shop.dsn)
        assert shop.sql("SELECT current_setting('work_mem') AS held", target) == [{"held": "7MB"}]
        owner = "SELECT pg_get_userbyid(datdba) AS who FROM pg_database WHERE datname = current_database()"
        assert shop.sql(owner, target) == [{"who": role}]
    finally:
        shop.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        shop.sql(f"DROP ROLE {role}")


def test_a_database_that_others_use_is_refused_with_who_they_are_even_in_the_last_moment(shop, target, monkeypatch):
    from tasks.backups.dump import Dump

    make(shop, target, "CREATE SEQUENCE mine")
    before = databases(shop)
    with Postgres().session(target, application="payroll") as other:
        with pytest.raises(Refused, match=r"is in use by payroll \(\w+"):
            restore(backup_id(shop), replace=True)
        other.query("SELECT 1")
    put_back, late = Dump.put_back, Postgres()

    def put_back_while_somebody_comes(*given: Any) -> None:
        put_back(*given)
        manager = late.session(target, application="came late")
        held.append(manager)
        manager.__enter__()

    held: list[Any] = []
    monkeypatch.setattr(Dump, "put_back", put_back_while_somebody_comes)
    with pytest.raises(Refused, match=r"is in use by came late"):
        restore(backup_id(shop), replace=True)
    held[0].__exit__(None, None, None)
    assert databases(shop) == before
    assert shop.sql("SELECT last_value FROM mine", target) == [{"last_value": 1}]
    assert shop.latest().state == "stopped"


def test_what_may_not_be_a_destination_is_refused_before_anything_is_on_record(shop, monkeypatch):
    number, newest = backup_id(shop), shop.latest().id
    # Another name for the same server must not hide that it is production.
    monkeypatch.setenv("TARGET", shop.dsn + "?application_name=elsewhere")
    claim = shop.ledger.releases.open(opening(shop))
    try:
        with pytest.raises(Refused, match=f"production of shop, which has the active release {claim.id}") as caught:
            restore(number, replace=True)
        assert f"golive rollback shop --release {claim.id}" in caught.value.do
        with pytest.raises(Refused, match="production of shop"):
            restore(number, "shop", replace=True)
        monkeypatch.setenv("TARGET", shop.ledger_url)
        monkeypatch.setenv("GOLIVE_LEDGER_URL", shop.ledger_url)
        with pytest.raises(Refused, match="golive's own ledger"):
            restore(number, replace=True)
    finally:
        shop.sql_in_ledger(
            "UPDATE release SET state = 'stopped', ended_at = now() WHERE id = %s RETURNING id", [claim.id]
        )
    with pytest.raises(NotFound, match="no backup 999999"):
        restore(999999)
    assert shop.latest().id in {newest, claim.id}
    monkeypatch.setenv("TARGET", Postgres().with_database(shop.dsn, "postgres"))
    with pytest.raises(Refused, match="belongs to the server itself"):
        restore(number)
    monkeypatch.setenv("TARGET", Postgres().with_database(shop.dsn, "б" * 32))
    with pytest.raises(UserError, match="has 64 bytes"):
        restore(number)
    for plain in (shop.dsn, "host=127.0.0.1 dbname=x", "${env:A} ", "../shop"):
        with pytest.raises(UserError) as refused:
            destination.reference_of(None, plain)  # type: ignore[arg-type]
        assert plain not in str(refused.value)


def opening(shop: SmallSystem) -> Any:
    from tasks.ledger.releases import Opening

    path = shop.home / "systems" / "shop" / "release.yaml"
    return Opening(
        id=f"shop-active-{secrets.token_hex(2)}", system="shop", version="v2", scope="release", mutates=True,
        started_by="ann", reason="", file=str(path), file_text=path.read_text(),
    )  # fmt: skip


def test_production_without_a_release_can_be_restored_by_its_systems_name(shop):
    kept = content(shop.dsn)
    shop.sql("DELETE FROM note")
    said = restore(backup_id(shop), "shop", replace=True)
    try:
        assert content(shop.dsn) == kept
    finally:
        aside = said.rpartition("kept aside as ")[2]
        shop.sql(f"DROP DATABASE {quoted(aside)}")
    row = shop.latest()
    assert (row.system, row.mutates, row.state) == ("shop", True, "done")


def test_a_role_that_the_server_lacks_is_told_with_how_to_make_it(shop, target, world):
    dsn = Postgres().with_database(shop.dsn, "none")
    with pytest.raises(Refused, match=r'lacks the roles Of "x".*CREATE ROLE "Of ""x"""') as caught:
        destination.require_roles(world, dsn, ["postgres", 'Of "x"'][1:])
    assert "make them there first" in caught.value.do


KILLED = """
import asyncio, pathlib, sys, time
from tasks.backups.dump import Dump
from tasks import restoring

flag = pathlib.Path(sys.argv[2])

def stop(*given):
    flag.touch()
    time.sleep(120)

if sys.argv[3] == "restored":
    put_back = Dump.put_back
    Dump.put_back = lambda *given: (put_back(*given), stop())
else:
    from tasks.adapters.postgres import PostgresSession
    execute = PostgresSession.execute
    def executed(self, sql, params=()):
        if "RENAME TO" in sql and "golive_incoming" in sql:
            stop()
        return execute(self, sql, params)
    PostgresSession.execute = executed

from flows.restore import restore
asyncio.run(restore(sys.argv[1], "${env:TARGET}", True))
"""


def test_a_restore_that_is_killed_leaves_the_database_as_it_was_and_the_next_one_clears_up(shop, target, tmp_path):
    make(shop, target, "CREATE TABLE mine AS SELECT 7 AS n")
    before, kept = databases(shop), content(target)
    for moment in ("restored", "half exchanged"):
        flag = tmp_path / moment
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(backup_id(shop)), str(flag), moment],
            env=dict(os.environ),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until(lambda: flag.exists() or process.poll() is not None, 120)  # noqa: B023
            assert process.poll() is None
        finally:
            process.kill()
            process.wait(10)
        assert content(target) == kept
        assert shop.latest().state == "running"
    left = {name for name in databases(shop) - before if name.startswith("golive_incoming")}
    assert left
    restore(backup_id(shop), replace=True)
    assert content(target) == content(shop.dsn)
    assert not left & databases(shop)
    from tasks.release import stop_by_person

    for row in shop.ledger.releases.latest("shop", 10):
        if row.state == "running":
            stop_by_person(row.id, person_name="ann", reason="its process was killed")
    shop.no_scratch_is_left()


def damaged(shop: SmallSystem, number: int) -> tuple[Path, bytes]:
    location = Path(shop.ledger.evidence.backup(number).location)
    victim = max((path for path in location.rglob("*.dat*") if path.is_file()), key=lambda path: path.stat().st_size)
    good = victim.read_bytes()
    victim.write_bytes(good[:-3] + bytes([good[-3] ^ 1]) + good[-2:])
    return victim, good


def test_a_damaged_backup_goes_nowhere_and_a_drill_finds_it_and_tells(shop, target):
    from flows.restore_drill import restore_drill

    number = backup_id(shop)
    make(shop, target, "CREATE TABLE mine AS SELECT 7 AS n")
    assert f"shop: backup {number} of " in run(restore_drill())
    row = shop.latest()
    assert (row.scope, row.state) == ("restore-drill", "done")
    assert shop.ledger.outbox.messages(row.id) == []
    before, kept = databases(shop), content(target)
    victim, good = damaged(shop, number)
    try:
        with pytest.raises(BackupNotProven, match="1 files are not what was dumped"):
            restore(number, replace=True)
        assert (databases(shop), content(target)) == (before, kept)
        # A system whose file is broken does not keep the others from being drilled.
        other = shop.home / "systems" / "ledger-less"
        other.mkdir()
        (other / "release.yaml").write_text("system: [")
        with pytest.raises(ChecksFailed, match=r"2 of 2 drills did not pass: ledger-less: .*shop: .*is not proven"):
            run(restore_drill())
        (other / "release.yaml").unlink()
        other.rmdir()
    finally:
        victim.write_bytes(good)
    row = shop.latest()
    assert (row.scope, row.state) == ("restore-drill", "stopped")
    (own,) = [one for one in shop.ledger.outbox.messages(row.id) if "ledger-less" not in one.text]
    assert own.kind == "alert"
    assert "the restore drill has failed: backup" in own.text
    # Of the system that was never on record, those hear who are told of what was at work last: this drill or what came
    # before it, as the two drills happen to overtake one another.
    beside = [one for last in shop.ledger.releases.latest(limit=2) for one in shop.ledger.outbox.messages(last.id)]
    assert [one.kind for one in beside if "ledger-less" in one.text] == ["alert"]
    assert shop.ledger.evidence.drills()[number].outcome == "failed"
    # Production's present content has no part in it.
    shop.sql("CREATE TABLE later AS SELECT 1 AS n")
    try:
        said = run(restore_drill("shop"))
    finally:
        shop.sql("DROP TABLE later")
    assert "rows as proven" in said
    assert shop.ledger.evidence.drills()[number].outcome == "passed"
    shop.no_scratch_is_left()


def test_a_drill_that_a_broken_release_file_keeps_from_beginning_is_told_all_the_same(shop):
    from flows.restore_drill import restore_drill

    last = shop.latest().id
    before = len(shop.ledger.outbox.messages(last))
    broken = shop.home / "systems" / "never-seen"
    broken.mkdir()
    (broken / "release.yaml").write_text("system: [")
    try:
        with pytest.raises(Inconclusive, match="not YAML"):
            run(restore_drill("never-seen"))
    finally:
        (broken / "release.yaml").unlink()
        broken.rmdir()
    (alert,) = shop.ledger.outbox.messages(last)[before:]
    assert alert.kind == "alert"
    assert "the restore drill has come to nothing: never-seen: " in alert.text


def test_a_ledger_of_golives_own_server_is_no_destination_either(shop, world):
    embedded = Settings(home=shop.home / "golive", systems=shop.home / "systems", ledger_url=None)
    with pytest.raises(Refused, match="golive's own ledger"):
        production_of(world, embedded, shop.ledger, shop.ledger_url + "?application_name=elsewhere")


def test_a_copy_of_the_servers_files_is_drilled_and_restored_against_its_first_proof(shop, target, world):
    """What production's counters say by now explains nothing away: only the record of the first proof counts."""
    plain = dict(shop.file)
    shop.write(
        {
            "backup": {"kind": "physical", "headroom": "1MB", "timeout": "60s"},
            "database": {**plain["database"], "scratch": {"place": "embedded"}},
        }
    )
    try:
        shop.phase("backup", "v1")
        one = shop.ledger.evidence.backups("shop")[0]
        proven = content(shop.dsn)
        shop.sql("UPDATE item SET name = name || '.'")
        seen = drill.drill.fn("shop", 86400.0, "")
        assert (seen.outcome, f"backup {one.id} of " in seen.seen) == ("passed", True)
        restore(one.id)
        assert content(target) == proven
        taken = archive.load(Path(one.location))
        shop.sql("DELETE FROM note WHERE id = 1", target)
        with pytest.raises(BackupNotProven, match=r"public\.note: 100 rows .* 99 rows"):
            proving.require_as_proven(world, one, taken, target)
    finally:
        shop.sql("UPDATE item SET name = rtrim(name, '.')")
        shop.file = plain
        shop.write()
    shop.no_scratch_is_left()


def test_a_drill_fails_where_the_newest_backup_is_too_old_or_there_is_none(shop, monkeypatch):
    from tasks.ledger.evidence import Evidence

    later = shop.ledger.evidence.now() + timedelta(days=9)
    with monkeypatch.context() as patched:
        patched.setattr(Evidence, "now", lambda _: later)
        seen = drill.drill.fn("shop", 8 * 86400.0, "")
    assert seen.outcome == "failed"
    assert "9 d" in seen.seen or "216 h" in seen.seen
    assert "rows as proven" in seen.seen
    with monkeypatch.context() as patched:
        patched.setattr(Evidence, "backups", lambda *_: [])
        seen = drill.drill.fn("shop", 8 * 86400.0, "")
    assert (seen.outcome, seen.seen) == ("failed", "it has no backup: take one with golive backup")
    assert [one.kind for one in shop.ledger.outbox.messages(shop.latest().id)] == ["alert"]
    shop.no_scratch_is_left()
