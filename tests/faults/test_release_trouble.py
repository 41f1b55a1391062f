"""What a release does when something is wrong: it stops before production, or takes production back, and says why."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from tasks.adapters.postgres import Postgres
from tasks.domain.errors import (
    AccessDenied,
    ActiveRelease,
    BackupNotProven,
    ChecksFailed,
    DiskTooSmall,
    GoliveError,
    InvalidVersion,
    LedgerUnreachable,
    LockNotGranted,
    NotFound,
    Refused,
    RehearsalFailed,
    RolloutFailed,
    SecretMissing,
    SqlFailed,
    TimedOut,
    UnknownSystem,
    Unreachable,
    WindowClosed,
)
from tests.flows import GROW, ON_NAME, SmallSystem
from tests.services import free_port
from tests.small_service import service_text
from tests.systems import run

_numbers = iter(range(1000))


def a_version(shop: SmallSystem, **given: Any) -> str:
    """Make a version of a name that no other test uses, with a migration on which v1 runs."""
    version = f"v2.{next(_numbers)}"
    shop.add_version(
        version, **{"up": {"1_grow": GROW}, "down": {"1_grow": "ALTER TABLE item DROP COLUMN colour;\n"}, **given}
    )
    return version


def stopped(shop: SmallSystem, kind: type[GoliveError], *words: str, code: int, version: str) -> GoliveError:
    """Release a version that must be stopped by an error of a kind, before production is touched."""
    with shop.untouched(), pytest.raises(kind) as caught:
        shop.release(version, started_by="ann")
    row = shop.latest()
    assert (row.version, row.state, row.mutation_started_at) == (version, "stopped", None)
    assert_tells(caught.value, *words, code=code)
    for word in words:
        assert word in shop.notes(row.id)
    assert not [step for step in shop.steps(row.id) if step[0] in {"migrate", "deploy"} and step[2] == "started"]
    return caught.value


def assert_tells(error: GoliveError, *words: str, code: int) -> None:
    assert error.exit_code == code
    assert error.do, f"no advice in {error}"
    for word in words:
        assert word in str(error)


# -- before anything is on record -------------------------------------------------------------------------------------


def test_an_unknown_system_is_refused_with_the_nearest_name(shop):
    from flows.release import release

    count = len(shop.ledger.releases.latest(limit=1000))
    with pytest.raises(UnknownSystem) as caught:
        run(release("shopp", "v1"))
    assert_tells(caught.value, "did you mean shop?", code=2)
    assert len(shop.ledger.releases.latest(limit=1000)) == count


@pytest.mark.parametrize("version", ["v1..2", "v17"])
def test_a_version_that_is_none_or_not_in_the_source_is_refused_before_anything_is_on_record(shop, version):
    count = len(shop.ledger.releases.latest(limit=1000))
    with shop.untouched(), pytest.raises(InvalidVersion) as caught:
        shop.release(version)
    assert_tells(caught.value, version, code=2)
    assert len(shop.ledger.releases.latest(limit=1000)) == count


def test_a_version_that_could_reach_a_shell_does_not_pass_the_form(shop):
    from prefect.exceptions import ParameterTypeError

    from flows.release import release

    with pytest.raises(ParameterTypeError, match="version"):
        run(release(shop.name, "v1; rm -rf /"))


def test_a_missing_secret_is_named(shop):
    os.environ.pop("SHOP_DSN")
    with pytest.raises(SecretMissing) as caught:
        shop.release("v1")
    assert_tells(caught.value, "SHOP_DSN", "is not set", code=2)


def test_without_its_ledger_nothing_begins(shop):
    os.environ["GOLIVE_LEDGER_URL"] = f"postgresql://nobody:hidden-word@127.0.0.1:{free_port()}/ledger"
    with pytest.raises(LedgerUnreachable) as caught:
        shop.release(a_version(shop))
    assert_tells(caught.value, "the ledger does not answer", "nothing was changed", code=7)
    assert "hidden-word" not in str(caught.value)
    assert shop.serving() == "v1"


def test_of_several_releases_at_the_same_time_one_begins(shop):
    from tasks.domain.release import State
    from tasks.driving import advance, open_release

    version, claims, refused = a_version(shop), [], []

    def begin() -> None:
        try:
            claims.append(
                open_release("shop", version, scope="release", mutates=True, started_by="ann", reason="a race")
            )
        except ActiveRelease as error:
            refused.append(error)

    racing = [threading.Thread(target=begin) for _ in range(6)]
    for thread in racing:
        thread.start()
    for thread in racing:
        thread.join()
    assert (len(claims), len(refused)) == (1, 5)
    with shop.untouched(), pytest.raises(ActiveRelease) as caught:
        shop.release(version)
    assert_tells(caught.value, claims[0].release_id, "golive status", code=3)
    advance(claims[0], State.STOPPED, "the test is over")


# -- preflight --------------------------------------------------------------------------------------------------------


def test_an_unreachable_database_stops_the_release(shop):
    port = free_port()
    os.environ["SHOP_DSN"] = f"postgresql://golive:hidden-word@127.0.0.1:{port}/shop"
    error = stopped(shop, Unreachable, f"127.0.0.1:{port}", code=6, version=a_version(shop))
    assert "hidden-word" not in str(error) + shop.notes()


def test_a_wrong_password_stops_the_release_and_is_not_shown(shop):
    role = f"app_{os.urandom(4).hex()}"
    shop.sql(f"CREATE ROLE {role} LOGIN PASSWORD 'right-word'")
    _, _, place = shop.dsn.rpartition("@")
    os.environ["SHOP_DSN"] = f"postgresql://{role}:wrong-word@{place}"
    error = stopped(shop, AccessDenied, "password", code=6, version=a_version(shop))
    assert "wrong-word" not in str(error) + shop.notes()
    shop.sql(f"DROP ROLE {role}")


def test_a_disk_without_room_stops_the_release_and_a_backup_alone(shop):
    shop.write({"backup.headroom": "900 TB"})
    stopped(shop, ChecksFailed, "there is room", code=4, version=a_version(shop))
    with shop.untouched(), pytest.raises(DiskTooSmall) as caught:
        shop.phase("backup", "v1")
    assert_tells(caught.value, "900", code=6)


def test_a_release_outside_the_window_is_refused_with_the_next_opening(shop):
    from datetime import UTC, datetime, timedelta

    day = f"{datetime.now(UTC) + timedelta(days=2):%a}".lower()
    shop.write({"window": {"days": [day], "between": "02:00-05:00", "timezone": "UTC"}})
    opening = f"{datetime.now(UTC) + timedelta(days=2):%Y-%m-%d} 02:00 UTC"
    stopped(shop, WindowClosed, opening, code=3, version=a_version(shop))
    for phase in ("migrate", "deploy"):
        with shop.untouched(), pytest.raises(WindowClosed):
            shop.phase(phase, "v1")
        assert shop.latest().state == "stopped"


def test_a_foreign_process_on_a_port_of_the_rollout_stops_the_release(shop):
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        port = foreign.getsockname()[1]
        shop.write(
            {
                "rollout": {"kind": "blue_green", "ports": [free_port(), port]},
                "router": {"kind": "embedded", "listen": free_port()},
            }
        )
        with pytest.raises(RolloutFailed) as caught:
            shop.phase("preflight", "v1")
    assert_tells(caught.value, str(port), "golive did not start", code=10)


# -- backup and rehearsal ---------------------------------------------------------------------------------------------


def back_up(shop: SmallSystem, *, meanwhile: Any = None, before_comparing: Any = None) -> None:
    """Make the steps of a backup, with something done to the dump, or to the copy's database, in between."""
    from tasks.backup import compare_copy, restore_copy, scratch_cleared, take_backup
    from tasks.context import context_of
    from tasks.driving import operation
    from tasks.scratch import Scratch

    with operation("backup", "shop", "v1") as claim, scratch_cleared(claim):
        location = take_backup.fn(claim)
        if meanwhile is not None:
            meanwhile(Path(location))
        restore_copy.fn(claim, location)
        if before_comparing is not None:
            before_comparing(Scratch(context_of(claim)).dsn("restored"))
        compare_copy.fn(claim, location)


