"""What the tests share: a real PostgreSQL, fresh databases, directories that its user can reach, and a world."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tasks.domain.ports import RunningServer, Session, World

if TYPE_CHECKING:
    from tasks.ledger.ledger import Ledger
    from tests.flows import SmallSystem
    from tests.managers import Manager
    from tests.nursery import Nursery
    from tests.sshd import Sshd
    from tests.watched import Later, Probed


def pytest_report_header() -> str:
    from tasks.adapters.pg_binaries import package_directories, version_in, wheel_directories

    def names(parent: Path) -> list[str]:
        return sorted(path.name for path in parent.glob("*"))

    found = []
    for directory in (*wheel_directories(), *package_directories(names)):
        if (directory / "postgres").exists():
            said = subprocess.run([directory / "postgres", "--version"], check=False, capture_output=True, text=True)
            found.append(version_in(said.stdout)[1])
    return f"PostgreSQL: {', '.join(found) or 'none'}"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Name a failure as it happens: a long run may be broken off before its summary."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        said = report.longreprtext.splitlines()[-1:]
        sys.stderr.write(f"\n{report.when} failed: {report.nodeid}: {' '.join(said)}\n")


def _open_directory() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="golive-test-"))
    directory.chmod(0o755)
    return directory


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A fresh directory that PostgreSQL's user can reach, which as root ``tmp_path`` is not."""
    directory = _open_directory()
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def pg_server(request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    """One throwaway server per worker; the newest embedded version, or the major given as an indirect parameter."""
    from tasks.adapters.pg_server import EmbeddedServers

    directory = _open_directory()
    try:
        with EmbeddedServers().throwaway(directory / "server", major=getattr(request, "param", None)) as server:
            yield server
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def database(pg_server: RunningServer) -> Iterator[str]:
    """The DSN of a fresh, empty database, dropped afterwards."""
    from tasks.adapters.postgres import Postgres

    postgres, admin = Postgres(), pg_server.dsn()
    name = f"test_{secrets.token_hex(6)}"
    with postgres.session(admin) as session:
        session.execute(f"CREATE DATABASE {name}")
    yield postgres.with_database(admin, name)
    with postgres.session(admin) as session:
        session.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def session(world: World, database: str) -> Iterator[Session]:
    """A connection to the fresh database."""
    with world.databases.session(database) as opened:
        yield opened


@pytest.fixture
def world() -> World:
    """The outside as golive's real adapters see it."""
    from tasks.adapters.age import Age
    from tasks.adapters.clock import SystemClock
    from tasks.adapters.host import LocalHost
    from tasks.adapters.http import HttpxHttp
    from tasks.adapters.kafka import KafkaClients
    from tasks.adapters.network import SocketNetwork
    from tasks.adapters.pg_server import EmbeddedServers
    from tasks.adapters.pg_tools import ClientTools
    from tasks.adapters.postgres import Postgres
    from tasks.adapters.redis import RedisConnections
    from tasks.adapters.secrets import SecretStore
    from tasks.adapters.storage import FsspecStores

    host = LocalHost()
    return World(
        clock=SystemClock(),
        http=HttpxHttp(),
        host=host,
        databases=Postgres(),
        pg_tools=ClientTools(host),
        pg_servers=EmbeddedServers(),
        secrets=SecretStore(),
        stores=FsspecStores(),
        cipher=Age(),
        network=SocketNetwork(),
        redis=RedisConnections(),
        kafka=KafkaClients(),
    )


@pytest.fixture(scope="session")
def systemd_manager() -> Iterator[Manager]:
    """A systemd of this process's own, with a user's manager; one per worker."""
    from tests.managers import systemd_running

    with systemd_running() as found:
        yield found


@pytest.fixture(scope="session")
def one_nursery() -> Iterator[Nursery]:
    """What forks processes of golive's; one per worker."""
    from tests.nursery import a_nursery

    with a_nursery() as found:
        yield found


@pytest.fixture
def nursery(one_nursery: Nursery) -> Nursery:
    """What forks processes of golive's that a test kills; none was killed yet."""
    one_nursery.forget()
    return one_nursery


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[str]:
    """The API of a Prefect server that the flows of this process use; one per worker."""
    from tests.flows import prefect_api

    with prefect_api() as api:
        yield api


@pytest.fixture(scope="session")
def golive_programs(prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory for the ``PATH`` of shells, with a ``golive`` that is imported once; one per worker."""
    from tests.shells import forked_golive

    with forked_golive(tmp_path_factory.mktemp("programs"), os.environ) as found:
        yield found


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[str]:
    """The address of a Docker engine with the tests' image; one per worker."""
    from tests.engines import engine

    with engine() as address:
        yield address


@pytest.fixture
def own_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let golive know nothing of this machine's own installation, and keep what it has below the test's directory."""
    for name in [name for name in os.environ if name.startswith(("PREFECT_", "GOLIVE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GOLIVE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GOLIVE_SYSTEMS", str(tmp_path / "systems"))


@pytest.fixture
def small_system(open_directory: Path, pg_server: RunningServer, prefect_server: str) -> Iterator[SmallSystem]:
    """A small system with a service, a database and a ledger of its own; no version is deployed yet."""
    from tests.flows import SmallSystem

    system = SmallSystem.make(open_directory, pg_server)
    try:
        yield system
    finally:
        system.close()


@pytest.fixture
def service() -> Iterator[Probed]:
    """What a watched system's probe asks, whose answers the test decides."""
    from tests.watched import probed

    with probed() as service:
        yield service


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Later:
    """Let the ledger's clock show so much more than it does."""
    from tasks.ledger.evidence import Evidence

    real = Evidence.now

    def move_on(**by: float) -> None:
        monkeypatch.setattr(Evidence, "now", lambda evidence: real(evidence) + timedelta(**by))

    return move_on


@pytest.fixture(scope="module")
def running_v1(pg_server: RunningServer, prefect_server: str) -> Iterator[SmallSystem]:
    """A system that v1 serves; the tests of a module share it and leave it so."""
    from tests.flows import a_running_system

    with a_running_system(pg_server) as system:
        yield system


@pytest.fixture
def shop(running_v1: SmallSystem) -> Iterator[SmallSystem]:
    """The system that v1 serves, with its release file as it is by default."""
    running_v1.file = running_v1.plain_file()
    running_v1.write()
    with running_v1.in_environment():
        yield running_v1


@pytest.fixture
def ledger(database: str) -> Iterator[Ledger]:
    """A ledger of the test's own."""
    from tasks.ledger.ledger import Ledger

    found = Ledger(database)
    found.ensure_ready()
    yield found
    found.close()


@pytest.fixture
def sshd() -> Iterator[Sshd]:
    """An sshd of the test's own, which it may spoil."""
    from tests.sshd import an_sshd

    with an_sshd() as server:
        yield server
