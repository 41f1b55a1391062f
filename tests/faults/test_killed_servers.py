"""PostgreSQL is killed as nothing can catch it, amid a phase: production's server, or the scratch copy's."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tasks.adapters.pg_server import EmbeddedServers
from tasks.adapters.postgres import Postgres
from tasks.backups.physical import Physical
from tasks.domain.errors import ConnectionLost, GoliveError
from tasks.domain.ports import RunningServer
from tests.flows import GROW, SmallSystem, wait_until

SLEEP_IN = "SELECT pg_sleep(CASE WHEN current_database() LIKE '{}' THEN 60 ELSE 0 END);\n"


def kill(directory: Path) -> None:
    """Kill the postmaster of a server, and wait until its other processes have noticed."""
    pid = int((directory / "data/postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not processes(directory))


def processes(directory: Path) -> list[int]:
    """Return the processes that work in a server's data directory."""
    place, found = (directory / "data").resolve(), []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cwd").readlink() == place:
                found.append(int(entry.name))
        except OSError:  # it has ended, or is someone else's
            continue
    return found


@pytest.fixture(scope="module")
def production() -> Iterator[Path]:
    """The directory of a server of production's own, which may be killed."""
    home = Path(tempfile.mkdtemp(prefix="golive-test-"))
    home.chmod(0o755)
    yield home / "server"
    EmbeddedServers().remove(home / "server")
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def running_v1(production: Path, pg_server: RunningServer, prefect_server: str) -> Iterator[SmallSystem]:
    """A system that v1 serves, whose ledger is not on production's server; its tests leave it so."""
    home = Path(tempfile.mkdtemp(prefix="golive-test-"))
    home.chmod(0o755)
    system = SmallSystem.make(home, EmbeddedServers().keep(production), ledger_server=pg_server)
    try:
        system.phase("deploy", "v1")
        yield system
    finally:
        system.close()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def shop(running_v1: SmallSystem) -> Iterator[SmallSystem]:
    running_v1.file = running_v1.plain_file()
    running_v1.write({"database.scratch": {"place": "embedded"}})
    with running_v1.in_environment():
        yield running_v1


@contextmanager
def once(seen: Callable[[], object], then: Callable[[], object]) -> Iterator[None]:
    """Do something, once, as soon as something is seen while the block runs."""
    done, ended = threading.Event(), threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            try:
                if not seen():
                    continue
            except (GoliveError, OSError, ValueError):  # it is not there yet
                continue
            then()
            done.set()
            return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(30)
    assert done.is_set(), "what was waited for was never seen"


def scratch_of(shop: SmallSystem) -> Path:
    return shop.home / "golive/scratch" / str(shop.latest().id)


