"""The connection to production is cut in the middle of something: what is true is asked for and never assumed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.adapters import dsn as dsns
from tasks.domain.errors import CommandFailed, ConnectionLost, GoliveError
from tasks.domain.ports import RunningServer
from tests.flows import ON_TITLE, RENAME, RENAME_BACK, SmallSystem
from tests.proxies import Proxy, proxied


@pytest.fixture(scope="module")
def proxy(pg_server: RunningServer) -> Iterator[Proxy]:
    with proxied(int(dsns.options(pg_server.dsn())["port"])) as made:
        yield made


@pytest.fixture(scope="module")
def running_v1(pg_server: RunningServer, prefect_server: str, proxy: Proxy) -> Iterator[SmallSystem]:
    """A system whose production is reached through the proxy, and that v1 serves; its tests leave it so."""
    home = Path(tempfile.mkdtemp(prefix="golive-test-"))
    home.chmod(0o755)
    system = SmallSystem.make(home, pg_server)
    behind = f":{proxy.behind}/"
    assert behind in system.dsn
    (home / "golive/systems/shop/backups").mkdir(parents=True)
    system.dsn = system.variables["SHOP_DSN"] = system.dsn.replace(behind, f":{proxy.port}/")
    try:
        with system.in_environment():
            system.phase("deploy", "v1")
        yield system
    finally:
        system.close()
        shutil.rmtree(home, ignore_errors=True)


def backups(shop: SmallSystem) -> list[str]:
    return sorted(path.name for path in (shop.home / "golive/systems/shop/backups").iterdir())


def steps_failed(shop: SmallSystem) -> list[str]:
    return [name for _phase, name, event in shop.steps() if event == "failed"]


@pytest.mark.parametrize("words", [b"hashtextextended", b"pg_export_snapshot"])
def test_a_connection_that_is_cut_amid_a_backup_costs_another_try(shop, proxy, words):
    before = proxy.cuts
    with shop.untouched():
        proxy.cut_at(words)
        proven = Path(shop.phase("backup", "v1"))
        assert proxy.cuts == before + 1
    assert steps_failed(shop) == ["take the backup"]
    assert proven.name in backups(shop)
    assert not [name for name in backups(shop) if name.startswith(".")]
    assert shop.latest().state == "done"


def test_a_dump_whose_connection_alone_is_cut_is_no_backup(shop, proxy):
    before, there = proxy.cuts, backups(shop)
    with shop.untouched():
        proxy.cut_at(b"COPY public.item")
        with pytest.raises(CommandFailed, match="pg_dump: error") as caught:
            shop.phase("backup", "v1")
        assert proxy.cuts == before + 1
    assert "take a new backup" in caught.value.do
    assert shop.latest().state == "stopped"
    assert backups(shop) == there


def signed(shop: SmallSystem, version: str) -> str:
    """Bring a release as far as the signature for what then touches production."""
    shop.write({"sign_off": {"go": ["dba"]}})
    shop.add_version(version, query=ON_TITLE, up={"1_rename": RENAME}, down={"1_rename": RENAME_BACK})
    shop.release(version)
    assert shop.latest().state == "awaiting_go"
    return str(shop.latest().id)


@pytest.mark.parametrize(
    ("words", "answered", "committed"),
    [
        ((b"RENAME COLUMN",), False, False),
        ((b"RENAME COLUMN", b"COMMIT"), False, False),
        ((b"RENAME COLUMN", b"COMMIT"), True, True),
    ],
    ids=["before the statement", "before the commit", "after the commit"],
)
def test_a_connection_that_is_cut_amid_the_migration_leaves_nobody_in_doubt(shop, proxy, words, answered, committed):
    """v1 does not run on the new schema: taken for not committed, the release would leave it broken."""
    release = signed(shop, f"v2-{len(words)}-{answered}".lower())
    before = proxy.cuts
    with shop.untouched():
        proxy.cut_at(*words, answered=answered)
        with pytest.raises(GoliveError) as caught:
            shop.approve(release, "dba", "bob")
        assert proxy.cuts == before + 1
    assert isinstance(caught.value, ConnectionLost)
    assert "migrations/1_rename_up.sql" in str(caught.value)
    assert caught.value.do, f"no advice in {caught.value}"
    row = shop.latest()
    assert (row.id, row.state) == (release, "rolled_back")
    taken_back = [name for _phase, name, event in shop.steps() if (name, event) == ("take the schema back", "done")]
    assert bool(taken_back) is committed
