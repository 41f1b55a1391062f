from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.adapters import pg_server
from tasks.adapters.pg_account import server_account
from tasks.adapters.pg_binaries import wheel_directories
from tasks.adapters.pg_server import EmbeddedServer, EmbeddedServers
from tasks.adapters.postgres import Postgres
from tasks.domain.errors import AccessDenied, ServerTrouble, ToolMissing, Unreachable, UserError
from tasks.domain.ports import World

POSTGRES = Postgres()
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs servers as another user")


@pytest.fixture
def server(open_directory: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(open_directory / "server")
    server.ensure_running()
    yield server
    server.stop()


def postmaster_of(directory: Path) -> int:
    return int((directory / "data/postmaster.pid").read_text().split()[0])


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}/cwd").exists() and time.monotonic() < deadline:
        time.sleep(0.02)


@pytest.mark.parametrize(("asked", "least"), [(None, 18), (14, 14), (16, 16), (17, 17), (18, 18)])
def test_a_throwaway_server_is_not_older_than_asked(open_directory: Path, asked: int | None, least: int) -> None:
    with EmbeddedServers().throwaway(open_directory / "server", major=asked) as server:
        with POSTGRES.session(server.dsn()) as session:
            assert session.server_version // 10000 >= least
            assert session.value("SHOW fsync") == "off"
            assert session.value("SHOW listen_addresses") == "127.0.0.1"
            assert session.value("SELECT upper('ä')") == "Ä"
        pid = postmaster_of(open_directory / "server")
    assert not (open_directory / "server").exists()
    assert not Path(f"/proc/{pid}/cwd").exists()


def test_a_version_that_nothing_provides_is_named(open_directory: Path) -> None:
    with pytest.raises(ToolMissing, match="99"), EmbeddedServers().throwaway(open_directory / "server", major=99):
        pass


def test_a_throwaway_server_ends_with_an_exception(open_directory: Path) -> None:
    with pytest.raises(ZeroDivisionError), EmbeddedServers().throwaway(open_directory / "server") as server:  # noqa: PT012
        dsn = server.dsn()
        raise ZeroDivisionError
    assert not (open_directory / "server").exists()
    with pytest.raises(Unreachable), POSTGRES.session(dsn):
        pass


def test_a_throwaway_server_wants_its_password(open_directory: Path) -> None:
    with EmbeddedServers().throwaway(open_directory / "server") as server:
        place = server.dsn().rpartition("@")[2]
        with pytest.raises(AccessDenied), POSTGRES.session(f"postgresql://postgres@{place}"):
            pass
        assert (open_directory / "server/password").stat().st_mode & 0o777 == 0o600
        assert (open_directory / "server").stat().st_mode & 0o777 == 0o700


def test_what_a_killed_run_left_is_stopped_and_replaced(open_directory: Path) -> None:
    directory = open_directory / "server"
    killed = EmbeddedServer(directory)
    killed.ensure_running()
    dsn = killed.dsn()
    with EmbeddedServers().throwaway(directory) as server:
        assert server.dsn() != dsn
        with pytest.raises((Unreachable, AccessDenied)), POSTGRES.session(dsn):
            pass


def test_a_directory_with_something_else_is_left_alone(open_directory: Path) -> None:
    (open_directory / "kept").write_text("here")
    with pytest.raises(UserError), EmbeddedServers().throwaway(open_directory):
        pass
    assert (open_directory / "kept").exists()


@as_root
def test_a_directory_closed_to_the_servers_user_is_refused_and_left_as_it_is(open_directory: Path) -> None:
    closed = open_directory / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(AccessDenied) as caught, EmbeddedServers().throwaway(closed / "server"):
        pass
    assert caught.value.where == str(closed)
    assert "choose a directory" in caught.value.do
    assert closed.stat().st_mode & 0o777 == 0o700


