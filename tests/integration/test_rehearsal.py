"""What a rehearsal measures, refuses and foretells, and what production is then held to; on a real system."""

from __future__ import annotations

import secrets
import threading
from typing import Any

import pytest

from tasks.adapters.postgres import Postgres
from tasks.domain.errors import ChecksFailed, Inconclusive, LockNotGranted, Refused, RehearsalFailed
from tasks.domain.locks import conflicts, mode_of
from tests.flows import GROW, ON_TITLE, RENAME, RENAME_BACK, SmallSystem
from tests.parts import missing
from tests.systems import run

UNDER_LOAD = {"rate": 200, "sessions": 2, "window": "1s"}


@pytest.fixture
def squawk(world: Any) -> None:
    if not world.host.which("squawk"):
        missing("squawk is not installed")


def test_what_the_new_version_alone_must_be_is_asked_on_the_copy_when_the_old_one_has_ended_there(shop):
    def asked(version: str) -> dict[str, Any]:
        right = {"answer_headers": {"X-Version": version}}
        return {"kind": "http", "name": f"is {version}", "url": "{base_url}/items", **right}

    shop.add_version("v2-alone")
    shop.write({"checks.rehearsal": [asked("v2-alone")]})
    shop.phase("rehearse", "v2-alone")
    (seen,) = shop.ledger.evidence.measurements(shop.latest().id, "rehearsal")
    old = shop.ledger.evidence.measurements(shop.latest().id, "rehearse old")
    assert (seen.outcome, seen.at > max(one.at for one in old)) == ("passed", True)
    shop.write({"checks.rehearsal": [asked("v1")]})
    with pytest.raises(ChecksFailed, match="v2-alone alone on the migrated copy: 1 of 1 checks failed: is v1"):
        shop.phase("rehearse", "v2-alone")
    shop.write({"checks.rehearsal": []})


def test_what_runs_on_the_copy_has_the_values_that_the_rehearsal_gives_it(shop):
    there = shop.home / "not production's"
    shop.add_version("v2-elsewhere", fault="switch")
    shop.write({"rehearsal.environment": {"SWITCH": str(there)}})
    shop.switch(on=True)  # which breaks it in production alone
    shop.phase("rehearse", "v2-elsewhere")
    there.touch()
    with pytest.raises(ChecksFailed, match="v2-elsewhere on the migrated copy: 1 of 1 checks failed"):
        shop.phase("rehearse", "v2-elsewhere")
    shop.switch(on=False)
    shop.write({"rehearsal.environment": {}})


def evidence_of(shop: SmallSystem, step: str) -> dict[str, Any]:
    rows = [one for one in shop.ledger.releases.steps(shop.latest().id) if one.name == step and one.event == "done"]
    return dict(rows[-1].detail)


def stop_v1(shop: SmallSystem) -> None:
    from tasks.context import production, world
    from tasks.settings import Settings
    from tasks.spec.loading import load

    file = load(shop.home / "systems" / shop.name / "release.yaml")
    file.platform.stop(production(file, Settings.from_environment(), world(), "v1"), "main")


