from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tasks.adapters.secrets import SecretStore
from tasks.checks.alert_delivery import AlertDelivery
from tasks.checks.alertmanager import Alertmanager
from tasks.checks.prometheus import Prometheus
from tasks.checks.prometheus_rules import PrometheusRules
from tasks.checks.prometheus_targets import PrometheusTargets
from tasks.domain.errors import OutsideError
from tasks.domain.outcome import Reading
from tasks.domain.ports import World
from tasks.domain.target import Target
from tests import monitoring
from tests.looks import F, P, U, look
from tests.scripted import ScriptedServer, scripted

SECRET = "s3cret-of-the-test"


@pytest.fixture(scope="module")
def prometheus_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with monitoring.prometheus(tmp_path_factory.mktemp("prometheus")) as url:
        yield url


@pytest.fixture(scope="module")
def webhook() -> Iterator[ScriptedServer]:
    with scripted({"/hook": {}}) as server:
        yield server


@pytest.fixture(scope="module")
def alertmanager_url(tmp_path_factory: pytest.TempPathFactory, webhook: ScriptedServer) -> Iterator[str]:
    with monitoring.alertmanager(tmp_path_factory.mktemp("alertmanager"), f"{webhook.url}/hook") as url:
        yield url


@pytest.fixture
def target(world: World, tmp_path: Path) -> Target:
    world = replace(world, secrets=SecretStore({"PASSWORD": SECRET}))
    return Target(world, "demo", "v2", root=tmp_path, release_dir=tmp_path)


class LaterClock:
    """The real clock, some minutes ahead."""

    def __init__(self, clock: Any, ahead: timedelta) -> None:
        self.clock, self.ahead = clock, ahead

    def now(self) -> Any:
        return self.clock.now() + self.ahead


def asked(target: Target, url: str, query: str, **fields: Any) -> Reading:
    return look(Prometheus, target, url=url, query=query, **fields)


def test_each_series_is_held_against_the_limits_and_the_worst_is_told(target, prometheus_url):
    assert asked(target, prometheus_url, 'up{job="prometheus"}', at_least=1).outcome is P
    reading = asked(target, prometheus_url, "up", at_least=1)
    assert reading.outcome is F
    assert reading.seen == 'up{instance="127.0.0.1:1",job="down"} 0 ≥ 1: failed'
    assert (reading.value, reading.limit, len(reading.detail["latest"])) == (0, 1, 2)
    assert asked(target, prometheus_url, "demo:up", at_least=1, at_most=1, unit="targets").seen.count("demo:up 1") == 2


@pytest.mark.parametrize(
    "query", ["no_such_metric", "vector(0)/0", "no_such_metric > 1", "vector(1)/0"], ids=["none", "NaN", "empty", "Inf"]
)
def test_no_data_and_no_number_are_unknown_against_a_limit(target, prometheus_url, query):
    assert asked(target, prometheus_url, query, at_most=10).outcome is U
    assert asked(target, prometheus_url, query, at_least=0).outcome is U


def test_without_a_limit_it_is_asked_whether_there_is_data(target, prometheus_url):
    assert asked(target, prometheus_url, "up").seen == "up has data, 2 series"
    assert asked(target, prometheus_url, "no_such_metric").outcome is F


def test_a_last_sample_that_is_too_old_is_unknown(target, prometheus_url):
    reading = asked(target, prometheus_url, "up offset 1ms", at_least=0, fresh="1ms")
    assert (reading.outcome, "the last sample is" in reading.seen) == (U, True)


def test_over_a_time_the_worst_point_or_the_average_decides_and_gaps_are_unknown(target, prometheus_url):
    query = "time() % 2 < bool 1"
    assert asked(target, prometheus_url, f"vector({query})", over="4m", at_most=0.6, take="average").outcome is P
    reading = asked(target, prometheus_url, f"vector({query})", over="4m", at_most=0.6, unit="s")
    assert (reading.outcome, reading.value, reading.unit) == (F, 1, "s")
    assert reading.seen.startswith(f"worst of vector({query}) over 4 min 1 s ≤ 0.6 s")
    reading = asked(target, prometheus_url, "demo:up", over="1h", at_least=0)
    assert reading.outcome is U
    assert "of 240 points have data, 80% are needed" in reading.seen


