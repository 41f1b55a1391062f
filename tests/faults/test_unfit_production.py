"""Production that golive may not write to, or not read all of: it is told before anything is changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.adapters import dsn as dsns
from tasks.adapters.pg_account import server_account
from tasks.adapters.pg_cluster import Cluster
from tasks.adapters.pg_server import _binaries, usable
from tasks.adapters.postgres import Postgres
from tasks.domain.errors import ChecksFailed
from tasks.domain.ports import World
from tests.flows import GROW, SmallSystem


@pytest.fixture(scope="module")
def running_v1(running_v1: SmallSystem) -> SmallSystem:
    """A system that v1 serves and that has a v2; its tests leave it so."""
    running_v1.add_version("v2", up={"1_grow": GROW})
    return running_v1


def assert_stopped(shop: SmallSystem, *words: str) -> None:
    with shop.untouched(), pytest.raises(ChecksFailed) as caught:
        shop.release("v2")
    for word in words:
        assert word in str(caught.value)
    assert caught.value.do
    row = shop.latest()
    assert (row.state, row.mutation_started_at) == ("stopped", None)
    assert not [name for phase, name, _event in shop.steps() if phase != "preflight"]


@pytest.fixture
def standby(world: World, shop: SmallSystem, open_directory: Path) -> Iterator[str]:
    """The DSN of the system's database on a standby of its server."""
    with Postgres().session(shop.dsn) as session:
        version = session.server_version
    account = server_account()
    cluster = Cluster(open_directory / "standby", usable(_binaries(version // 10000, exact=True), account), account)
    cluster.make_directory()
    world.pg_tools.base_backup(shop.dsn, cluster.data, server_version=version, rate=0, timeout=60)
    (cluster.data / "standby.signal").touch()
    (cluster.directory / "password").write_text(dsns.options(shop.dsn)["password"])
    for path in (cluster.data, *cluster.data.rglob("*")):
        account.own(path)
    try:
        cluster.start()
        port = cluster.dsn("postgres").rpartition(":")[2].partition("/")[0]
        user, _, place = shop.dsn.rpartition("@")
        yield f"{user}@127.0.0.1:{port}/{place.partition('/')[2]}"
    finally:
        cluster.stop("immediate")


def test_a_standby_is_no_production(shop, standby):
    os.environ["SHOP_DSN"] = standby
    assert_stopped(shop, "a standby")


def test_a_read_only_database_is_no_production(shop):
    name = Postgres().name_of(shop.dsn)
    elsewhere = Postgres().with_database(shop.dsn, "postgres")
    shop.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on", elsewhere)
    try:
        assert_stopped(shop, "default_transaction_read_only")
    finally:
        shop.sql(f"ALTER DATABASE {name} RESET default_transaction_read_only", elsewhere)


def test_rows_that_a_policy_hides_from_golive_stop_the_release(shop):
    role = f"owner_{os.urandom(4).hex()}"
    shop.sql(f"CREATE ROLE {role} LOGIN CREATEDB PASSWORD 'a-word'")
    shop.sql("ALTER TABLE note ENABLE ROW LEVEL SECURITY")
    shop.sql("CREATE POLICY few ON note USING (id < 3)")
    shop.sql(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    os.environ["SHOP_DSN"] = f"postgresql://{role}:a-word@{shop.dsn.rpartition('@')[2]}"
    try:
        assert_stopped(shop, "may not read all of", "note", "does not own")
    finally:
        shop.sql("DROP POLICY few ON note")
        shop.sql("ALTER TABLE note DISABLE ROW LEVEL SECURITY")
        shop.sql(f"DROP OWNED BY {role}")
        shop.sql(f"DROP ROLE {role}")
