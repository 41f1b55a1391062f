"""PostgreSQL's client programs in a container image, on a real Docker engine and a real server."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo

from tasks.adapters.pg_binaries import wheel_directories
from tasks.adapters.pg_image import InImage
from tasks.adapters.pg_tools import ClientTools
from tasks.context import world_of
from tasks.domain.errors import CommandFailed, TimedOut, ToolMissing
from tasks.domain.ports import Command
from tasks.spec.database import Database
from tasks.spec.release_file import ReleaseFile
from tests.engines import docker, image_of
from tests.processes import running

IMAGE = "golive-test:pg"
PROGRAMS = max(wheel_directories(), key=lambda one: int("".join(filter(str.isdigit, one.parent.name)) or 0))


@pytest.fixture(scope="module")
def host(docker_engine):
    image_of(docker_engine, IMAGE, ("/bin/sleep", *(str(PROGRAMS / name) for name in ("pg_dump", "pg_restore"))), {})
    return InImage(IMAGE, PROGRAMS, docker_engine)


def test_a_dump_is_made_and_restored_by_the_programs_of_an_image(host, world, database, tmp_path, docker_engine):
    tools, databases = ClientTools(host, [PROGRAMS], only=True), world.databases
    with databases.session(database) as session:
        session.script("CREATE TABLE t AS SELECT g AS id FROM generate_series(1, 1000) g; CREATE SCHEMA other")
        version = session.server_version
        session.execute("CREATE ROLE dumper LOGIN SUPERUSER PASSWORD 'hidden-word'")
    seen: list[str] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.02):
            seen.extend(one.words for one in running() if "golive-tools" in one.words)
            ids = docker(docker_engine, "ps", "-q", "--filter", "name=golive-tools").split()
            seen.extend(_inspect(docker_engine, one) for one in ids)

    watching = threading.Thread(target=look)
    watching.start()
    try:
        dsn = make_conninfo(database, user="dumper", password="hidden-word")
        tools.dump(dsn, tmp_path / "archive", server_version=version, jobs=2, snapshot=None, timeout=60)
    finally:
        ended.set()
        watching.join()
        with databases.session(database) as session:
            session.execute("DROP ROLE dumper")
    assert any("PGPASSFILE=" in words for words in seen)
    assert not [words for words in seen if "hidden-word" in words]
    assert "TABLE DATA public t" in tools.archive_list(tmp_path / "archive", server_version=version)
    before = tools.schema(database, server_version=version)
    with databases.session(database) as session:
        session.script("DROP TABLE t; DROP SCHEMA other")
    tools.restore(tmp_path / "archive", database, server_version=version, jobs=2, timeout=60)
    assert tools.schema(database, server_version=version) == before
    with databases.session(database) as session:
        assert session.value("SELECT count(*) FROM t") == 1000
    assert docker(docker_engine, "ps", "-aq", "--filter", "name=golive-tools") == ""


def _inspect(address: str, container: str) -> str:
    try:
        return docker(address, "inspect", container)
    except Exception:  # noqa: BLE001 - it has ended in between
        return ""


def test_what_takes_too_long_or_fails_leaves_no_container(host, docker_engine):
    with pytest.raises(TimedOut):
        host.run(Command(("/bin/sh", "-c", "trap '' TERM; while :; do sleep 1; done"), timeout=1.0))
    with pytest.raises(CommandFailed, match="exit code 7"):
        host.run(Command(("/bin/sh", "-c", "exit 7"), timeout=20.0))
    end = time.monotonic() + 10
    while docker(docker_engine, "ps", "-aq", "--filter", "name=golive-tools"):
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_release_file_names_the_image(host, docker_engine, database, world):
    told = {"directory": str(PROGRAMS), "image": IMAGE, "engine": docker_engine}
    values: dict[str, Any] = {"database": Database.model_validate({"dsn": "${env:DSN}", "tools": told})}
    tools = world_of(ReleaseFile.model_construct(None, **values)).pg_tools
    with world.databases.session(database) as session:
        assert str(PROGRAMS) in tools.versions(session.server_version)["pg_dump"]
    assert not (PROGRAMS / "psql").exists() or not host.exists(PROGRAMS / "psql")  # the machine's own are not meant


def test_an_image_without_the_programs_is_told(docker_engine):
    empty = ClientTools(InImage(IMAGE, Path("/none"), docker_engine), [Path("/none")], only=True)
    with pytest.raises(ToolMissing, match=r"no pg_dump that fits among those of /none; there are: none"):
        empty.versions(160000)