def test_a_look_that_comes_late_asks_over_the_whole_gap_as_finely(target, prometheus_url):
    late = target.at(looked={"it": target.world.clock.now() - timedelta(minutes=12)})
    # It was 1 for a minute, ten minutes ago, and is 0 since.
    at = int(target.world.clock.now().timestamp()) - 600
    query = f"vector((time() > bool {at}) * (time() < bool {at + 60}))"
    assert asked(target, prometheus_url, query, over="4m", at_most=0.5).outcome is P
    reading = asked(late, prometheus_url, query, over="4m", at_most=0.5)
    assert reading.outcome is F
    assert "over 12 min" in reading.seen
    assert asked(late, prometheus_url, query, over="4m", at_most=0.5, back_to_last_look=False).outcome is P
    gone = asked(late, prometheus_url, "demo:up", over="1s", at_least=0)
    assert "of 720 points have data" in gone.seen, "a gap of Prometheus itself is none of well-being"


def test_what_came_in_each_hour_of_the_past_weeks_is_reckoned_from_what_comes_in_a_second(target, prometheus_url):
    def came(query: str) -> dict[datetime, float]:
        check = Prometheus(name="requests per second", url=prometheus_url, query=query)
        found = check.hours_before(target, at=at, back=timedelta(days=28))
        assert all(one.until - one.since == timedelta(hours=1) for one in found)
        return {one.since: one.count for one in found}

    at = datetime(2026, 11, 23, 14, 20, tzinfo=UTC)
    found = came("vector(1) + 9 * (hour() == bool 12)")
    assert len(found) == 28 * 24
    assert (min(found), max(found)) == (datetime(2026, 10, 26, 14, tzinfo=UTC), datetime(2026, 11, 23, 13, tzinfo=UTC))
    assert found[datetime(2026, 11, 2, 12, tzinfo=UTC)] == pytest.approx(36_000, rel=0.1)
    assert found[datetime(2026, 11, 2, 5, tzinfo=UTC)] == pytest.approx(3600)
    assert came('up{job="of nobody"}') == {}


def test_a_query_that_prometheus_does_not_take_and_a_scalar_are_named(target, prometheus_url):
    with pytest.raises(OutsideError, match=r"status 400.*parse error"):
        asked(target, prometheus_url, "up{", at_most=1)
    with pytest.raises(OutsideError, match=r"gives a scalar.*vector"):
        asked(target, prometheus_url, "1 + 1", at_most=1)


def test_a_time_without_a_limit_is_refused():
    with pytest.raises(ValidationError, match="over needs at_least or at_most"):
        Prometheus.model_validate({"name": "it", "url": "http://x", "query": "up", "over": "1h"})


def test_targets_that_are_down_missing_or_not_scraped_are_told_apart(target, prometheus_url):
    def targets(*jobs: str, **fields: Any) -> Reading:
        return look(PrometheusTargets, target, url=prometheus_url, jobs=jobs, **fields)

    assert targets("prometheus").outcome is P
    assert "prometheus 127.0.0.1" in targets("prometheus").seen
    assert "connection refused" in targets("down", "prometheus").seen
    assert targets("none").seen == "job none has 0 targets ≥ 1: failed"
    assert targets("prometheus", at_least=2).outcome is F
    assert targets("late").outcome is U
    assert targets().outcome is F
    late = target.at(world=replace(target.world, clock=LaterClock(target.world.clock, timedelta(minutes=4))))
    reading = look(PrometheusTargets, late, url=prometheus_url, jobs=["prometheus"])
    assert (reading.outcome, "was scraped 4 min" in reading.seen) == (U, True)


def test_rules_must_be_loaded_and_evaluated(target, prometheus_url):
    def rules(*names: str, **fields: Any) -> Reading:
        return look(PrometheusRules, target, url=prometheus_url, rules=names, **fields)

    assert rules("AlwaysFires", "NeverFires").outcome is P
    assert rules("AlwaysFires", firing="deny").seen == "AlwaysFires is firing: failed"
    assert rules("NeverFires", firing="deny").outcome is P
    assert rules("demo:up", type="recording").outcome is P
    assert rules("demo:up").seen == "there is no alerting rule demo:up: failed"
    assert rules("Broken").outcome is F
    assert rules().outcome is F, "one of them is broken"


