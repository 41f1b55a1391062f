from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tasks.adapters.host import LocalHost
from tasks.adapters.pg_server import EmbeddedServers
from tasks.adapters.pg_tools import ClientTools
from tasks.adapters.postgres import Postgres
from tasks.domain.errors import CommandFailed, TimedOut, ToolMissing, UserError

POSTGRES = Postgres()
TOOLS = ClientTools(LocalHost())
SCHEMA = """
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TABLE a (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, b text NOT NULL UNIQUE, m mood DEFAULT 'good');
CREATE TABLE c (a bigint REFERENCES a ON DELETE CASCADE, d jsonb, CHECK (d <> 'null'));
CREATE INDEX c_d ON c USING gin (d);
CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$
-- a comment that stays


SELECT 1 $$;
CREATE VIEW v AS SELECT b, f() FROM a;
COMMENT ON SCHEMA public IS 'ours';
ALTER SCHEMA public OWNER TO CURRENT_USER;
REVOKE ALL ON SCHEMA public FROM public;
INSERT INTO a (b) SELECT repeat(md5(g::text), 20) FROM generate_series(1, 3000) g;
INSERT INTO c SELECT id, jsonb_build_object('b', b) FROM a;
"""


def version_of(dsn: str) -> int:
    with POSTGRES.session(dsn) as session:
        return session.server_version


def new_database(dsn: str, name: str) -> str:
    with POSTGRES.session(dsn) as session:
        session.execute('CREATE DATABASE "' + name.replace('"', '""') + '"')
    return POSTGRES.with_database(dsn, name)


def drop_database(dsn: str, name: str) -> None:
    with POSTGRES.session(dsn) as session:
        session.execute('DROP DATABASE "' + name.replace('"', '""') + '" WITH (FORCE)')


def dump(dsn: str, directory: Path, tools: ClientTools = TOOLS, snapshot: str | None = None) -> None:
    tools.dump(dsn, directory, server_version=version_of(dsn), jobs=2, snapshot=snapshot, timeout=60)


def restore(directory: Path, dsn: str, tools: ClientTools = TOOLS) -> None:
    tools.restore(directory, dsn, server_version=version_of(dsn), jobs=2, timeout=60)


def test_a_dump_within_a_snapshot_restores_to_that_snapshot_and_schema(database: str, tmp_path: Path) -> None:
    archive, version = tmp_path / "archive", version_of(database)
    with POSTGRES.session(database, autocommit=False) as holder, POSTGRES.session(database) as writer:
        writer.script(SCHEMA)
        holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        snapshot = holder.value("SELECT pg_export_snapshot()")
        writer.execute("DELETE FROM c")
        dump(database, archive, snapshot=snapshot)
    assert "TABLE DATA public c" in TOOLS.archive_list(archive, server_version=version)
    assert archive.stat().st_mode & 0o777 == 0o700

    name = POSTGRES.name_of(database) + ' cöpy";=x'
    copy = new_database(database, name)
    restore(archive, copy)
    with POSTGRES.session(copy) as session:
        assert session.value("SELECT count(*) FROM c") == 3000
    schema = TOOLS.schema(copy, server_version=version)
    assert schema == TOOLS.schema(database, server_version=version)
    assert "a comment that stays" in schema
    assert "Dumped" not in schema
    assert "restrict" not in schema.replace("_restrict", "")

    with POSTGRES.session(copy) as session:
        session.execute("ALTER TABLE a ALTER b DROP NOT NULL")
    assert TOOLS.schema(copy, server_version=version) != schema
    drop_database(database, name)


@pytest.mark.parametrize(("source", "target"), [(16, 16), (16, 18), (18, 18)])
def test_archives_go_to_servers_of_the_same_and_newer_versions(
    open_directory: Path, tmp_path: Path, source: int, target: int
) -> None:
    servers = EmbeddedServers()
    with (
        servers.throwaway(open_directory / "a", major=source) as old,
        servers.throwaway(open_directory / "b", major=target) as new,
    ):
        production, copy = new_database(old.dsn(), "x"), new_database(new.dsn(), "x")
        with POSTGRES.session(production) as session:
            session.script(SCHEMA)
        dump(production, tmp_path / "archive")
        restore(tmp_path / "archive", copy)
        newest = max(version_of(production), version_of(copy))
        schemas = [TOOLS.schema(dsn, server_version=newest) for dsn in (production, copy)]
        assert schemas[0] == schemas[1]


def test_an_archive_of_a_newer_pg_dump_is_refused_before_an_old_server_is_touched(
    database: str, open_directory: Path, tmp_path: Path
) -> None:
    dump(database, tmp_path / "archive")
    with EmbeddedServers().throwaway(open_directory / "old", major=16) as old, pytest.raises(ToolMissing) as caught:
        restore(tmp_path / "archive", old.dsn())
    assert "restore into a server of 17 or newer" in caught.value.do


