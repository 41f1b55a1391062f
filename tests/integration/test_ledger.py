"""The ledger on a real PostgreSQL: what it refuses, who wins, and that nothing is half written."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError

from tasks.domain.errors import ActiveRelease, Fenced, GoliveError, IllegalMove, LedgerTooNew, NotFound, Refused
from tasks.domain.messages import Note
from tasks.domain.outcome import Measurement, failed
from tasks.domain.release import TERMINAL, State
from tasks.ledger import models
from tasks.ledger.engine import SCHEMA_HEAD, downgrade, revision_of, sqlalchemy_url, upgrade
from tasks.ledger.ledger import Ledger
from tasks.ledger.releases import Claim, Opening

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
FAST_FORWARD = [State.PREFLIGHT, State.BACKUP, State.REHEARSE, State.AWAITING_GO, State.MIGRATE]


@pytest.fixture
def ledger(database: str) -> Iterator[Ledger]:
    book = Ledger(database)
    yield book
    book.close()


@pytest.fixture
def sql(database: str) -> Iterator[Callable[[str], Any]]:
    """Runs a statement past the ledger's sentences, each in a transaction of its own."""
    engine = create_engine(sqlalchemy_url(database))

    def run(statement: str) -> Any:
        with engine.begin() as connection:
            result = connection.execute(text(statement))
            return result.fetchall() if result.returns_rows else result.rowcount

    yield run
    engine.dispose()


def opening(name: str, system: str = "shop", **changes: Any) -> Opening:
    given: dict[str, Any] = {
        "id": name, "system": system, "version": "v2", "scope": "release", "mutates": True, "started_by": "ada",
        "reason": "", "file": "release.yaml", "file_text": "system: shop", "previous_version": "v1",
    }  # fmt: skip
    return Opening(**{**given, **changes})


def opened(ledger: Ledger, name: str = "r1", **changes: Any) -> Claim:
    ledger.releases.open(opening(name, **changes))
    return ledger.releases.take(name, "host:1")


def driven(ledger: Ledger, claim: Claim, *states: State) -> None:
    before = State(ledger.releases.get(claim.release_id).state)
    for after in states:
        ledger.releases.move(claim, before, after)
        before = after


def at_once(count: int, act: Callable[[int], T]) -> list[T | GoliveError]:
    """Do something in threads that start together, and return what each gave or golive's error."""
    barrier = threading.Barrier(count)

    def one(number: int) -> T | GoliveError:
        barrier.wait(10)
        try:
            return act(number)
        except GoliveError as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