@pytest.mark.usefixtures("squawk")
def test_what_is_measured_in_rehearsal_is_told_beside_production_and_the_loss_is_kept_up_to_date(shop):
    from flows.monitor import monitor
    from tasks.report import write_report
    from tasks.reporting import gather, to_markdown

    shop.write({"rehearsal": {"under_load": {**UNDER_LOAD, "p99": "60s"}}, "watch": {"every": "0s", "for": "24h"}})
    shop.add_version(
        "v2-told",
        query=ON_TITLE,
        up={"1_both": RENAME + GROW + "CREATE INDEX item_colour ON item (colour);\n"},
        down={"1_both": RENAME_BACK + "ALTER TABLE item DROP COLUMN colour;\n"},
    )
    shop.release("v2-told", started_by="ann")
    row = shop.latest()
    found = shop.ledger.evidence.rehearsal(row.id)
    detail = found.detail

    assert detail["growth"]["wal"] > 0
    assert detail["growth"]["server_shared"] is True
    changed = detail["growth"]["tables"]["public.item"]
    assert changed["after"] > changed["before"]

    told = {(one["rule"], one["file"], one["line"], one["refused"]) for one in detail["review"]["findings"]}
    assert ("renaming-column", "migrations/1_both_up.sql", 1, False) in told
    assert ("require-concurrent-index-creation", "migrations/1_both_up.sql", 3, False) in told
    load = detail["under_load"]
    assert load["during"]["sent"] >= 100
    assert load["before"]["errors"] == {}
    # Both tables have a primary key: rows of each were read, and written as they are.
    assert load["statements"] == "generated"
    assert detail["downgrade"]["exact"] == "passed"

    assert found.plan == "downgrade"
    (dropped,) = detail["downgrade"]["drops"]  # the table of applied files is golive's own, and a rename drops nothing
    assert (dropped["table"], dropped["column"], dropped["values"]) == ("public.item", "colour", 0)
    assert detail["why"].endswith("it would drop column public.item.colour (0 values)")

    beside = evidence_of(shop, "compare with the rehearsal")
    assert beside["over_limit"] == []
    (lock,) = [one for one in beside["locks_side_by_side"] if one["mode"] == "AccessExclusiveLock"]
    assert (lock["relation"], lock["blocks"]) == ("public.item", "reads and writes")
    assert lock["seen"] > 0
    assert lock["foretold"] > 0

    shop.sql("UPDATE item SET colour = 'red' WHERE id <= 3")
    assert run(monitor()) == [f"{row.id}: passed"]
    look = shop.ledger.evidence.looks(row.id, "monitor")[-1].findings["rollback"]
    said = "would drop column public.item.colour (3 values)"
    assert (look["way"], look["number"], look["seen"]) == ("downgrade", 3, said)
    roots = shop.sql_in_ledger("SELECT blocks FROM message WHERE kind = 'root_edit' ORDER BY id DESC LIMIT 1")
    assert said in str(roots)
    from deployments.looking import details_of

    assert details_of(shop.ledger, shop.latest())["rollback_now"].endswith(said)
    page, text = write_report(row.id).read_text(), to_markdown(gather(shop.ledger, row.id))
    for part in ("blocks reads and writes", "Write-ahead log", "renaming-column", "limit 1 min", "would drop column"):
        assert part in page, part
    for part in ("| Duration |", "| AccessExclusiveLock | reads and writes |", "| during |", "renaming-column"):
        assert part in text, part
    assert "CREATE TABLE public.item" not in page, "the schema is kept, not shown"

    assert shop.rollback(reason="enough") == "v1"
    assert "colour" not in str(shop.content()["columns"])


@pytest.mark.usefixtures("squawk")
def test_a_rehearsal_refuses_what_users_would_wait_for_and_sql_that_the_file_refuses(shop):
    shop.add_version("v2-hog", up={"1_hog": GROW + "CREATE INDEX i ON item (name);\nSELECT pg_sleep(1);\n"})
    reads = ["SELECT name FROM item WHERE id = {1..500}", "UPDATE item SET price = price WHERE id = {1..500}"]
    shop.write({"rehearsal": {"under_load": {**UNDER_LOAD, "statements": reads, "p99": "300ms"}}})
    shop.phase("preflight", "v2-hog")
    with shop.untouched(), pytest.raises(RehearsalFailed, match=r"while the migration ran: p99 \d.* ms ≤ 300 ms"):
        shop.phase("rehearse", "v2-hog")
    (seen,) = shop.sql_in_ledger(
        "SELECT outcome, detail FROM measurement WHERE release_id = %s AND kind = 'under_load'", (shop.latest().id,)
    )
    assert seen["outcome"] == "failed"
    assert seen["detail"]["during"]["longest"] > 0.3

    # A second of a load so thin says nothing of its 99th percentile.
    shop.write({"rehearsal": {"under_load": {"rate": 20, "window": "200ms", "statements": reads[:1], "p99": "60s"}}})
    with shop.untouched(), pytest.raises(Inconclusive, match="at least 100: no data"):
        shop.phase("rehearse", "v2-hog")

    shop.write({"rehearsal": {"review": {"refuse": ["ban-drop-table", "require-concurrent-index-creation"]}}})
    with shop.untouched(), pytest.raises(RehearsalFailed, match=r"1_hog_up.sql:2 require-concurrent-.*→ ") as caught:
        shop.phase("rehearse", "v2-hog")
    assert "rehearsal.review.refuse" in caught.value.do
    shop.write({"rehearsal.review": {"refuse": ["ban-drop-table"], "program": "no-such-program"}})
    with shop.untouched(), pytest.raises(Inconclusive, match="no-such-program"):
        shop.phase("rehearse", "v2-hog")