def test_the_tools_are_never_older_than_the_server() -> None:
    assert int(TOOLS.versions(160014)["pg_dump"].split(".")[0]) == 16
    assert int(TOOLS.versions(170000)["pg_dump"].split(".")[0]) >= 17
    assert int(TOOLS.versions(90600)["pg_restore"].split(".")[0]) >= 9
    with pytest.raises(ToolMissing, match=r"there are: .*18"):
        TOOLS.versions(990000)


def installation(directory: Path, version: str, lacks: str = "nothing") -> Path:
    """Make programs that say but their version, note what they were told, and do not compress by what they lack."""
    directory.mkdir()
    for tool in ("pg_dump", "pg_restore", "pg_basebackup"):
        program = directory / tool
        program.write_text(
            f"#!/bin/sh\necho {tool} \"$*\" >> '{directory}/told'\n"
            f"case \"$*\" in *{lacks}*) echo 'cannot compress by {lacks}' >&2; exit 1;; esac\n"
            f"echo '{tool} (PostgreSQL) {version}'\n"
        )
        program.chmod(0o755)
    return directory


def test_directories_that_are_named_come_first(tmp_path: Path) -> None:
    named = installation(tmp_path / "16", "16.99")
    assert TOOLS.versions(160000) != ClientTools(LocalHost(), [named]).versions(160000)
    assert ClientTools(LocalHost(), [named]).versions(160000)["pg_dump"] == f"16.99 ({named})"


def test_every_server_gets_the_oldest_tools_that_are_not_older_and_whose_archive_it_takes_back(tmp_path: Path) -> None:
    installed = [installation(tmp_path / str(major), f"{major}.1") for major in (12, 14, 16, 17, 18)]
    chosen = {major: ClientTools(LocalHost(), installed, only=True).versions(major * 10000) for major in range(12, 19)}
    assert {major: tools["pg_dump"].split(".")[0] for major, tools in chosen.items()} == {
        12: "12", 13: "14", 14: "14", 15: "16", 16: "16", 17: "17", 18: "18",
    }  # fmt: skip
    newer = ClientTools(LocalHost(), installed[3:], only=True)
    assert newer.versions(170000)["pg_dump"].startswith("17.1 ")
    with pytest.raises(ToolMissing, match=r"no pg_dump that fits among those of .*; there are: 17\.1 in") as caught:
        newer.versions(160000)
    assert caught.value.expected.startswith("version 16 to 16: a server before 17 does not understand")
    assert "database.tools" in caught.value.do


def test_a_dump_is_compressed_by_zstd_where_the_tools_can_and_then_restored_by_such_alone(tmp_path: Path) -> None:
    by_zstd = installation(tmp_path / "17", "17.1")
    by_gzip = [installation(tmp_path / name, f"{name}.1", lacks="zstd") for name in ("15", "16")]
    dsn = "postgresql://golive@127.0.0.1/shop"
    for directory, option in zip((by_zstd, *by_gzip), ("zstd:1", "1", "gzip:1"), strict=True):
        version = int(directory.name) * 10000
        tools = ClientTools(LocalHost(), [directory], only=True)
        tools.dump(dsn, directory / "dump", server_version=version, jobs=2, snapshot=None, timeout=20)
        assert f" --compress={option}" in (directory / "told").read_text().splitlines()[-1]
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive/1.dat.zst").touch()
    given: dict[str, Any] = {"server_version": 170000, "jobs": 2, "timeout": 20}
    with pytest.raises(ToolMissing) as caught:
        ClientTools(LocalHost(), by_gzip, only=True).restore(tmp_path / "archive", dsn, **given)
    assert "built with zstd" in caught.value.expected
    ClientTools(LocalHost(), [by_zstd, *by_gzip], only=True).restore(tmp_path / "archive", dsn, **given)
    assert (by_zstd / "told").read_text().splitlines()[-1].startswith("pg_restore --exit-on-error ")


def test_a_release_file_names_the_tools_for_its_database(tmp_path: Path) -> None:
    from tasks.context import world_of
    from tasks.settings import Settings
    from tasks.spec.database import Database
    from tasks.spec.release_file import ReleaseFile

    named = installation(tmp_path / "18", "18.1")
    database = Database.model_validate({"dsn": "${env:DSN}", "tools": {"directory": str(named)}})
    values: dict[str, Any] = {"database": database}
    file = ReleaseFile.model_construct(None, **values)
    assert world_of(file).pg_tools.versions(180000)["pg_dump"] == f"18.1 ({named})"
    with pytest.raises(ToolMissing):
        world_of(file).pg_tools.versions(160000)
    settings = Settings.from_environment({"GOLIVE_PG_TOOLS": f"{named}:/opt/pg/bin", "HOME": str(tmp_path)})
    assert settings.pg_tools == (named, Path("/opt/pg/bin"))
    assert settings.environment["GOLIVE_PG_TOOLS"] == f"{named}:/opt/pg/bin"


