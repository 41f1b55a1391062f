"""The how-tos for which golive, its database and a small system are enough, done as they say."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tasks.domain.release import State
from tests.documents import DOCS, ROOT
from tests.flows import GROW, ON_TITLE, RENAME, SmallSystem
from tests.parts import require_part
from tests.reading import Page, Reader, a_reader, rest
from tests.services import free_port
from tests.shells import a_shell
from tests.stores import LocalS3, local_s3
from tests.watched import Probed, put_under_watch, watch_file

pytestmark = pytest.mark.timeout(300)
RELEASE = "shop-20261122-0205-k3f9"
"""The release of the pages."""


@pytest.fixture(scope="module")
def reader_of_all(running_v1: SmallSystem, golive_programs: Path) -> Iterator[Reader]:
    running_v1.add_version("v2", up={"1_grow": GROW}, down={"1_grow": "ALTER TABLE item DROP COLUMN colour;\n"})
    with a_reader(running_v1, golive_programs) as found:
        yield found


@pytest.fixture
def reader(reader_of_all: Reader, shop: SmallSystem) -> Iterator[Reader]:
    """Somebody who looks after a system that v1 serves, by a release file as it is by default."""
    yield reader_of_all
    rest(shop)


@pytest.fixture
def store() -> Iterator[LocalS3]:
    with local_s3() as found:
        yield found


def newest_backup(system: SmallSystem) -> Any:
    return max(system.ledger.evidence.backups(system.name), key=lambda one: one.id)


def test_back_up_and_restore(reader: Reader, database: str) -> None:
    shop = reader.system
    page = Page(
        "docs/how-to/back-up-and-restore.md",
        words={
            "postgresql://…": database,
            "12": lambda: newest_backup(shop).id,
            "/backups/shop": str(shop.home / "backups"),
        },
    )
    said = reader.follow(page)
    assert "proven" in said["golive backup shop"]
    assert str(newest_backup(shop).id) in said["golive backups shop"]
    assert "as proven after a restore" in said["golive drill shop"]
    assert shop.sql("SELECT count(*) AS n FROM item", database) == [{"n": 500}]
    reader.runs("golive backup shop")
    assert Path(newest_backup(shop).location).parent == shop.home / "backups"


def test_roll_back_by_hand(reader: Reader) -> None:
    shop = reader.system
    shop.add_version("v3", query=ON_TITLE, up={"1_rename": RENAME})
    shop.release("v3")
    shop.sql("UPDATE item SET price = price + 1 WHERE id <= 7 RETURNING id")
    first = 'golive rollback shop --reason "orders fail"'
    counted = r"--accept-loss (\d+)"
    page = Page(
        "docs/how-to/roll-back-by-hand.md",
        words={"v2": "v3", "120": lambda: re.findall(counted, reader.said[first])[-1]},
        ends={first: {11}},
    )
    said = reader.follow(page)
    assert "shop v1 serves again" in said['golive rollback shop --accept-loss 120 --reason "orders fail"']
    assert "may be released again" in said['golive unblock shop v2 --by ann --reason "it was the network"']
    assert (shop.serving(), shop.latest().state) == ("v1", State.ROLLED_BACK)


def test_sign(reader: Reader) -> None:
    shop = reader.system
    status, approve = f"golive status {RELEASE}", f"golive approve {RELEASE} --role dba --by bob"
    page = Page(
        "docs/how-to/sign.md",
        words={
            RELEASE: lambda: shop.latest().id,
            'days: [tue, wed, thu], between: "02:00-05:00"': 'between: "00:00-24:00"',
        },
        before={status: lambda: shop.release("v2", started_by="ann")},
    )
    said = reader.follow(page)
    assert "technical_lead" in said[status]
    assert "technical_lead" in said[approve]
    assert [(one.role, one.person) for one in shop.ledger.evidence.signatures(shop.latest().id)] == [("dba", "bob")]


def test_watch(reader: Reader, service: Probed) -> None:
    from tasks.monitor import look_after

    shop = reader.system
    triggers = [{"kind": "down", "for": "10m"}, {"kind": "errors", "above": "20%", "for": "15m"}]
    watch_file(shop, service, rollback={"when": triggers})
    release = put_under_watch(shop)
    look_after.fn(release)

    def understood_by_prometheus(text: str) -> None:
        rules = {"groups": [{"name": "golive", "rules": YAML(typ="safe").load(text)}]}
        (shop.home / "rules.yml").write_text(json.dumps(rules))
        reader.runs(f"{require_part('promtool')} check rules rules.yml")

    page = Page(
        "docs/how-to/watch.md",
        words={
            "8000": str(free_port()),
            "API answers": "it answers",
            RELEASE: release,
            "deployments/systems/shop/release.yaml": str(shop.path),
        },
        takes={"- alert: GoliveDoesNotLook": understood_by_prometheus},
    )
    said = reader.follow(page)
    assert "1 " in said[f"golive replay {RELEASE}"]
    metrics = reader.runs("golive metrics")
    named = set(re.findall(r"\b(golive_\w+?)(?=\{|`|\b[^_…])", page.document.read_text(encoding="utf-8")))
    assert {one for one in named if f"# TYPE {one} " not in metrics} == set()


def test_check_more(reader: Reader) -> None:
    shop = reader.system
    shop.sql("ALTER TABLE item ADD COLUMN IF NOT EXISTS colour text; CREATE TABLE orders (id integer, item integer)")
    page = Page("docs/how-to/check-more.md", words={"8101, 8102": f"{free_port()}, {free_port()}"})
    try:
        reader.follow(page)
        phases = (f"--phase {phase}" for phase in shop.file["checks"] if phase != "rehearsal")
        shown = reader.runs(f"golive check shop {' '.join(phases)}")
    finally:
        shop.sql("ALTER TABLE item DROP COLUMN colour; DROP TABLE orders")
    assert "shop v1: 9 passed" in shown


def test_canary(reader: Reader) -> None:
    shop = reader.system
    page = Page("docs/how-to/canary.md", words={"8000": str(shop.port), "8101, 8102": f"{free_port()}, {free_port()}"})
    reader.follow(page)
    assert "send 5% of the requests to v2" in reader.runs("golive plan shop v2")


def test_a_service_that_migrates_itself(reader: Reader) -> None:
    shop = reader.system
    shop.write({"router": {"kind": "embedded", "listen": shop.port}})
    page = Page(
        "docs/how-to/a-service-that-migrates-itself.md",
        words={"8101, 8102": f"{free_port()}, {free_port()}"},
        takes={"v2 changes the schema when it starts:": lambda _said: None},  # test_changes_at_start.py sees it said
    )
    reader.follow(page)
    assert "the start of v2" in reader.runs("golive plan shop v2")


def test_bring_your_checklist(reader: Reader) -> None:
    shop = reader.system
    there = str(shop.path.parent / "checklist.csv")  # where the page has that of the shop
    rows = "".join(f"- [ ] Look at the part number {number} of it\n" for number in range(1, 86))
    (shop.home / "DEPLOYMENT.md").write_text(f"# Deployment\n\n## Before\n\n{rows}")
    page = Page(
        "docs/how-to/bring-your-checklist.md",
        words={"deployments/systems/shop/checklist.csv": there},
        ends={
            "golive checklist shop": {1},
            "golive checklist shop --open": {1},
            "golive checklist shop --json": {1},
        },
    )
    try:
        said = reader.follow(page)
    finally:
        Path(there).unlink(missing_ok=True)
    shown = json.loads(said["golive checklist shop --json"])
    assert (shown["counts"]["rows"], shown["counts"]["waived"]) == (85, 1)


def test_keep_backups_elsewhere(reader: Reader, store: LocalS3) -> None:
    require_part("age-keygen")
    shop = reader.system
    key, public = shop.home / "etc" / "backup.key", "age1swx0zkgg8kx6202ffpeclfg3935pwq7s3g2p6hcwwxxmph54sq3qsvjd55"
    page = Page(
        "docs/how-to/keep-backups-elsewhere.md",
        words={
            "/etc/golive": str(key.parent),
            "S3_KEY=… S3_SECRET=…": f"S3_KEY={store.options['key']} S3_SECRET={store.options['secret']}",
            public: lambda: reader.runs(f"age-keygen -y {key}"),
            "/backups/shop": str(shop.home / "elsewhere"),
            "s3://backups/golive": f"s3://{store.bucket}/golive",
            # Whoever uses Amazon's own store needs no address of it.
            'secret: "${env:S3_SECRET}"': 'secret: "${env:S3_SECRET}", client_kwargs: '
            + json.dumps(store.options["client_kwargs"]),
        },
    )
    said = reader.follow(page)
    assert "proven" in said["golive backup shop"]
    assert "as proven after a restore" in said["golive drill shop"]
    assert store.names()
    assert all(name.startswith("golive/") for name in store.names())
    can_be_read_without_golive(reader, store, key)


def can_be_read_without_golive(reader: Reader, store: LocalS3, key: Path) -> None:
    """Get the backup back as the runbook says for when there is no golive."""
    command = "age -d -i backup.key -o FILE FILE.age"
    assert f"`{command}`" in (DOCS / "runbook.md").read_text(encoding="utf-8")
    (manifest,) = {name for name in store.names() if name.endswith("/manifest.json")}
    there = reader.system.home / "fetched"
    store.direct.get(f"{store.bucket}/{Path(manifest).parent}/", f"{there}/", recursive=True)
    files: dict[str, str] = json.loads((there / "manifest.json").read_text())["files"]
    for path, sha256 in files.items():
        filled = command.replace("backup.key", str(key)).replace("FILE", path)
        reader.runs(f"(cd {there} && {filled})")
        assert hashlib.sha256((there / path).read_bytes()).hexdigest() == sha256
    assert files


def test_write_a_check(reader: Reader) -> None:
    there = reader.system.home / "golive-of-ones-own"
    for name in ("deployments", "docs", "flows", "migrations", "tasks"):
        shutil.copytree(ROOT / name, there / name, ignore=shutil.ignore_patterns("__pycache__"))
    check = there / "tasks" / "checks" / "queue_depth.py"
    first = '"""The depth of a queue kept in a table."""'
    page = Page("docs/how-to/write-a-check.md", takes={first: check.write_text})
    environment = {**os.environ, "PYTHONPATH": str(there)}
    with a_shell(there, environment) as shell:
        own = Reader(shell, reader.system)
        own.runs(f'golive() {{ {sys.executable} -m deployments.cli "$@"; }}')
        own.follow(page)
    assert "queue_depth" in (there / "docs" / "release.schema.json").read_text()
    assert "How many may wait." in (there / "docs" / "reference" / "release-file.md").read_text()


def test_the_readme(reader: Reader, tmp_path: Path) -> None:
    """Its ``make`` only tells what it would run, which tests of their own do run."""
    shop = reader.system
    (shop.path.parent / "checklist.csv").write_text(
        "id,phase,section,item,nature,how\nSH-001,backup,Before,back up,action,pg_dump\n"
    )
    shop.write({"checklist": {"steps": {"backup": ["SH-001"]}}})
    service = tmp_path / "your-service"
    service.mkdir()
    (service / "Procfile").write_text("web: python service.py --port 8000\n")
    page = Page(
        "README.md",
        words={
            "make": f"{require_part('make')} --dry-run --directory={ROOT}",
            "postgresql://…": shop.dsn,
            "/srv/…": str(shop.home / "versions"),
            "ann.…": "ann.word",
            "./your-service": str(service),
            "glad-labs": "shop",
            "--reason …": "--reason slow",
        },
        # Nobody works for the Prefect server of the tests, and the doctor says so.
        ends={"golive doctor": {4}},
    )
    try:
        said = reader.follow(page)
    finally:
        shutil.rmtree(shop.path.parents[1] / "your-service", ignore_errors=True)
        (shop.path.parent / "checklist.csv").unlink()
    assert "golive up" in said["make up"]
    assert "examples.demo" in said["make demo"]
    assert "is live and watched" in said["golive release glad-labs v2"]
    assert "shop v1 serves again" in said["golive rollback glad-labs --reason …"]