def test_active_alerts_are_counted_without_those_that_are_silenced_or_others(target, alertmanager_url):
    def alerts(**fields: Any) -> Reading:
        return look(Alertmanager, target, url=alertmanager_url, matchers=['run="count"'], **fields)

    assert alerts().seen == 'cluster disabled; 0 active alerts of run="count" ≤ 0'
    made = [{"labels": {"alertname": name, "run": "count", "severity": "critical"}} for name in ("Down", "Slow")]
    monitoring.posted(f"{alertmanager_url}/api/v2/alerts", made)
    reading = alerts(at_most=1)
    assert reading.outcome is F
    assert (reading.value, reading.limit) == (2, 1)
    assert "2 active alerts" in reading.seen
    assert {alert["labels"]["alertname"] for alert in reading.detail["alerts"]} == {"Down", "Slow"}
    now = target.world.clock.now()
    silence = {"matchers": [{"name": "alertname", "value": "Down", "isRegex": False}], "comment": "x", "createdBy": "t",
               "startsAt": now.isoformat(), "endsAt": (now + timedelta(minutes=5)).isoformat()}  # fmt: skip
    monitoring.posted(f"{alertmanager_url}/api/v2/silences", silence)
    assert alerts(at_most=1).outcome is P
    assert look(Alertmanager, target, url=alertmanager_url, matchers=['severity="none"']).outcome is P
    assert "no receiver pager" in alerts(at_most=2, receivers=["ops", "pager"]).seen
    inhibited = [
        {"alertname": "TheHostIsGone", "run": "count"},
        {"alertname": "X", "run": "count", "severity": "warning"},
    ]
    monitoring.posted(f"{alertmanager_url}/api/v2/alerts", [{"labels": labels} for labels in inhibited])
    assert {alert["labels"]["alertname"] for alert in alerts().detail["alerts"]} == {"Slow", "TheHostIsGone"}


def test_a_test_alert_goes_in_is_delivered_and_goes_out_again(target, alertmanager_url, webhook):
    ops = {"labels": {"team": "ops"}, "receivers": ["ops"]}
    reading = look(AlertDelivery, target, url=alertmanager_url, delivered="20s", timeout="1 min", **ops)
    assert reading.outcome is P, reading
    assert reading.seen == (
        "the test alert came in and is active; it goes to ops; 1 notifications were delivered; it was resolved"
    )
    assert [path for _method, path, _headers in webhook.seen].count("/hook") >= 1
    assert monitoring.got(f"{alertmanager_url}/api/v2/alerts?filter=alertname=GoliveTest") == []
    webhook.answers["/hook"] = (400, {})
    reading = look(AlertDelivery, target, url=alertmanager_url, delivered="20s", timeout="1 min", **ops)
    assert reading.seen == "1 notifications could not be delivered: failed"
    reading = look(AlertDelivery, target, url=alertmanager_url, delivered="100ms")
    assert reading.seen == "no notification was delivered within 0.1 s: failed"
    reading = look(AlertDelivery, target, url=alertmanager_url, receivers=["ops"])
    assert (reading.outcome, reading.seen) == (F, "it is not routed to ops: failed")
    assert monitoring.got(f"{alertmanager_url}/api/v2/alerts?filter=alertname=GoliveTest") == [], (
        "it ends it all the same"
    )


def test_a_test_alert_that_may_take_longer_than_its_time_is_refused():
    with pytest.raises(ValidationError, match="timeout must be longer than 40 s"):
        AlertDelivery.model_validate({"name": "it", "url": "http://x", "delivered": "20s"})


def test_a_silent_alertmanager_on_this_machine_has_failed(target):
    assert look(Alertmanager, target, url="http://127.0.0.1:1").outcome is F
    assert look(AlertDelivery, target, url="http://127.0.0.1:1").outcome is F


def test_a_password_in_the_address_is_sent_and_never_shown(target, alertmanager_url):
    at = alertmanager_url.replace("http://", "http://me:${env:PASSWORD}@")
    assert look(Alertmanager, target, url=at, matchers=['run="none"']).outcome is P
    with pytest.raises(OutsideError) as caught:
        look(Alertmanager, target, url=f"{at}/none")
    assert SECRET not in str(caught.value)