@pytest.mark.parametrize("harm", ["changed", "replaced", "sums_made_to_agree"])
def test_a_dump_that_is_harmed_before_its_restore_is_not_proven(shop, harm):
    words = []

    def do_harm(location: Path) -> None:
        largest = max((location / "dump").iterdir(), key=lambda path: path.stat().st_size)
        manifest = json.loads((location / "manifest.json").read_text())
        content = largest.read_bytes()
        match harm:
            case "changed":
                largest.write_bytes(bytes([content[0] ^ 1]) + content[1:])
                words.append(largest.name)
            case "replaced":
                (location / "manifest.json").write_text(json.dumps(manifest | {"release": "shop-of-last-year"}))
                words.append("not the backup that is on record")
            case "sums_made_to_agree":
                largest.write_bytes(content[: len(content) // 2])
                manifest["files"][f"dump/{largest.name}"] = hashlib.sha256(largest.read_bytes()).hexdigest()
                (location / "manifest.json").write_text(json.dumps(manifest))
                words.append("not the backup that is on record")

    with shop.untouched(), pytest.raises(BackupNotProven) as caught:
        back_up(shop, meanwhile=do_harm)
    assert_tells(caught.value, *words, code=8)
    row = shop.latest()
    assert row.state == "stopped"
    assert shop.ledger.evidence.backup_of(row.id) is None


def test_a_restored_copy_that_differs_is_not_proven(shop):
    def spoil(copy: str) -> None:
        shop.sql("UPDATE item SET price = price + 1 WHERE id = 7", copy)

    with shop.untouched(), pytest.raises(BackupNotProven) as caught:
        back_up(shop, before_comparing=spoil)
    assert_tells(caught.value, "public.item", "500 rows", code=8)
    assert shop.ledger.evidence.backup_of(shop.latest().id) is None


def test_a_migration_with_a_syntax_error_is_found_in_rehearsal(shop):
    version = a_version(shop, up={"1_bad": "SELECT 1;\nALTER TABEL item ADD COLUMN x int;\n"})
    stopped(shop, SqlFailed, "migrations/1_bad_up.sql:2", "42601", code=6, version=version)


def test_a_migration_that_takes_too_long_is_found_in_rehearsal_once(shop):
    shop.write({"migration.limits.duration": "500ms"})
    version = a_version(shop, up={"1_slow": "SELECT pg_sleep(30);\n"})
    stopped(shop, TimedOut, "migrations/1_slow_up.sql:1", code=6, version=version)
    tries = [step for step in shop.steps() if step[1] == "migrate the copy up, down and up" and step[2] == "started"]
    assert len(tries) == 1


def test_a_migration_that_locks_a_table_for_too_long_is_found_in_rehearsal(shop):
    shop.write({"migration.limits.lock": "200ms"})
    version = a_version(shop, up={"1_hog": GROW + "SELECT pg_sleep(0.5);\n"})
    stopped(shop, RehearsalFailed, "public.item", "AccessExclusiveLock", code=9, version=version)


@pytest.mark.parametrize(
    ("fault", "kind", "code", "word"),
    [
        ("exit", RolloutFailed, 10, "is not to my liking"),
        ("never_ready", RolloutFailed, 10, "status 503"),
        ("items", ChecksFailed, 4, "items can be read"),
    ],
)
def test_a_version_that_does_not_hold_is_found_in_rehearsal(shop, fault, kind, code, word):
    shop.write({"rollout.ready.within": "2s"})
    error = stopped(shop, kind, word, code=code, version=a_version(shop, fault=fault))
    password = shop.dsn.partition("@")[0].rpartition(":")[2]
    assert password not in str(error) + shop.notes()


def test_a_version_that_never_served_is_built_anew_where_its_source_says_otherwise_now(shop):
    version = a_version(shop, fault="exit")
    stopped(shop, RolloutFailed, "is not to my liking", code=10, version=version)
    shop.write({"rollout.ready.within": "2s"})
    (shop.home / "versions" / version / "service.py").write_text(service_text(version, ON_NAME, "never_ready", ""))
    stopped(shop, RolloutFailed, "status 503", code=10, version=version)


# -- go / no-go -------------------------------------------------------------------------------------------------------


def test_a_release_waits_for_those_who_sign_and_one_no_ends_it(shop):
    shop.write({"sign_off": {"go": ["dba", "technical_lead"], "starter_may_sign": False}})
    version = a_version(shop)
    with shop.untouched():
        said = shop.release(version, started_by="ann")
        row = shop.latest()
        assert said == f"{row.id} awaits the signature of dba, the signature of technical_lead"
        assert (row.state, row.mutation_started_at) == ("awaiting_go", None)
        with pytest.raises(NotFound) as unknown:
            shop.approve(row.id, "janitor", "bob")
        assert_tells(unknown.value, "janitor", "dba, technical_lead", code=2)
        for name in ("ann", " Ann "):
            with pytest.raises(Refused) as own:
                shop.approve(row.id, "dba", name)
            assert_tells(own.value, "another person's signature", code=3)
        assert shop.approve(row.id, "dba", "bob") == f"{row.id} still awaits technical_lead"
        with pytest.raises(Refused) as no:
            shop.approve(row.id, "technical_lead", "eve", decision="reject", reason="not on a Friday")
        assert_tells(no.value, "eve (technical_lead) said no: not on a Friday", code=3)
    assert shop.latest().state == "stopped"
    assert "not on a Friday" in shop.notes()
    with pytest.raises(Refused) as over:
        shop.approve(row.id, "technical_lead", "eve")
    assert_tells(over.value, "is stopped", code=3)


def test_a_migration_changed_after_its_rehearsal_is_not_run(shop):
    shop.write({"sign_off": {"go": ["dba"]}})
    version = a_version(shop)
    with shop.untouched():
        shop.release(version)
        row = shop.latest()
        placed = shop.home / "golive" / "systems" / "shop" / "releases" / version / "migrations" / "1_grow_up.sql"
        placed.write_text("DROP TABLE note;\n")
        with pytest.raises(RehearsalFailed) as caught:
            shop.approve(row.id, "dba", "bob")
        assert_tells(caught.value, "changed after its rehearsal", code=9)
    row = shop.latest()
    assert (row.state, row.mutation_started_at) == ("stopped", None)


def test_a_signed_release_waits_for_the_window(shop):
    from datetime import UTC, datetime, timedelta

    from tasks.domain.release import State
    from tasks.driving import advance, join

    shop.write({"sign_off": {"go": ["dba"]}})
    shop.release(a_version(shop))
    row = shop.latest()
    # The file counts as it was when the release began, so the closed window is put into the record.
    day = f"{datetime.now(UTC) + timedelta(days=2):%a}".lower()
    shop.write({"window": {"days": [day]}})
    text = (shop.home / "systems" / "shop" / "release.yaml").read_text()
    shop.sql_in_ledger("UPDATE release SET file_text = %s WHERE id = %s", (text, row.id))
    with shop.untouched():
        said = shop.approve(row.id, "dba", "bob")
        assert said.startswith(f"{row.id} awaits the change window (it opens ")
        assert shop.latest().state == "awaiting_go"
    advance(join(row.id), State.STOPPED, "the test is over")


# -- in production ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [False, True], ids=["beside what serves", "after what serves was stopped"])
def test_a_migration_that_gets_no_lock_on_production_leaves_it_as_it_was_within_its_budget(shop, stop):
    # So that the reader's transaction does not count as long.
    shop.write({"migration.limits.lock": "60s", "migration.stop": stop})
    version = a_version(shop)
    with (
        shop.untouched(),
        Postgres().session(shop.dsn) as reader,
        reader.transaction(),
    ):
        reader.query("SELECT count(*) FROM item")
        with pytest.raises(LockNotGranted) as caught:
            shop.release(version)
    assert_tells(caught.value, "migrations/1_grow_up.sql:1", "3 tries", code=6)
    row = shop.latest()
    assert row.state == "rolled_back"
    roots = [one.text for one in shop.ledger.outbox.messages(row.id) if "rolling back (" in one.text]
    assert "✓ rehearse ✓ go / no-go ✗ migrate · deploy" in roots[0], "the root says how far it came"
    assert row.mutation_started_at is not None
    took = [one.took for one in shop.ledger.releases.steps(row.id) if one.name == "migrate production" and one.took]
    assert len(took) == 1
    assert took[0] < 5
    assert (("migrate", "stop the old version", "done") in shop.steps(row.id)) is stop
    # Nothing of it ever was in production, so nothing is known against the version.
    assert shop.ledger.releases.blocked("shop", version) is None


def test_what_serves_is_stopped_before_the_schema_changes_where_the_file_asks_for_it(shop):
    shop.write({"migration.stop": True})
    version = a_version(shop, fault="in_production")
    with pytest.raises(ChecksFailed):
        shop.release(version)
    steps = shop.steps()
    stopped, migrated = ("migrate", "stop the old version", "done"), ("migrate", "migrate production", "started")
    assert steps.index(stopped) < steps.index(migrated)
    ended = shop.ledger.releases.steps(shop.latest().id)
    (down,) = [one for one in ended if (one.phase, one.name, one.event) == stopped]
    assert down.detail["stopped"] == ["v1"]
    assert shop.serving() == "v1"
    shop.sql("ALTER TABLE item DROP COLUMN colour")
    shop.sql("DROP TABLE golive_migrations")


def test_a_version_that_breaks_in_production_only_is_taken_back_and_blocked(shop):
    version = a_version(shop, fault="in_production")
    notes = shop.sql("SELECT count(*) AS n FROM note")
    with pytest.raises(ChecksFailed) as caught:
        shop.release(version, reason="to be sold more")
    assert_tells(caught.value, "items can be read", "500", code=4)
    row = shop.latest()
    assert (row.state, row.previous_version) == ("rolled_back", "v1")
    assert row.automatic_rollback_at is not None
    assert shop.serving() == "v1"
    assert shop.sql("SELECT count(*) AS n FROM note") == notes
    assert shop.sql("SELECT colour FROM item LIMIT 1") == [{"colour": None}], "v1 was proven on the new schema: kept"
    shop.sql("ALTER TABLE item DROP COLUMN colour")
    shop.sql("DROP TABLE golive_migrations")
    block = shop.ledger.releases.blocked("shop", version)
    assert row.id in block.by
    assert "items can be read" in block.reason
    with shop.untouched(), pytest.raises(Refused) as again:
        shop.release(version)
    assert_tells(again.value, "is blocked", f"golive unblock shop {version}", code=3)


def test_a_rollback_reason_of_any_length_is_taken(shop):
    with pytest.raises(Refused) as caught:
        shop.rollback(reason="x" * 5000, release=_a_stopped_release(shop))
    assert_tells(caught.value, "has not touched production", code=3)


def _a_stopped_release(shop: SmallSystem) -> str:
    from tasks.domain.release import State
    from tasks.driving import advance, open_release

    claim = open_release("shop", a_version(shop), scope="release", mutates=True, started_by="", reason="")
    advance(claim, State.STOPPED, "the test is over")
    return claim.release_id
