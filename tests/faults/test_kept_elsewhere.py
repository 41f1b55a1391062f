"""A release whose backup lies encrypted in a store and nowhere else: it goes back from there, or says why not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.domain.errors import BackupNotProven, SecretMissing, UserError
from tasks.domain.ports import RunningServer
from tasks.drill import drill
from tasks.ledger.models import Backup, Release
from tasks.ledger.releases import Claim
from tasks.spec.loading import load
from tests.flows import ON_TITLE, RENAME, SmallSystem, a_running_system
from tests.stores import LocalS3, a_backup, a_key, local_s3

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def s3() -> Iterator[LocalS3]:
    with local_s3() as store:
        yield store


@pytest.fixture(scope="module")
def running(pg_server: RunningServer, prefect_server: str) -> Iterator[SmallSystem]:
    with a_running_system(pg_server) as system:
        yield system


@pytest.fixture
def shop(running: SmallSystem, s3: LocalS3, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallSystem]:
    """A system that v1 serves, whose backups are kept in the store alone, encrypted."""
    public, secret = a_key()
    identity = running.home / "backup.key"
    identity.write_text(secret)
    identity.chmod(0o600)
    monkeypatch.setenv("STORE_SECRET", s3.options["secret"])
    monkeypatch.setenv("STORE_KEY", s3.options["key"])
    options = s3.options | {"key": "${env:STORE_KEY}", "secret": "${env:STORE_SECRET}"}
    with running.in_environment():
        running.write(
            {
                "backup.storage": {"url": f"s3://{s3.bucket}/golive", "options": options, "keep_local": 0},
                "backup.encrypt": {"recipients": [public], "identity": f"${{file:{identity}}}"},
            }
        )
        yield running


def on_disk(shop: SmallSystem) -> list[str]:
    return sorted(path.name for path in (shop.home / "golive/systems/shop/backups").iterdir())


def in_store(s3: LocalS3) -> list[str]:
    return sorted({path.split("/")[2] for path in s3.names() if path.startswith("golive/shop/")})


def read(release: Release, kept: Backup) -> None:
    from tasks.context import context_of
    from tasks.keeping import opened

    with opened(context_of(Claim(release.id, release.epoch, "test")), kept) as taken:
        assert taken.content


def test_the_way_back_leads_through_the_store_and_only_with_what_was_proven(shop, s3):
    before = shop.content()
    shop.add_version("v2-up", query=ON_TITLE, up={"1_rename": RENAME})
    shop.release("v2-up")
    row = shop.latest()
    kept = shop.ledger.evidence.backup_of(row.id)
    (name,) = in_store(s3)
    assert kept.location == f"s3://{s3.bucket}/golive/shop/{name}"
    assert kept.proof["encrypted"] == "age"
    assert on_disk(shop) == []
    counted = shop.ledger.evidence.rehearsal(row.id).detail["counters"]
    assert counted["public.item"] >= 500, "what a rollback would lose is counted from the manifest in the store"
    objects = s3.names()
    assert all(path.endswith((".age", "/manifest.json")) for path in objects)
    told = json.dumps(shop.sql_in_ledger("SELECT detail FROM step"), default=str) + json.dumps(kept.proof)
    for secret in (s3.options["secret"], (shop.home / "backup.key").read_text().splitlines()[-1]):
        assert secret not in told

    table = max(objects, key=lambda path: s3.direct.size(f"{s3.bucket}/{path}"))
    whole = s3.direct.cat_file(f"{s3.bucket}/{table}")
    manifest = next(path for path in objects if path.endswith("manifest.json"))
    edited = s3.direct.cat_file(f"{s3.bucket}/{manifest}").replace(b'"rows": 500', b'"rows": 499')
    for path, content, said in (
        (table, whole[:-1], "cannot be decrypted"),
        (table, whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:], "cannot be decrypted"),
        (manifest, edited, "not the backup that is on record"),
    ):
        was = s3.damage(path, content)
        with pytest.raises(BackupNotProven, match=said):
            read(row, kept)
        s3.damage(path, was)

    identity = shop.home / "backup.key"
    right = identity.read_text()
    identity.unlink()
    with pytest.raises(SecretMissing, match="No such file"):
        read(row, kept)
    identity.write_text(a_key()[1])
    identity.chmod(0o600)
    with pytest.raises(BackupNotProven, match="No matching keys found"):
        shop.rollback(reason="too slow", accept_loss=100)
    assert (shop.latest().state, shop.serving(), on_disk(shop)) == ("needs_person", "v2-up", [])
    identity.write_text(right)

    assert shop.rollback(reason="too slow", accept_loss=100) == "v1"
    assert shop.content() == before
    assert on_disk(shop) == [], "what was fetched and decrypted for the restore is gone again"


def test_what_a_backup_builds_upon_is_fetched_with_it_and_stays_on_the_disk_as_long_as_it_does(shop, s3):
    from tasks.context import context_of
    from tasks.keeping import keep, opened, readable_copies
    from tasks.retire import _retire

    release = shop.latest()
    shop.write({"backup.encrypt": None, "backup.storage.keep_local": 1})
    ctx = replace(
        context_of(Claim(release.id, release.epoch, "test")), file=load(shop.home / "systems/shop/release.yaml")
    )
    names = [f"2027010{day}T000000000-{release.id}" for day in (1, 2)]
    for number, name in enumerate(names):
        taken = a_backup(ctx.world, shop.home / "golive/systems/shop/backups" / name, {"own": name.encode()})
        _kept, told = keep(ctx, taken.directory, taken.digest)
        proof = {"tables": {}, "manifest_sha256": taken.digest, "needs": names[:number], **told}
        ctx.ledger.evidence.backed_up(
            release.id, "shop", kind="dump", location=told["store"], size=1, took=1.0, proven=True, proof=proof
        )
    assert [path.name for path in readable_copies(ctx)] == names[::-1]
    _retire(ctx)
    assert set(names) <= set(on_disk(shop))
    rows = ctx.ledger.evidence.backups("shop")
    for name in names:
        shutil.rmtree(shop.home / "golive/systems/shop/backups" / name)
        assert name in in_store(s3)
    with opened(ctx, rows[0]) as taken:
        assert (taken.content / "own").read_text() == names[1]
        assert (taken.directory.with_name(names[0]) / "dump/own").read_text() == names[0]
    for row in rows[:2]:
        ctx.ledger.evidence.removed_backup(row.id, "the test is over")
    with pytest.raises(BackupNotProven, match="is not kept any more"), opened(ctx, rows[0]):
        pass


def test_retention_covers_the_store_and_a_wrong_key_is_refused_before_anything_is_dumped(shop, s3):
    ended = shop.latest().id
    left = f"golive/shop/20260101T000000000-{ended}/dump/toc.dat.age"
    foreign = "golive/shop/20260101T000000000-shop-of-another-ledger/manifest.json"
    for path in (left, foreign):
        s3.direct.pipe_file(f"{s3.bucket}/{path}", b"x")
    shop.write({"backup.keep": 1, "backup.storage.keep_local": 1})
    locations = [shop.phase("backup", "v1") for _ in range(2)]
    newest = Path(locations[-1]).name
    assert in_store(s3) == sorted([newest, "20260101T000000000-shop-of-another-ledger"])
    assert on_disk(shop) == [newest], "the newest stays at hand"
    assert list((shop.home / "golive/systems/shop/backups").rglob("*.dat")) == [], "and that encrypted"
    (kept,) = shop.ledger.evidence.backups("shop")
    assert kept.location == locations[-1]
    read(shop.latest(), kept)
    next((shop.home / "golive/systems/shop/backups" / newest).rglob("*.age")).write_bytes(b"damaged")
    read(shop.latest(), kept)
    shutil.rmtree(shop.home / "golive/systems/shop/backups" / newest)
    drilled = drill.fn("shop", 86400.0, "")
    assert (drilled.outcome, f"backup {kept.id} of " in drilled.seen) == ("passed", True)
    s3.damage(f"golive/shop/{newest}/manifest.json", b"{}")
    with pytest.raises(BackupNotProven, match="its manifest cannot be read"):
        read(shop.latest(), kept)

    (shop.home / "backup.key").write_text(a_key()[1])
    with pytest.raises(UserError, match="belongs to none of the recipients"):
        shop.phase("backup", "v1")
    assert on_disk(shop) == []
