"""What ordinaut's release file checks of the machine, the server and the monitoring fails where these are wrong."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tasks.checking import measure
from tasks.domain.outcome import Outcome, Reading
from tasks.domain.ports import World
from tasks.domain.target import Target
from tasks.spec import loading
from tests import monitoring
from tests.certificates import Authority
from tests.engines import IMAGE, clear, docker
from tests.looks import F, P, U
from tests.parts import small_disk
from tests.scripted import scripted
from tests.spoiling import change
from tests.systems import SYSTEMS

FILE = loading.load(SYSTEMS / "ordinaut" / "release.yaml")


@pytest.fixture
def target(world: World, tmp_path: Path) -> Target:
    return Target(world, "ordinaut", "v2", root=tmp_path, release_dir=tmp_path)


def look(target: Target, name: str, **there: Any) -> Reading:
    """Look as the release file says, at what is somewhere else here."""
    seen = measure(FILE.check(name).model_copy(update=there), target).reading
    print(f"{name}: {seen.outcome}: {seen.seen}")  # noqa: T201 - shown when a test fails
    return seen


def outcomes(target: Target, *names: str, **there: Any) -> dict[str, Outcome]:
    return {name: look(target, name, **there).outcome for name in names}


def settled(target: Target, wanted: Mapping[str, Outcome], **there: Any) -> None:
    """Look until all comes out as it must, for a minute at most."""
    for _ in range(300):
        if outcomes(target, *wanted, **there) == wanted:
            return
        target.world.clock.sleep(0.2)
    assert outcomes(target, *wanted, **there) == wanted


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("nobody but its owner is a superuser", "SUPERUSER"),
        ("nobody but its owner may make roles", "CREATEROLE"),
        ("nobody but its owner may make databases", "CREATEDB"),
        ("nobody else may log in to the database", "NOINHERIT"),
    ],
)
def test_a_role_that_may_do_too_much_is_named(target, database, name, right):
    guest, at = f"guest_{secrets.token_hex(4)}", target.at(dsn=database)
    # The owner of the tests' server is one that Ordinaut's does not have.
    owners = look(at, name)
    change(database, f"CREATE ROLE {guest} LOGIN {right}")
    try:
        found = look(at, name)
        assert (found.outcome, found.value) == (F, (owners.value or 0) + 1)
        assert guest in found.seen
        change(database, f"ALTER ROLE {guest} NOLOGIN")
        assert guest not in look(at, name).seen
    finally:
        change(database, f"DROP ROLE {guest}")


def test_a_disk_without_room_is_found(target, tmp_path):
    share = ("Docker and the backups have room to grow", "the backups have room to grow")
    size = ("the disk of Docker has room", "the disk of the backups has room", "the root disk has room")
    with small_disk(tmp_path / "roomy", "3g") as disk:
        assert set(outcomes(target, *share, *size, path=str(disk)).values()) == {P}
    with small_disk(tmp_path / "full", "2m") as disk:
        (disk / "dump").write_bytes(b"x" * 1_900_000)
        assert set(outcomes(target, *share, *size, path=str(disk)).values()) == {F}
    assert set(outcomes(target, *share, path=str(tmp_path / "gone")).values()) == {U}


def test_a_certificate_that_has_expired_or_soon_will_is_found(target, tmp_path):
    authority, name = Authority(tmp_path), "the certificate is valid"
    ends = {timedelta(days=-1): F, timedelta(days=2): F, timedelta(days=200): P}
    for end, outcome in ends.items():
        issued = authority.issue("ordinaut.example.com", start=timedelta(days=-9), end=end)
        assert look(target, name, file=str(issued.cert)).outcome is outcome
    assert look(target, name, file=str(authority.ca.with_name("none.pem"))).outcome is P, "there need not be one"


JOBS = ("the backup is scheduled", "the health check is scheduled")


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ("0 2 * * * /usr/local/bin/daily_backup.sh\n*/5 * * * * /usr/local/bin/health_check.sh\n", (P, P)),
        ("0 2 * * 0 /usr/local/bin/daily_backup.sh\n# */5 * * * * /usr/local/bin/health_check.sh\n", (F, F)),
        ("# 0 2 * * * /usr/local/bin/daily_backup.sh\n*/5 * * * * /usr/local/bin/health_check.sh\n", (F, P)),
        ("*/5 * * * * /usr/local/bin/daily_backup.sh\n", (P, F)),
    ],
)
def test_a_job_that_is_not_scheduled_is_found(target, tmp_path, monkeypatch, table, found):
    (tmp_path / "crontab").write_text(f"#!/bin/sh\ncat <<'END'\n{table}END\n")
    (tmp_path / "crontab").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert tuple(outcomes(target, *JOBS).values()) == found


STATS, BURNS = "no container uses more than its share", "no container of the version uses up a processor"
BURN = "import os\nfor _ in range(3): os.fork()\nwhile True: pass"


@pytest.fixture
def containers(docker_engine: str) -> Iterator[str]:
    """An engine with the containers that Ordinaut consists of, each with 64 MB and nothing to do."""
    for name in FILE.check(STATS).model_dump()["containers"]:
        docker(docker_engine, "run", "-d", "--network", "host", "--memory", "64m", "--name", name,
               IMAGE, "/bin/sleep", "600")  # fmt: skip
    yield docker_engine
    clear(docker_engine)


def test_a_container_that_uses_up_its_memory_or_processor_or_is_away_is_found(target, containers):
    name = "ordinaut-main-worker"
    assert look(target, STATS, engine=containers).outcome is P
    # The limit is low, and eight work at it, for the test's machine has other things to do as well.
    settled(target, {STATS: P, BURNS: P}, engine=containers, cpu=0.1)
    docker(containers, "exec", "-d", name, "/usr/bin/python3", "-c", BURN)
    settled(target, {STATS: F, BURNS: F}, engine=containers, cpu=0.1)
    assert f"{name} uses of a processor" in look(target, BURNS, engine=containers, cpu=0.1).seen
    docker(containers, "rm", "-f", name)
    assert look(target, STATS, engine=containers).outcome is U
    hoard = "import time; kept = b'x' * (50 << 20); time.sleep(600)"
    docker(containers, "run", "-d", "--network", "host", "--memory", "64m", "--name", name,
           IMAGE, "/usr/bin/python3", "-c", hoard)  # fmt: skip
    settled(target, {STATS: F}, engine=containers)
    assert f"{name} uses of its memory" in look(target, STATS, engine=containers).seen


METRICS = [
    f"the metric {name} has data"
    for name in ("http_requests_total", "database_connections", "task_processing_rate", "worker_active_count")
]
REQUESTS = "at most 20 % of the requests fail"
CRITICAL = "no critical alert has fired"
BAD_RULES = '      - {alert: NoWorkers, expr: "vector(1)", labels: {severity: critical}}\n'


def test_a_prometheus_without_data_rules_or_targets_is_found_and_errors_are(target, tmp_path):
    (tmp_path / "silent").mkdir()
    with monitoring.prometheus(tmp_path / "silent") as url:
        assert set(outcomes(target, *METRICS, url=url).values()) == {F}
        assert outcomes(target, REQUESTS, CRITICAL, url=url) == {REQUESTS: U, CRITICAL: P}
        wrong = ("Prometheus reaches every target", "Prometheus has the rules of the alerts")
        assert set(outcomes(target, *wrong, url=url).values()) == {F}
    (tmp_path / "ill").mkdir()
    with scripted({}) as service:
        service.answers = _Failing()
        place = urlsplit(service.url).netloc
        with monitoring.prometheus(tmp_path / "ill", monitoring.RULES + BAD_RULES, [place]) as url:
            settled(target, {METRICS[0]: P, REQUESTS: F, CRITICAL: F}, url=url)


class _Failing(dict[str, Any]):
    """What tells of requests of which half fail, at each scrape of five more."""

    count = 0

    def get(self, _path: str, _default: Any = None) -> Any:
        self.count += 5
        return "".join(f'http_requests_total{{status="{status}"}} {self.count}\n' for status in (200, 500))


DELIVERED = "a test alert comes in, reaches its receiver and goes out"


def test_a_test_alert_that_never_arrives_is_a_failure(target, tmp_path):
    """Alertmanager is well and takes it, and whoever is to be told is away."""
    with monitoring.alertmanager(tmp_path, "http://127.0.0.1:1/nobody") as url:
        ops = {"url": url, "labels": {"team": "ops"}, "receivers": ("ops",)}
        assert look(target, DELIVERED, **ops, delivered=None).outcome is P
        lost = look(target, DELIVERED, **ops, delivered=3.0)
        assert (lost.outcome, "deliver" in lost.seen) == (F, True)


def test_an_alertmanager_that_sends_alerts_nowhere_or_holds_many_is_found(target, tmp_path):
    healthy, quiet, few = (
        "Alertmanager is healthy",
        "Alertmanager has its receiver and no critical alert",
        "at most five alerts fire",
    )
    with monitoring.alertmanager(tmp_path) as url:
        assert look(target, healthy, url=f"{url}/api/v2/status").outcome is P
        assert outcomes(target, quiet, few, url=url) == {quiet: F, few: P}
        assert look(target, DELIVERED, url=url, delivered=None).seen.count("ops-team")
        assert look(target, DELIVERED, url=url, delivered=None).outcome is F
        labels = [{"alertname": f"Alert{number}", "severity": "critical"} for number in range(6)]
        monitoring.posted(f"{url}/api/v2/alerts", [{"labels": one} for one in labels])
        assert look(target, few, url=url).outcome is F
    assert look(target, few, url=url).outcome is not P