@as_root
def test_programs_that_the_servers_user_cannot_reach_are_copied(
    tmp_path: Path, open_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    original = wheel_directories()[-1]
    package = original.parent.parent
    private = tmp_path / package.name / original.parent.name
    shutil.copytree(original.parent, private)
    shutil.copytree(package.parent / f"{package.name}.libs", tmp_path / f"{package.name}.libs")
    monkeypatch.setattr(pg_server, "COPIES", open_directory / "copies")
    monkeypatch.setattr(pg_server, "_binaries", lambda _major: private / "bin")
    for name in ("a", "b"):
        with (
            EmbeddedServers().throwaway(open_directory / name) as server,
            POSTGRES.session(server.dsn()) as session,
        ):
            assert session.value("SELECT 1") == 1
    assert len(list((open_directory / "copies").iterdir())) == 1


def test_a_lasting_server_keeps_its_data_and_address(server: EmbeddedServer) -> None:
    dsn = server.dsn('My "ledger"; x')
    with POSTGRES.session(dsn) as session:
        session.execute("CREATE TABLE t (a int)")
        assert session.value("SHOW fsync") == "on"
    server.stop()
    server.stop()
    with pytest.raises(ServerTrouble):
        server.dsn()
    server.ensure_running()
    server.ensure_running()
    assert server.dsn('My "ledger"; x') == dsn
    with POSTGRES.session(dsn) as session:
        assert session.value("SELECT count(*) FROM t") == 0


def test_a_lasting_server_survives_being_killed(server: EmbeddedServer, open_directory: Path) -> None:
    directory = open_directory / "server"
    with POSTGRES.session(server.dsn()) as session:
        session.execute("CREATE TABLE t AS SELECT 1")
        kill(postmaster_of(directory))
    server.ensure_running()
    with POSTGRES.session(server.dsn()) as session:
        assert session.value("SELECT count(*) FROM t") == 1


def test_a_process_that_got_the_killed_servers_number_is_not_taken_for_it(
    server: EmbeddedServer, open_directory: Path
) -> None:
    directory, account = open_directory / "server", server_account()
    pid_file = directory / "data/postmaster.pid"
    lines = pid_file.read_text().splitlines()
    kill(int(lines[0]))
    other = subprocess.Popen(["sleep", "60"], user=account.uid if account.user else None)
    try:
        pid_file.write_text("\n".join([str(other.pid), *lines[1:]]) + "\n")
        account.own(pid_file)
        server.stop()
        assert other.poll() is None
        server.ensure_running()
        assert postmaster_of(directory) != other.pid
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_processes_that_start_it_at_once_start_it_once(open_directory: Path) -> None:
    directory = open_directory / "server"
    code = (
        "import sys; from pathlib import Path; from tasks.adapters.pg_server import EmbeddedServer;"
        "server = EmbeddedServer(Path(sys.argv[1])); server.ensure_running(); print(server.dsn('shared'))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(directory)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    try:
        said = [process.communicate(timeout=60)[0] for process in processes]
        assert [process.returncode for process in processes] == [0, 0, 0]
        assert len(set(said)) == 1
        assert (directory / "server.log").read_text().count("database system is ready") == 1
    finally:
        EmbeddedServer(directory).stop()


def test_the_world_of_the_tests_is_made_of_the_real_adapters(world: World, database: str) -> None:
    with world.databases.session(database) as session:
        assert session.value("SELECT 1") == 1
        assert world.pg_tools.versions(session.server_version)["pg_dump"]


def test_a_kept_server_logs_little_until_it_is_told_to_log_fully(open_directory):
    servers, directory = EmbeddedServers(), open_directory / "kept"
    try:
        before = servers.keep(directory).dsn()
        assert asked(before, "SHOW wal_level") == "minimal"
        asked(before, "CREATE TABLE item AS SELECT 1 AS n")
        for _ in range(2):
            servers.log_fully(directory)
            after = servers.keep(directory).dsn()
            assert asked(after, "SHOW wal_level") == "replica"
            assert asked(after, "SELECT n FROM item") == 1
    finally:
        servers.remove(directory)


def asked(dsn, statement):
    with Postgres().session(dsn) as session:
        rows = session.query(statement)
        return next(iter(rows[0].values())) if rows else None