def asleep(dsn: str) -> bool:
    """Tell whether a session of the database's server sleeps, as the tests let it."""
    with Postgres().session(dsn) as session:
        return bool(session.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"))


def scratch_asleep(shop: SmallSystem) -> bool:
    directory = scratch_of(shop)
    port, password = (directory / "port").read_text(), (directory / "password").read_text()
    return asleep(f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres")


def nothing_left(shop: SmallSystem) -> None:
    assert not processes(scratch_of(shop))
    assert not list((shop.home / "golive/systems/shop/backups").glob(".partial-*"))
    shop.no_scratch_is_left()


def test_production_killed_amid_the_dump_is_dumped_once_it_is_back(shop, production):
    def kill_and_start() -> None:
        kill(production)
        EmbeddedServers().keep(production)

    waiting = "SELECT count(*) AS n FROM pg_locks WHERE NOT granted AND relation = 'parted'::regclass"
    shop.sql("CREATE TABLE parted (n int) PARTITION BY RANGE (n)")
    with Postgres().session(shop.dsn) as blocker:
        # It holds no rows of its own, so that pg_dump alone waits for it. With the server the lock is gone.
        blocker.execute("BEGIN")
        blocker.execute("LOCK TABLE parted IN ACCESS EXCLUSIVE MODE")
        with once(lambda: shop.sql(waiting)[0]["n"], kill_and_start):
            proven = Path(shop.phase("backup", "v1"))
    shop.sql("DROP TABLE parted")
    assert proven.exists()
    assert [name for _phase, name, event in shop.steps() if event == "failed"] == ["take the backup"]
    assert shop.latest().state == "done"
    nothing_left(shop)


def test_production_killed_amid_the_copy_of_its_files_is_lost_and_none_are_kept(world, production, tmp_path):
    server = EmbeddedServers().keep(production)
    EmbeddedServers().log_fully(production)
    slow = Physical(kind="physical", rate=1_000_000, timeout=60.0)

    def copying() -> bool:
        with Postgres().session(server.dsn()) as session:
            return bool(session.value("SELECT count(*) FROM pg_stat_replication WHERE state = 'backup'"))

    try:
        with once(copying, lambda: kill(production)), pytest.raises(ConnectionLost) as caught:
            slow.take(world, server.dsn(), tmp_path / "backup", {})
    finally:
        EmbeddedServers().keep(production)
    assert caught.value.retryable
    assert list(tmp_path.iterdir()) == []


def test_a_scratch_server_killed_amid_the_restore_leaves_nothing_and_production_as_it_was(shop):
    from tasks.backup import restore_copy, scratch_cleared, take_backup
    from tasks.driving import operation

    shop.sql(
        "CREATE FUNCTION lazy(n integer) RETURNS integer IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN "
        "IF current_database() = 'restored' THEN PERFORM pg_sleep(60); END IF; RETURN n; END $$"
    )
    shop.sql("CREATE INDEX lazy ON note (lazy(id))")

    def backup() -> None:
        with operation("backup", "shop", "v1") as claim, scratch_cleared(claim):
            restore_copy.fn(claim, take_backup.fn(claim))

    try:
        with (
            shop.untouched(),
            once(lambda: scratch_asleep(shop), lambda: kill(scratch_of(shop))),
            pytest.raises(GoliveError) as caught,
        ):
            backup()
    finally:
        shop.sql("DROP FUNCTION lazy(integer) CASCADE")
    assert caught.value.do, f"no advice in {caught.value}"
    assert shop.latest().state == "stopped"
    nothing_left(shop)


def test_a_scratch_server_killed_amid_the_rehearsal_stops_the_release_before_production(shop):
    shop.add_version("v2-rehearsed", up={"1_grow": GROW + SLEEP_IN.format("rehearsal")})
    shop.write({"migration.limits.duration": "60s"})
    with (
        shop.untouched(),
        once(lambda: scratch_asleep(shop), lambda: kill(scratch_of(shop))),
        pytest.raises(ConnectionLost) as caught,
    ):
        shop.release("v2-rehearsed")
    assert "migrations/1_grow_up.sql:2" in str(caught.value)
    assert caught.value.do, f"no advice in {caught.value}"
    row = shop.latest()
    assert (row.state, row.mutation_started_at) == ("stopped", None)
    nothing_left(shop)


def test_production_killed_amid_the_migration_comes_back_without_it_and_the_release_is_taken_back(shop, production):
    def kill_and_start() -> None:
        kill(production)
        EmbeddedServers().keep(production)

    shop.add_version("v2-killed", up={"1_grow": GROW + SLEEP_IN.format("shop_%")})
    shop.write({"migration.limits.duration": "60s"})
    with (
        shop.untouched(),
        once(lambda: asleep(shop.dsn), kill_and_start),
        pytest.raises(ConnectionLost) as caught,
    ):
        shop.release("v2-killed")
    assert "migrations/1_grow_up.sql:2" in str(caught.value)
    assert caught.value.do, f"no advice in {caught.value}"
    row = shop.latest()
    assert row.state == "rolled_back"
    assert row.mutation_started_at is not None
    nothing_left(shop)
