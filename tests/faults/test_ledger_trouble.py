"""The ledger's PostgreSQL away, ended in the middle, killed, frozen or forbidden: said plainly, then used again."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tasks.adapters.pg_server import EmbeddedServer
from tasks.domain.errors import GoliveError, LedgerError, LedgerUnreachable, UserError
from tasks.domain.ports import World
from tasks.domain.release import State
from tasks.ledger import engine
from tasks.ledger.ledger import Ledger
from tasks.ledger.releases import Claim, Opening


def opened(ledger: Ledger, name: str = "r1", system: str = "shop") -> Claim:
    ledger.releases.open(Opening(name, system, "v2", "release", True, "ada", "", "release.yaml", ""))
    return ledger.releases.take(name, "host:1")


@pytest.fixture
def ledger(database: str) -> Iterator[Ledger]:
    book = Ledger(database)
    yield book
    book.close()


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound and not listening: nobody answers, and nobody else can take it
        yield held.getsockname()[1]


def test_a_ledger_that_does_not_answer_at_the_start_says_what_to_do(closed_port):
    ledger = Ledger(f"postgresql://golive:hunter42@127.0.0.1:{closed_port}/golive")
    for act in (ledger.ensure_ready, ledger.releases.latest, lambda: opened(ledger)):
        with pytest.raises(LedgerUnreachable, match="the ledger does not answer") as caught:
            act()
        error = caught.value
        assert (error.exit_code, error.retryable) == (7, True)
        assert "GOLIVE_LEDGER_URL" in error.do
        assert "hunter42" not in str(error)
    ledger.close()


def test_a_ledger_that_comes_up_later_is_used_without_more_ado(ledger, monkeypatch):
    upgrade = engine.upgrade
    monkeypatch.setattr(engine, "upgrade", lambda _: (_ for _ in ()).throw(LedgerUnreachable("not yet")))
    with pytest.raises(LedgerUnreachable):
        ledger.releases.latest()
    monkeypatch.setattr(engine, "upgrade", upgrade)
    assert ledger.releases.latest() == []


@pytest.mark.parametrize("dsn", ["nonsense", "", "host=db password=hunter42", "postgresql//u:hunter42@h/d"])
def test_a_dsn_that_cannot_be_read_is_a_persons_mistake_and_is_not_repeated(dsn):
    with pytest.raises(UserError, match="GOLIVE_LEDGER_URL") as caught:
        Ledger(dsn)
    assert "hunter42" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("wrong", ["password", "database"])
def test_wrong_credentials_or_a_missing_database_are_named(wrong, database):
    start, _, name = database.rpartition("/")
    scheme, _, at = start.partition("://")
    user, _, place = at.partition("@")
    dsn = f"{scheme}://{user.partition(':')[0]}:hunter42@{place}/{name}" if wrong == "password" else f"{start}/none"
    ledger = Ledger(dsn)
    with pytest.raises(LedgerUnreachable, match=r"password authentication failed|does not exist") as caught:
        ledger.releases.latest()
    assert "hunter42" not in str(caught.value)
    ledger.close()


def terminate(world: World, database: str) -> int:
    with world.databases.session(database) as session:
        return len(
            session.query(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = 'golive ledger'"
            )
        )


def test_after_all_its_connections_were_ended_the_next_call_works(ledger, world, database):
    claim = opened(ledger)
    for _ in range(2):
        assert terminate(world, database) >= 1
        ledger.releases.beat(claim)
    ledger.releases.move(claim, State.PLANNED, State.PREFLIGHT)
    assert ledger.releases.get("r1").state == State.PREFLIGHT


def test_a_connection_that_is_ended_in_the_middle_leaves_nothing_half_written(ledger, world, database):
    claim = opened(ledger)

    def interrupted() -> None:
        with ledger.releases._engine.transaction() as session:
            session.execute(text("UPDATE release SET state = 'preflight'"))
            terminate(world, database)
            session.execute(text("SELECT 1"))

    with pytest.raises(LedgerUnreachable) as caught:
        interrupted()
    assert caught.value.retryable
    assert ledger.releases.get("r1").state == State.PLANNED
    ledger.releases.move(claim, State.PLANNED, State.PREFLIGHT)


def test_calls_from_many_threads_while_connections_are_ended_fail_cleanly_or_count(ledger, world, database):
    claim = opened(ledger)
    ended = threading.Event()

    def work(number: int) -> int:
        done = 0
        while not ended.is_set():
            try:
                ledger.releases.intend(claim, "watch", f"{number}-{done}", mutates=False, detail={})
                done += 1
            except LedgerUnreachable:
                time.sleep(0.01)
        return done

    with ThreadPoolExecutor(4) as pool:
        working = [pool.submit(work, number) for number in range(4)]
        try:
            for _ in range(3):
                time.sleep(0.2)
                terminate(world, database)
        finally:
            time.sleep(0.2)
            ended.set()
        done = sum(one.result(timeout=30) for one in working)
    assert done > 0
    # A commit whose answer was lost may stand although the call failed; none that succeeded may be missing.
    assert done <= len(ledger.releases.steps("r1")) <= done + 12


@pytest.fixture
def killed_server(open_directory: Path) -> Iterator[tuple[EmbeddedServer, Callable[[], None]]]:
    server = EmbeddedServer(open_directory / "ledger")
    server.ensure_running()

    def kill() -> None:
        postmaster = server._cluster().postmaster()
        assert postmaster is not None
        os.kill(postmaster.pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while server._cluster().postmaster() is not None and time.monotonic() < deadline:
            time.sleep(0.02)

    yield server, kill
    server.stop()


def test_after_its_server_was_killed_and_started_again_nothing_is_lost(killed_server):
    server, kill = killed_server
    ledger = Ledger(server.dsn("golive"))
    claim = opened(ledger)
    number = ledger.releases.intend(claim, "migrate", "upgrade", mutates=True, detail={})
    kill()
    with pytest.raises(LedgerUnreachable):
        ledger.releases.beat(claim)
    server.ensure_running()
    ledger.releases.report(claim, "migrate", "upgrade", number, event="done", took=1.0, detail={})
    assert [(one.event, one.started) for one in ledger.releases.steps("r1")] == [("started", None), ("done", number)]
    assert ledger.releases.get("r1").mutation_started_at is not None
    ledger.releases.beat(claim)
    ledger.close()


def test_a_row_that_another_process_holds_is_not_waited_for_without_end(database, world, monkeypatch):
    monkeypatch.setattr(engine, "STATEMENT_TIMEOUT", "300ms")
    ledger = Ledger(database)
    claim = opened(ledger)
    with world.databases.session(database) as other, other.transaction():
        other.execute("SELECT * FROM release FOR UPDATE")
        with pytest.raises(LedgerUnreachable, match="statement timeout"):
            ledger.releases.beat(claim)
    ledger.releases.beat(claim)
    ledger.close()


@pytest.fixture
def role(world: World, database: str) -> Iterator[tuple[str, str]]:
    """A role that may connect and nothing more, with its DSN."""
    name = world.databases.name_of(database) + "_role"
    with world.databases.session(database) as session:
        session.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'role'")
    yield name, f"postgresql://{name}:role@{database.partition('@')[2]}"
    with world.databases.session(database) as session:
        session.script(f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_a_role_that_may_not_make_tables_is_told_so(role, ledger):
    _, dsn = role
    weak = Ledger(dsn)
    with pytest.raises(LedgerError, match="permission denied") as caught:
        weak.releases.latest()
    assert not isinstance(caught.value, LedgerUnreachable)
    assert not caught.value.retryable
    weak.close()
    assert ledger.releases.latest() == []


def test_a_role_that_may_not_write_is_told_so_and_writes_nothing(role, ledger, world, database):
    name, dsn = role
    ledger.ensure_ready()
    with world.databases.session(database) as session:
        session.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}")
    weak = Ledger(dsn)
    assert weak.releases.latest() == []
    with pytest.raises(LedgerError, match="permission denied"):
        opened(weak)
    weak.close()
    assert ledger.releases.latest() == []


def test_a_ledger_that_takes_no_writes_says_so(ledger, world, database):
    ledger.ensure_ready()
    with world.databases.session(database) as session:
        session.execute(f"ALTER DATABASE {world.databases.name_of(database)} SET default_transaction_read_only = on")
    terminate(world, database)
    with pytest.raises(LedgerError, match="read-only transaction"):
        opened(ledger)
    assert ledger.releases.latest() == []


def test_more_callers_than_connections_wait_for_each_other(ledger):
    ledger.ensure_ready()
    barrier = threading.Barrier(24)

    def look(_: int) -> Any:
        barrier.wait(20)
        try:
            return len(ledger.releases.latest())
        except GoliveError as error:
            return error

    with ThreadPoolExecutor(24) as pool:
        assert list(pool.map(look, range(24))) == [0] * 24
