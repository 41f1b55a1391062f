"""A migration through PgBouncer: refused where each transaction may get another session, run where it keeps its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tasks.domain.errors import GoliveError, Refused
from tasks.domain.ports import World
from tasks.domain.target import Target
from tasks.migrators.sql import Sql
from tests.flows import wait_until
from tests.parts import require_part
from tests.services import free_port


@pytest.fixture
def pooled(database: str, open_directory: Path, world: World) -> Iterator[dict[str, str]]:
    """The DSNs by which a pooler leads to the database, by its mode."""
    program, port, given = require_part("pgbouncer"), free_port(), conninfo_to_dict(database)
    place = f"host={given['host']} port={given['port']} dbname={given['dbname']} user={given['user']}"
    databases = "\n".join(f"{mode} = {place} password={given['password']} pool_mode={mode}" for mode in MODES)
    config = open_directory / "pgbouncer.ini"
    config.write_text(
        f"[databases]\n{databases}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\n"
        "unix_socket_dir =\ndefault_pool_size = 5\nserver_reset_query_always = 0\n"
    )
    account = ["-u", "nobody"] if os.geteuid() == 0 else []
    with (open_directory / "log").open("wb") as log:
        process = subprocess.Popen([program, *account, config], stdout=log, stderr=log)
    dsns = {mode: f"postgresql://anybody@127.0.0.1:{port}/{mode}" for mode in MODES}

    def answers() -> bool:
        try:
            with world.databases.session(dsns["session"]):
                return True
        except GoliveError:
            return process.poll() is not None

    try:
        wait_until(answers, 30)
        assert process.poll() is None, (open_directory / "log").read_text()
        yield dsns
    finally:
        process.kill()
        process.wait(10)


MODES = ("session", "transaction", "statement")


def test_a_pooler_is_refused_unless_it_keeps_sessions(pooled, database, world, tmp_path):
    (tmp_path / "a.sql").write_text("CREATE TABLE a ();")
    migrator = Sql(files=("a.sql",))
    target = Target(world=world, system="shop", version="2.0", release_dir=tmp_path)
    for mode in ("transaction", "statement"):
        through = target.at(dsn=pooled[mode])
        for run in (migrator.require_possible, migrator.upgrade):
            with pytest.raises(Refused, match=r"pooler.*database\.dsn") as caught:
                run(through)
            assert caught.value.where == pooled[mode]
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT to_regclass('a')").fetchone() == (None,)
    for dsn in (pooled["session"], database):
        migrator.require_possible(target.at(dsn=dsn))
    assert migrator.upgrade(target.at(dsn=pooled["session"])).applied == ("a.sql",)
    assert migrator.pending(target.at(dsn=database)) == []