def test_a_migration_is_not_begun_while_a_long_transaction_or_what_was_stopped_is_in_its_way(shop):
    shop.write(
        {
            "sign_off": {"go": ["dba"]},
            "migration.limits": {"duration": "10s", "lock": "1s", "wait": "100ms", "tries": 3, "clear": "300ms"},
        }
    )
    shop.add_version("v2-way", up={"1_grow": GROW})
    shop.release("v2-way", started_by="ann")
    row = shop.latest()
    stop_v1(shop)
    before = shop.content()
    with (
        Postgres().session(shop.dsn, application="shop worker"),
        Postgres().session(shop.dsn, application="nightly report") as report,
        report.transaction(),
    ):
        report.query("SELECT count(*), pg_sleep(1.1) FROM item WHERE name = 'a secret name'")
        with pytest.raises(Refused) as caught:
            shop.approve(row.id, "dba", "bob")
        said = str(caught.value)
        assert f"pid {report.backend_pid()} (nightly report, user " in said
        assert "holds AccessShareLock on public.item, since 2" in said
        assert "SELECT count(*), pg_sleep(?) FROM item WHERE name = ?" in said
        assert "v1 is stopped and yet connected" in said
        assert "(shop worker, user " in said
        assert "secret" not in said + shop.notes(row.id)
    row = shop.latest()
    assert (row.state, row.mutation_started_at) == ("stopped", None)
    assert shop.content() == before
    shop.write({"sign_off": {"go": []}})
    shop.phase("deploy", "v1")


def test_production_waits_its_turn_is_told_of_a_limit_exceeded_and_goes_back_when_its_schema_differs(shop):
    shop.write(
        {
            "sign_off": {"go": ["dba"]},
            "migration.limits": {"duration": "20s", "lock": "1s", "wait": "100ms", "tries": 9, "clear": "60s"},
        }
    )
    # On production, where the marker will stand, it takes longer than on the copy.
    slow = "SELECT pg_sleep(CASE WHEN to_regclass('public.marker') IS NULL THEN 0 ELSE 1.5 END);\n"
    shop.add_version("v2-strays", up={"1_grow": GROW + slow})
    shop.release("v2-strays", started_by="ann")
    row = shop.latest()
    shop.sql("CREATE TABLE marker (stray text)")
    began, ended = threading.Event(), threading.Event()

    def report() -> None:
        with Postgres().session(shop.dsn, application="nightly report") as session, session.transaction():
            session.query("SELECT count(*), pg_sleep(1.1) FROM item")
            began.set()
            ended.wait(60)

    reporting = threading.Thread(target=report)
    reporting.start()
    began.wait(60)
    threading.Timer(8.0, ended.set).start()
    try:
        with pytest.raises(RehearsalFailed) as caught:
            shop.approve(row.id, "dba", "bob")
    finally:
        ended.set()
        reporting.join()
    assert "+CREATE TABLE public.marker (\n+    stray text\n+);" in caught.value.seen
    assert (shop.latest().id, shop.latest().state, shop.serving()) == (row.id, "rolled_back", "v1")
    (waited,) = evidence_of(shop, "see that nothing is in the migration's way")["waited_for"]
    assert "nightly report" in waited
    beside = evidence_of(shop, "compare with the rehearsal")
    assert beside["over_limit"][0].startswith("public.item was locked in AccessExclusiveLock for 1.")
    assert any("AccessExclusiveLock on public.item was held" in one for one in beside["beyond_prediction"])
    alerts = shop.sql_in_ledger("SELECT text FROM message WHERE release_id = %s AND kind = 'alert'", (row.id,))
    (told,) = [one["text"] for one in alerts if "held production up for longer than it may" in one["text"]]
    assert "longer than it may: public.item was locked" in told
    assert "; n: 1 run on production, after " in told
    for statement in ("ALTER TABLE item DROP COLUMN colour", "DROP TABLE golive_migrations", "DROP TABLE marker"):
        shop.sql(statement)


