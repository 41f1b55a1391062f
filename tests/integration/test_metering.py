"""Golive's own metrics: what they say of a watched release, and that Prometheus takes them."""

from __future__ import annotations

import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from tasks.domain.exposition import samples, total
from tasks.domain.ports import RunningServer
from tasks.domain.release import State
from tasks.metering import publish_metrics
from tests.flows import SmallSystem
from tests.parts import require_part
from tests.watched import Probed, probe_all_along, put_under_watch, second_system, watch_file


@pytest.fixture
def system(open_directory: Path, pg_server: RunningServer, service: Probed) -> Iterator[SmallSystem]:
    system = SmallSystem.make(open_directory, pg_server)
    try:
        for version in ("v2", "v3"):
            system.add_version(version)
        watch_file(system, service)
        yield system
    finally:
        system.close()


def shown() -> str:
    return CliRunner().invoke(app, ["metrics"]).stdout


def accepted(text: str) -> str:
    """What Prometheus's own tool finds wrong with metrics."""
    done = subprocess.run(
        [require_part("promtool"), "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return f"{done.returncode}: {done.stdout}{done.stderr}"


def test_metrics_tell_where_releases_stand_and_prometheus_takes_them(
    system: SmallSystem, service: Probed, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.monitor import look_after

    assert accepted(shown()) == "0: ", "before there is any release"
    release = put_under_watch(system, left=1.0)
    probe_all_along(system, release, failed=2, missing=2)
    look_after.fn(release)
    second_system(system, "store", service)
    back = put_under_watch(system, name="store", state=State.HEALTH)
    system.ledger.releases.seize(back, State.HEALTH, State.ROLLING_BACK, "a test")
    system.ledger.releases.seize(back, State.ROLLING_BACK, State.ROLLED_BACK, "a test")
    text = shown()
    assert accepted(text) == "0: "
    found = samples(text)

    def value(selector: str) -> Any:
        return total(found, selector)

    assert value('golive_release_info{system="shop",version="v2",state="watching"}') == 1
    assert value('golive_release_info{system="store",state="rolled_back"}') == 1
    row = system.ledger.releases.get(release)
    assert value('golive_release_live_timestamp_seconds{system="shop"}') == pytest.approx(row.live_at.timestamp())
    looked = system.ledger.evidence.looks(release)[-1]
    assert value('golive_last_look_timestamp_seconds{system="shop"}') == pytest.approx(looked.at.timestamp())
    assert value(f'golive_last_look_outcome{{system="shop",outcome="{looked.outcome}"}}') == 1
    assert value("golive_last_look_outcome") == 1
    assert value('golive_watch_probes_failed{system="shop"}') == 2
    assert value('golive_rollbacks_total{system="store",by="person"}') == 1
    assert value('golive_messages_undelivered{system="shop"}') == len(system.ledger.outbox.messages(release))
    assert value("golive_guard_alive") == 1, "the test holds its lease"
    assert value("golive_messages_dead") == 0

    place = system.home / "metrics" / "golive.prom"
    assert publish_metrics.fn() == ""
    monkeypatch.setenv("GOLIVE_METRICS_FILE", str(place))
    assert publish_metrics.fn() == str(place)
    assert samples(place.read_text()) != []
    assert stat.S_IMODE(place.stat().st_mode) == 0o644
    assert [one.name for one in place.parent.iterdir()] == ["golive.prom"]
    monkeypatch.setenv("GOLIVE_METRICS_FILE", str(place / "under a file"))
    assert publish_metrics.fn() == "", "no look is held up for it"


def test_a_release_file_that_cannot_be_read_any_more_hides_no_other_system(
    system: SmallSystem, service: Probed
) -> None:
    release = put_under_watch(system)
    system.sql(f"UPDATE release SET file_text = 'system: [' WHERE id = '{release}' RETURNING id", system.ledger_url)
    second_system(system, "store", service)
    put_under_watch(system, name="store")
    found = samples(shown())
    assert total(found, 'golive_release_info{system="shop",state="watching"}') == 1
    assert total(found, 'golive_watch_coverage_ratio{system="store"}') == 0
    assert total(found, 'golive_watch_coverage_ratio{system="shop"}') is None