def test_a_truncated_archive_is_not_restored(database: str, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    with POSTGRES.session(database) as session:
        session.script(SCHEMA)
    dump(database, archive)
    largest = max(archive.glob("*.dat*"), key=lambda path: path.stat().st_size if path.name != "toc.dat" else 0)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
    name = POSTGRES.name_of(database) + "_copy"
    copy = new_database(database, name)
    with pytest.raises(CommandFailed):
        restore(archive, copy)
    drop_database(database, name)

    toc = archive / "toc.dat"
    toc.write_bytes(toc.read_bytes()[:200])
    with pytest.raises(CommandFailed):
        TOOLS.archive_list(archive, server_version=version_of(database))


def test_a_restore_stops_at_the_first_error(database: str, tmp_path: Path) -> None:
    with POSTGRES.session(database) as session:
        session.script(SCHEMA)
    dump(database, tmp_path / "archive")
    with pytest.raises(CommandFailed, match="already exists"):
        restore(tmp_path / "archive", database)


def test_no_password_is_seen_while_dumping_and_none_is_left_behind(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    password = "a:b\\c'd \"e@/?%ü"
    role = POSTGRES.name_of(database) + "_owner"
    with POSTGRES.session(database) as holder:
        holder.execute("CREATE TABLE t (a int)")
        quoted = password.replace("'", "''")
        holder.execute(f"CREATE ROLE {role} SUPERUSER LOGIN PASSWORD '{quoted}'")
        place = database.partition("@")[2].partition("/")[0].split(":")
        escaped = password.replace("\\", "\\\\").replace("'", "\\'")
        dsn = f"host={place[0]} port={place[1]} user={role} dbname={POSTGRES.name_of(database)} password='{escaped}'"
        TOOLS.versions(version_of(dsn))
        with holder.transaction():
            holder.execute("LOCK TABLE t")
            running = threading.Thread(target=dump, args=(dsn, tmp_path / "archive"))
            running.start()
            processes = _processes_with(str(tmp_path / "archive"))
            passfiles = list(temporary.glob("*/pgpass"))
            assert [path.stat().st_mode & 0o777 for path in passfiles] == [0o600]
            assert [path.parent.stat().st_mode & 0o777 for path in passfiles] == [0o700]
        running.join(60)
    assert processes
    for process in processes:
        assert b"b\\c" not in process
    assert (tmp_path / "archive/toc.dat").exists()
    assert not list(temporary.iterdir())
    with POSTGRES.session(database) as session:
        session.execute(f"DROP ROLE {role}")


def _processes_with(argument: str) -> list[bytes]:
    """Wait for processes with this argument; return their command lines and environments."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                cmdline = (process / "cmdline").read_bytes()
                if argument.encode() in cmdline and cmdline.split(b"\0")[0].endswith(b"pg_dump"):
                    found.append(cmdline + (process / "environ").read_bytes())
            except OSError:
                continue
        if found:
            return found
        time.sleep(0.02)
    return []


def test_a_wrong_password_fails_at_once_without_asking(database: str, tmp_path: Path) -> None:
    version = version_of(database)
    user, _, place = database.rpartition("@")
    wrong = f"{user}x@{place}"
    with pytest.raises(CommandFailed, match="authentication failed") as caught:
        TOOLS.dump(wrong, tmp_path / "archive", server_version=version, jobs=1, snapshot=None, timeout=30)
    assert user.rpartition(":")[2] not in str(caught.value)
    assert not (tmp_path / "archive").exists()


def test_a_dump_that_takes_too_long_leaves_nothing(database: str, tmp_path: Path) -> None:
    version = version_of(database)
    with POSTGRES.session(database) as holder:
        holder.execute("CREATE TABLE t (a int)")
        with holder.transaction():
            holder.execute("LOCK TABLE t")
            with pytest.raises(TimedOut):
                TOOLS.dump(database, tmp_path / "archive", server_version=version, jobs=1, snapshot=None, timeout=1)
    assert not (tmp_path / "archive").exists()


def test_a_dump_never_goes_over_another(database: str, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("here")
    with pytest.raises(UserError):
        dump(database, tmp_path)
    assert (tmp_path / "kept").exists()