def test_a_holder_that_golive_may_not_see_counts_by_how_long_it_is_seen(database, world):
    from tasks.clearing import _Holders

    postgres, role = Postgres(), f"plain_{secrets.token_hex(4)}"
    needed = [{"relation": "public.t", "mode": "AccessExclusiveLock"}]
    with postgres.session(database) as admin:
        admin.execute("CREATE TABLE t (id int)")
        admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'a-long-word'")
    scheme, _, place = database.rpartition("@")
    plain = f"{scheme.partition('://')[0]}://{role}:a-long-word@{place}"
    try:
        with postgres.session(database) as holder, postgres.session(plain) as looking:
            with holder.transaction():
                holder.query("SELECT * FROM t")
                holders = _Holders(looking, world.clock, needed, 0.2)
                assert holders.look() == ([], True)
                world.clock.sleep(0.3)
                (found,), _ = holders.look()
                assert (found.pid, found.since, found.query) == (holder.backend_pid(), None, "<insufficient privilege>")
            with holder.transaction():
                holder.query("SELECT * FROM t")
                assert holders.look() == ([], False), "a transaction that came later is not waited for"
    finally:
        with postgres.session(database) as admin:
            admin.execute(f"DROP ROLE {role}")


def test_conflicts_are_those_of_a_real_server(database):
    """The server itself is asked: one session holds each mode in turn, another tries for each."""
    from tests.unit.test_locks import MODES

    postgres = Postgres()
    with postgres.session(database) as holder, postgres.session(database) as other:
        holder.execute("CREATE TABLE t (id int)")
        for held in MODES:
            with holder.transaction():
                holder.execute(f"LOCK TABLE t IN {held} MODE")
                (seen,) = holder.query(
                    "SELECT mode FROM pg_locks WHERE relation = 't'::regclass AND pid = pg_backend_pid()"
                )
                assert mode_of(seen["mode"]) == mode_of(held)
                for wanted in MODES:
                    try:
                        with other.transaction():
                            other.execute(f"LOCK TABLE t IN {wanted} MODE NOWAIT")
                        refused = False
                    except LockNotGranted:
                        refused = True
                    assert conflicts(seen["mode"], wanted) is refused, (held, wanted)


def test_a_copy_is_set_as_production_is_so_that_a_migration_means_the_same_there(shop):
    """Else a table comes into one schema in the rehearsal and into another in production: a rollback for nothing."""
    name = shop.dsn.rpartition("/")[2]
    shop.write({"database.scratch.place": "embedded"})
    shop.sql("CREATE SCHEMA app")
    shop.sql(f"ALTER DATABASE {name} SET search_path TO app, public")
    shop.sql(f"ALTER ROLE CURRENT_USER IN DATABASE {name} SET app.tenant TO 'one''s'")
    up = "CREATE TABLE extra AS SELECT current_setting('app.tenant') AS tenant;\n"
    shop.add_version("v2-set", up={"1_set": up}, down={"1_set": "DROP TABLE extra;\n"})
    try:
        shop.phase("rehearse", "v2-set")
        shop.phase("migrate", "v2-set")
        assert shop.sql("SELECT tenant FROM app.extra") == [{"tenant": "one's"}]
    finally:
        shop.sql(f"ALTER DATABASE {name} RESET ALL")
        shop.sql(f"ALTER ROLE CURRENT_USER IN DATABASE {name} RESET ALL")
        shop.sql("DROP SCHEMA app CASCADE")
        shop.sql("DELETE FROM golive_migrations WHERE name LIKE '%1_set%'")