class TestSchema:
    def test_migrations_go_up_down_and_up_again(self, database):
        engine = create_engine(sqlalchemy_url(database))
        tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
        try:
            assert revision_of(engine) is None
            for _ in range(2):
                upgrade(engine)
                assert revision_of(engine) == SCHEMA_HEAD
                with engine.connect() as connection:
                    assert connection.scalar(text(tables)) == len(models.Base.metadata.tables)
                downgrade(engine, "base")
                with engine.connect() as connection:
                    assert connection.scalar(text(tables)) == 0
                    left = "SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
                    assert connection.scalar(text(left)) == 0
        finally:
            engine.dispose()

    def test_models_and_migrations_say_the_same(self, ledger, database):
        ledger.ensure_ready()
        engine = create_engine(sqlalchemy_url(database))
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, models.Base.metadata) == []
        engine.dispose()

    def test_the_newest_revision_is_the_one_the_code_expects(self):
        config = Config()
        config.set_main_option("script_location", str(ROOT / "migrations"))
        assert ScriptDirectory.from_config(config).get_heads() == [SCHEMA_HEAD]

    def test_the_rule_of_one_active_release_is_the_same_in_models_and_database(self, ledger, sql):
        ledger.ensure_ready()
        defined = sql("SELECT indexdef FROM pg_indexes WHERE indexname = 'uq_release_one_active'")[0][0]
        assert all(f"'{state}'" in defined for state in TERMINAL)
        assert defined.count("'::text") == len(TERMINAL)

    def test_a_ledger_of_a_newer_golive_is_refused_and_left_as_it_is(self, ledger, sql, database):
        ledger.ensure_ready()
        sql("UPDATE alembic_version SET version_num = '9999'")
        newer = Ledger(database)
        with pytest.raises(LedgerTooNew, match="9999") as caught:
            newer.releases.latest()
        newer.close()
        assert caught.value.exit_code == 7
        assert sql("SELECT version_num FROM alembic_version")[0][0] == "9999"

    def test_processes_that_upgrade_at_once_do_it_once(self, database, sql):
        code = (
            "import sys; from tasks.ledger.ledger import Ledger; book = Ledger(sys.stdin.read()); "
            "book.ensure_ready(); print(len(book.releases.latest()))"
        )
        running = [
            subprocess.Popen(
                [sys.executable, "-c", code], cwd=ROOT, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
            for _ in range(3)
        ]  # fmt: skip
        for process in running:
            assert process.stdin is not None
            process.stdin.write(database)
            process.stdin.close()
            process.stdin = None
        for process in running:
            out, err = process.communicate(timeout=60)
            assert (process.returncode, out.strip()) == (0, "0"), err
        assert sql("SELECT version_num FROM alembic_version") == [(SCHEMA_HEAD,)]

    def test_threads_that_upgrade_at_once_do_it_once(self, ledger):
        assert at_once(6, lambda _: len(ledger.releases.latest())) == [0] * 6


class TestAppendOnly:
    def test_every_table_but_release_and_lease_is_append_only(self):
        assert set(models.Base.metadata.tables) - {"release", "lease"} == set(models.APPEND_ONLY)

    @pytest.mark.parametrize("table", models.APPEND_ONLY)
    def test_what_was_seen_or_done_cannot_be_changed_or_removed(self, table, ledger, sql):
        ledger.ensure_ready()
        column = sql(
            f"SELECT attname FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum > 0 AND attidentity = ''"
        )[0][0]
        for statement in (
            f'UPDATE "{table}" SET "{column}" = "{column}"',
            f'DELETE FROM "{table}"',
            f'TRUNCATE "{table}" CASCADE',
        ):
            with pytest.raises(IntegrityError, match="append-only") as caught:
                sql(statement)
            assert caught.value.orig.sqlstate == "23001"  # type: ignore[union-attr]

    def test_a_row_keeps_what_it_says_even_if_its_release_is_removed_by_hand(self, ledger, sql):
        claim = opened(ledger)
        ledger.evidence.baseline("r1", "it", {"a": 1})
        with pytest.raises(IntegrityError):
            sql("DELETE FROM release")
        assert ledger.releases.get(claim.release_id).id == "r1"


class TestOneActiveRelease:
    def test_of_many_that_open_a_release_at_once_exactly_one_does(self, ledger):
        ledger.ensure_ready()
        results = at_once(8, lambda number: ledger.releases.open(opening(f"r{number}", started_by=f"person {number}")))
        won = [one for one in results if isinstance(one, models.Release)]
        lost = [one for one in results if isinstance(one, ActiveRelease)]
        assert (len(won), len(lost)) == (1, 7)
        for error in lost:
            assert won[0].id in str(error)
            assert won[0].started_by in str(error)
            assert f"{won[0].created_at:%Y-%m-%d %H:%M}" in str(error)
            assert error.exit_code == 3
        assert [row.id for row in ledger.releases.latest()] == [won[0].id]
        active = ledger.releases.active("shop")
        assert active is not None
        assert active.id == won[0].id

    def test_other_systems_and_operations_that_change_nothing_are_not_in_the_way(self, ledger):
        opened(ledger, "r1")
        opened(ledger, "r2", system="other")
        opened(ledger, "r3", mutates=False, scope="preflight")
        assert len(ledger.releases.latest()) == 3
        assert [row.id for row in ledger.releases.latest("shop")] == ["r3", "r1"]

    def test_once_it_has_ended_the_next_may_begin(self, ledger):
        claim = opened(ledger)
        driven(ledger, claim, State.PREFLIGHT, State.STOPPED)
        assert ledger.releases.active("shop") is None
        assert ledger.releases.get("r1").ended_at is not None
        opened(ledger, "r2")

    def test_the_same_id_twice_is_refused_for_what_it_is(self, ledger):
        opened(ledger, mutates=False)
        with pytest.raises(Refused, match="r1"):
            ledger.releases.open(opening("r1", mutates=False))

    def test_a_stable_release_cannot_be_taken_back_while_another_is_under_way(self, ledger):
        claim = opened(ledger)
        driven(ledger, claim, *FAST_FORWARD, State.DEPLOY, State.HEALTH, State.WATCHING, State.STABLE)
        other = opened(ledger, "r2")
        with pytest.raises(ActiveRelease, match="r2"):
            ledger.releases.move(claim, State.STABLE, State.ROLLING_BACK)
        with pytest.raises(ActiveRelease, match="r2"):
            ledger.releases.seize("r1", State.STABLE, State.ROLLING_BACK, "host:2")
        assert ledger.releases.get("r1").state == State.STABLE
        driven(ledger, other, State.STOPPED)
        driven(ledger, claim, State.ROLLING_BACK)
        assert ledger.releases.get("r1").ended_at is None, "a release that is rolled back has not ended"


class TestMoves:
    def test_a_release_is_told_move_by_move(self, ledger):
        claim = opened(ledger)
        driven(ledger, claim, State.PREFLIGHT, State.BACKUP)
        ledger.releases.move(claim, State.BACKUP, State.STOPPED, note="the disk is full")
        told = [(one.before, one.after, one.by, one.note) for one in ledger.releases.moves("r1")]
        assert told == [
            ("", "planned", "ada", ""),
            ("planned", "preflight", "host:1", ""),
            ("preflight", "backup", "host:1", ""),
            ("backup", "stopped", "host:1", "the disk is full"),
        ]
        assert ledger.releases.in_state(State.STOPPED)[0].id == "r1"

    def test_of_many_that_move_a_release_at_once_exactly_one_does(self, ledger):
        claim = opened(ledger)
        results = at_once(8, lambda _: ledger.releases.move(claim, State.PLANNED, State.PREFLIGHT))
        assert [one for one in results if not isinstance(one, GoliveError)] == [None]
        assert sum(isinstance(one, IllegalMove) for one in results) == 7
        assert len(ledger.releases.moves("r1")) == 2

    @pytest.mark.parametrize("after", sorted(set(State) - {State.PREFLIGHT, State.RUNNING, State.STOPPED}))
    def test_a_move_that_is_not_legal_changes_nothing(self, after, ledger):
        claim = opened(ledger)
        with pytest.raises(IllegalMove, match=f"may not go from planned to {after}"):
            ledger.releases.move(claim, State.PLANNED, after)
        assert ledger.releases.get("r1").state == State.PLANNED
        assert len(ledger.releases.moves("r1")) == 1

    def test_a_move_from_where_the_release_is_not_says_where_it_is(self, ledger):
        claim = opened(ledger)
        with pytest.raises(IllegalMove, match="r1 is planned; expected backup"):
            ledger.releases.move(claim, State.BACKUP, State.REHEARSE)

    def test_a_move_and_its_messages_are_written_together_or_not_at_all(self, ledger):
        claim = opened(ledger)
        note = Note("reply", "it moves", {})
        with pytest.raises(IllegalMove, match="a move does not set state"):
            ledger.releases.move(claim, State.PLANNED, State.PREFLIGHT, tell=[note], state="stable")
        with pytest.raises(TypeError):
            ledger.releases.move(
                claim, State.PLANNED, State.PREFLIGHT, tell=[note, Note("reply", "x", {"not": {1, 2}})], verdict="no"
            )
        row = ledger.releases.get("r1")
        assert (row.state, row.verdict) == (State.PLANNED, None)
        assert len(ledger.releases.moves("r1")) == 1
        assert ledger.outbox.messages("r1") == []
        ledger.releases.move(claim, State.PLANNED, State.PREFLIGHT, tell=[note, note], verdict="yes")
        assert [one.text for one in ledger.outbox.messages("r1")] == ["it moves", "it moves"]
        assert ledger.releases.get("r1").verdict == "yes"

    def test_what_has_touched_production_cannot_just_stop(self, ledger):
        claim = opened(ledger)
        driven(ledger, claim, *FAST_FORWARD)
        ledger.releases.intend(claim, "migrate", "upgrade", mutates=True, detail={})
        with pytest.raises(IllegalMove, match="r1 has touched production"):
            ledger.releases.move(claim, State.MIGRATE, State.STOPPED)
        driven(ledger, claim, State.NEEDS_PERSON, State.STOPPED)

    def test_what_is_not_there_is_not_found(self, ledger):
        nobody = Claim("none", 1, "host:1")
        for act in (
            lambda: ledger.releases.get("none"),
            lambda: ledger.releases.take("none", "host:1"),
            lambda: ledger.releases.seize("none", State.PLANNED, State.PREFLIGHT, "host:1"),
            lambda: ledger.releases.beat(nobody),
            lambda: ledger.releases.move(nobody, State.PLANNED, State.PREFLIGHT),
            lambda: ledger.releases.intend(nobody, "migrate", "x", mutates=True, detail={}),
        ):
            with pytest.raises(NotFound):
                act()


class TestFencing:
    def test_a_process_that_was_presumed_dead_and_wakes_up_can_do_nothing_more(self, ledger):
        old = opened(ledger)
        number = ledger.releases.intend(old, "migrate", "upgrade", mutates=True, detail={})
        new = ledger.releases.take("r1", "host:2", force=True)
        assert new.epoch == old.epoch + 1
        for act in (
            lambda: ledger.releases.beat(old),
            lambda: ledger.releases.move(old, State.PLANNED, State.PREFLIGHT),
            lambda: ledger.releases.intend(old, "migrate", "again", mutates=True, detail={}),
        ):
            with pytest.raises(Fenced, match="taken over by host:2"):
                act()
        ledger.releases.let_go(old)
        assert ledger.releases.get("r1").holder == "host:2"
        ledger.releases.report(old, "migrate", "upgrade", number, event="done", took=0.1, detail={})
        assert [(one.event, one.epoch) for one in ledger.releases.steps("r1")] == [("started", 1), ("done", 1)]
        ledger.releases.beat(new)
        driven(ledger, new, State.PREFLIGHT)

    def test_a_release_whose_holder_is_alive_is_taken_only_by_force(self, ledger):
        opened(ledger)
        with pytest.raises(Refused, match=r"driven by host:1, heard of \d+ s ago"):
            ledger.releases.take("r1", "host:2")
        assert ledger.releases.take("r1", "host:1").epoch == 2
        assert ledger.releases.take("r1", "host:2", force=True).epoch == 3

    def test_a_release_whose_holder_is_silent_or_has_let_it_go_may_be_taken(self, ledger, sql):
        claim = opened(ledger)
        sql("UPDATE release SET holder_seen = clock_timestamp() - interval '59 seconds'")
        with pytest.raises(Refused):
            ledger.releases.take("r1", "host:2")
        sql("UPDATE release SET holder_seen = clock_timestamp() - interval '61 seconds'")
        ledger.releases.beat(claim)
        with pytest.raises(Refused):
            ledger.releases.take("r1", "host:2")
        sql("UPDATE release SET holder_seen = clock_timestamp() - interval '61 seconds'")
        second = ledger.releases.take("r1", "host:2")
        ledger.releases.let_go(second)
        assert ledger.releases.take("r1", "host:3").epoch == 3

    def test_of_many_that_take_a_silent_release_exactly_one_does(self, ledger):
        ledger.releases.open(opening("r1"))
        results = at_once(8, lambda number: ledger.releases.take("r1", f"host:{number}"))
        assert sum(isinstance(one, Claim) for one in results) == 1

    def test_of_many_that_seize_a_release_exactly_one_does(self, ledger):
        claim = opened(ledger)
        driven(ledger, claim, *FAST_FORWARD)
        results = at_once(
            8, lambda number: ledger.releases.seize("r1", State.MIGRATE, State.ROLLING_BACK, f"guard:{number}")
        )
        won = [one for one in results if isinstance(one, Claim)]
        assert len(won) == 1
        assert sum(isinstance(one, IllegalMove) for one in results) == 7
        row = ledger.releases.get("r1")
        assert (row.state, row.holder, row.epoch) == (State.ROLLING_BACK, won[0].holder, claim.epoch + 1)
        with pytest.raises(Fenced):
            ledger.releases.move(claim, State.ROLLING_BACK, State.ROLLED_BACK)
        ledger.releases.move(won[0], State.ROLLING_BACK, State.ROLLED_BACK)

    def test_intents_and_a_takeover_at_once_leave_no_intent_of_the_old_after_it(self, ledger):
        old = opened(ledger)

        def act(number: int) -> object:
            if number == 0:
                return ledger.releases.take("r1", "host:2", force=True)
            return ledger.releases.intend(old, "deploy", f"step {number}", mutates=True, detail={})

        results = at_once(8, act)
        new = next(one for one in results if isinstance(one, Claim))
        written = [one for one in results if isinstance(one, int)]
        assert len(ledger.releases.steps("r1")) == len(written)
        assert sum(isinstance(one, Fenced) for one in results) == 7 - len(written)
        assert ledger.releases.get("r1").epoch == new.epoch


class TestIntent:
    def test_an_intent_is_on_record_before_the_act_and_production_is_marked_once(self, ledger):
        claim = opened(ledger)
        ledger.releases.intend(claim, "backup", "dump", mutates=False, detail={"to": "x"})
        assert ledger.releases.get("r1").mutation_started_at is None
        number = ledger.releases.intend(claim, "migrate", "upgrade", mutates=True, detail={})
        first = ledger.releases.get("r1").mutation_started_at
        assert first is not None
        assert ledger.releases.get("r1").previous_version == "v1"
        ledger.releases.report(claim, "migrate", "upgrade", number, event="failed", took=0.5, detail={"error": "x"})
        ledger.releases.intend(claim, "migrate", "upgrade", mutates=True, detail={})
        assert ledger.releases.get("r1").mutation_started_at == first
        steps = ledger.releases.steps("r1")
        assert [(one.name, one.event, one.started) for one in steps] == [
            ("dump", "started", None),
            ("upgrade", "started", None),
            ("upgrade", "failed", number),
            ("upgrade", "started", None),
        ]
        assert steps[0].detail == {"to": "x"}
        assert first <= steps[1].at


class TestEvidence:
    def test_whatever_a_check_saw_can_be_put_on_record(self, ledger):
        opened(ledger)
        reading = failed(
            "a\0b \ud800 é ✓",
            value=1.5,
            detail={"nan": math.nan, "deep": [{"inf": -math.inf, "text": "a\0b\ud800"}], "key\0": (1, 2), "n": None},
        )
        at = ledger.evidence.now()
        seen = Measurement("it\0", "http", reading, at, 0.1, covers=("A-1", "A\0"), help="\0")
        ledger.evidence.measured("r1", "health", [seen])
        [row] = ledger.evidence.measurements("r1", "health")
        assert (row.name, row.seen, row.covers) == ("it\ufffd", "a\ufffdb ? é ✓", ["A-1", "A\ufffd"])
        assert row.detail == {
            "nan": None,
            "deep": [{"inf": None, "text": "a\ufffdb?"}],
            "key\ufffd": [1, 2],
            "n": None,
        }
        ledger.releases.tell("r1", Note("reply", "a\0b", {}))
        assert ledger.outbox.messages("r1")[0].text == "a\ufffdb"

    def test_measurements_come_back_in_order_and_by_phase(self, ledger):
        opened(ledger)
        at = ledger.evidence.now()
        for phase in ("health", "watch"):
            ledger.evidence.measured(
                "r1", phase, [Measurement(f"{phase} {n}", "sql", failed("no"), at, 0.0) for n in range(3)]
            )
        assert [one.name for one in ledger.evidence.measurements("r1")][2:4] == ["health 2", "watch 0"]
        assert len(ledger.evidence.measurements("r1", "watch")) == 3
        ledger.evidence.measured("r1", "watch", [])

    def test_the_newest_baseline_of_a_check_counts(self, ledger):
        opened(ledger)
        for number in (1, 2):
            ledger.evidence.baseline("r1", "it", {"n": number})
        assert ledger.evidence.baselines("r1") == {"it": {"n": 2}}
        assert ledger.evidence.baselines("none") == {}

    def test_a_backup_counts_for_its_release_only_if_it_was_proven_and_is_listed_until_removed(self, ledger):
        opened(ledger)
        about: dict[str, Any] = {"kind": "dump", "size": 3, "took": 0.1, "proof": {}}
        ledger.evidence.backed_up("r1", "shop", location="/a", proven=False, **about)
        assert ledger.evidence.backup_of("r1") is None
        number = ledger.evidence.backed_up("r1", "shop", location="/b", proven=True, **about)
        assert [one.location for one in ledger.evidence.backups("shop")] == ["/b", "/a"]
        ledger.evidence.removed_backup(number, "more than 1 are kept")
        assert [one.location for one in ledger.evidence.backups("shop")] == ["/a"]
        with pytest.raises(IntegrityError):
            ledger.evidence.removed_backup(number, "twice")

    def test_a_rehearsal_counts_for_the_version_and_migration_it_was_made_with(self, ledger):
        opened(ledger)
        ledger.evidence.rehearsed("r1", "abc", "keep", {"n": 1})
        ledger.evidence.rehearsed("r1", "abc", "downgrade", {"n": 2})
        found = ledger.evidence.rehearsal_of("shop", "v2", "abc")
        assert found is not None
        assert found.plan == "downgrade"
        assert ledger.evidence.rehearsal_of("shop", "v2", "other") is None
        assert ledger.evidence.rehearsal_of("shop", "v3", "abc") is None
        assert ledger.evidence.rehearsal_of("other", "v2", "abc") is None

    def test_a_version_stays_blocked_until_it_is_unblocked(self, ledger):
        assert ledger.releases.blocked("shop", "v2") is None
        ledger.releases.block("shop", "v2", by="ada", reason="it loses orders")
        block = ledger.releases.blocked("shop", "v2")
        assert block is not None
        assert (block.by, block.reason) == ("ada", "it loses orders")
        assert ledger.releases.blocked("shop", "v3") is None
        ledger.releases.block("shop", "v2", by="bob", reason="mended", action="unblock")
        assert ledger.releases.blocked("shop", "v2") is None


class TestOutbox:
    def told(self, ledger: Ledger, release: str, *texts: str) -> list[int]:
        ledger.releases.tell(release, *(Note("reply", one, {}) for one in texts))
        return [one.id for one in ledger.outbox.messages(release)]

    def test_messages_go_out_in_the_order_in_which_they_were_written(self, ledger):
        opened(ledger)
        self.told(ledger, "r1", *(str(number) for number in range(10)))
        assert [one.text for one in ledger.outbox.due("slack")] == [str(number) for number in range(10)]
        assert [one.text for one in ledger.outbox.due("slack", limit=3)] == ["0", "1", "2"]

    def test_a_message_is_due_until_delivered_or_given_up_to_each_notifier_of_its_own(self, ledger):
        opened(ledger)
        first, second, third = self.told(ledger, "r1", "a", "b", "c")
        assert ledger.outbox.sending(first, "slack") == 0
        ledger.outbox.delivered(first, "slack", {"ts": "1"})
        ledger.outbox.dead(second, "slack", "no such channel")
        assert [one.id for one in ledger.outbox.due("slack")] == [third]
        assert [one.id for one in ledger.outbox.due("console")] == [first, second, third]
        assert [(one.id, two.error) for one, two in ledger.outbox.dead_letters()] == [(second, "no such channel")]

    def test_a_message_that_waits_for_its_next_try_holds_back_its_own_thread_only(self, ledger):
        opened(ledger)
        opened(ledger, "r2", system="other")
        first, _ = self.told(ledger, "r1", "a", "b")
        [other] = self.told(ledger, "r2", "c")
        assert ledger.outbox.sending(first, "slack") == 0
        ledger.outbox.retry(first, "slack", "no route", after=60)
        assert [one.id for one in ledger.outbox.due("slack")] == [other]
        assert ledger.outbox.sending(first, "slack") == 1
        assert ledger.outbox.tries(first, "slack") == 1

    def test_a_message_is_due_again_once_its_time_has_come(self, ledger):
        opened(ledger)
        first, second = self.told(ledger, "r1", "a", "b")
        ledger.outbox.retry(first, "slack", "no route", after=0)
        assert [one.id for one in ledger.outbox.due("slack")] == [first, second]


class TestLeases:
    def test_of_many_that_take_a_lease_exactly_one_has_it(self, ledger):
        ledger.ensure_ready()
        taken = at_once(8, lambda number: ledger.leases.take("guard", f"host:{number}", 60))
        assert sorted(taken, key=str) == [1] + [None] * 7

    def test_a_lease_is_renewed_by_its_holder_and_refused_to_others_until_it_runs_out(self, ledger):
        assert ledger.leases.take("guard", "host:1", 60) == 1
        assert ledger.leases.take("guard", "host:1", 0.3) == 1
        assert ledger.leases.take("guard", "host:2", 60) is None
        deadline = time.monotonic() + 10
        while (epoch := ledger.leases.take("guard", "host:2", 60)) is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert epoch == 2
        assert ledger.leases.take("guard", "host:1", 60) is None
        assert ledger.leases.take("other", "host:1", 60) == 1

    def test_a_lease_that_is_given_back_is_free_at_once_but_only_by_its_holder(self, ledger):
        ledger.leases.take("guard", "host:1", 60)
        ledger.leases.give_back("guard", "host:2")
        assert ledger.leases.take("guard", "host:2", 60) is None
        ledger.leases.give_back("guard", "host:1")
        held = ledger.leases.seen("guard")
        assert held is not None
        assert (held[0], held[2]) == ("host:1", False)
        assert ledger.leases.take("guard", "host:2", 60) == 2
        held = ledger.leases.seen("guard")
        assert held is not None
        assert (held[0], held[2]) == ("host:2", True)
        assert ledger.evidence.now() - held[1] < timedelta(seconds=30)
        assert ledger.leases.seen("none") is None
