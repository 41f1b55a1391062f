"""The clients' own requests, counted by a real router and a real Prometheus: they fail where no probe does."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deployments.cli import app
from tasks.domain.errors import OutsideError, ReleaseFileError
from tasks.domain.ports import RunningServer
from tasks.domain.release import State
from tasks.domain.traffic import NONE, Traffic
from tasks.traffic.prometheus import ByPrometheus
from tests.flows import BLUE_GREEN, SmallSystem, wait_until
from tests.monitoring import prometheus
from tests.services import free_port
from tests.sites import a_target
from tests.watched import deploy, guarding, put_under_watch

COUNTED = {"kind": "router", "every": "100ms"}
ERRORS = {"kind": "errors", "above": "20%", "for": "1s"}


@pytest.fixture
def system(open_directory: Path, pg_server: RunningServer) -> Iterator[SmallSystem]:
    """A small system behind golive's own router, whose probe asks what never fails."""
    system = SmallSystem.make(open_directory, pg_server, guarded=True)
    url = f"http://127.0.0.1:{system.port}/health"
    check = {"kind": "http", "name": "it answers", "url": url, "status": 200, "timeout": "1s"}
    try:
        system.write(
            {
                "router": {"kind": "embedded", "listen": system.port},
                "rollout": {**BLUE_GREEN, "ports": [free_port(), free_port()], "keep_old": "10 min"},
                "checks.watch": [check],
                "watch": {
                    "every": "1h",
                    "for": "24h",
                    "probe": {"every": "100ms", "check": "it answers"},
                    "traffic": COUNTED,
                },
                "rollback": {"when": [ERRORS]},
            }
        )
        system.add_version("v2", fault="switch")
        yield system
    finally:
        system.close()


@contextmanager
def clients(port: int) -> Iterator[None]:
    """Let two clients ask for what the service is there for, again and again."""
    ended = threading.Event()

    def ask() -> None:
        while not ended.wait(0.01):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", "/items")
            connection.getresponse().read()
            connection.close()

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _counted(system: SmallSystem, release: str) -> list[tuple[int, int]]:
    rows = system.ledger.evidence.probes(release)
    return [(row.asked, row.failed) for row in rows if row.asked is not None and row.source == "guard"]


def _replayed(release: str) -> Any:
    return json.loads(CliRunner().invoke(app, ["replay", release, "--json"]).stdout)


def test_a_release_whose_clients_fail_while_its_probe_passes_is_rolled_back_and_replayed(system: SmallSystem) -> None:
    deploy(system)
    deploy(system, "v2")
    release = put_under_watch(system)
    with clients(system.port), guarding():
        wait_until(lambda: sum(asked for asked, _failed in _counted(system, release)) > 150, 60)
        assert system.ledger.releases.get(release).state == State.WATCHING
        assert sum(failed for _asked, failed in _counted(system, release)) == 0
        system.switch(on=True)
        wait_until(lambda: system.ledger.releases.get(release).state == State.ROLLED_BACK, 60)
    assert "requests" in system.notes(release)
    assert system.serving() == "v1"
    probes = system.ledger.evidence.probes(release)
    assert {one.outcome for one in probes if one.source == "guard"} == {"passed"}, "no probe met what clients did"
    (confirming,) = [one for one in probes if one.source == "confirmation"]
    assert confirming.failed > 0
    found = _replayed(release)
    assert (found["differ"], found["unknown"]) == (0, 0), found
    assert "requests" in found["first"]["seen"]


def test_errors_of_clients_that_are_over_are_not_acted_on(system: SmallSystem) -> None:
    from tasks import watching
    from tasks.domain.triggers import REQUESTS, Alarm, Finding

    system.write({"watch.traffic": {"kind": "router", "every": "2s"}, "rollback": {"when": [{**ERRORS, "for": "10s"}]}})
    deploy(system)
    release = put_under_watch(system)
    watched = watching.observe(system.ledger.releases.get(release))
    finding = Finding("errors", Alarm.FIRES, "too many", {"of": REQUESTS})
    with clients(system.port):
        holds, (probe,) = watching.confirm(watched, finding)
        assert not holds
        assert probe.clients is not None
        assert probe.clients.traffic.asked >= 10
    holds, (probe,) = watching.confirm(watched, finding)
    assert not holds, "where nobody asks, nothing fails"
    assert probe.clients is not None
    assert probe.clients.traffic.asked == 0


def test_what_hinders_the_counting_hinders_no_probe_and_is_told_once(
    system: SmallSystem, capsys: pytest.CaptureFixture[str]
) -> None:
    from tasks import watching

    release = put_under_watch(system)
    watched = watching.observe(system.ledger.releases.get(release))  # nothing is deployed, so no router runs
    ticks = []
    for _ in range(3):
        ticks.append(watching.take_tick(watched))
        time.sleep(0.1)
    assert [one.clients for one in ticks] == [None] * 3
    assert capsys.readouterr().err.count("cannot be counted") == 1


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prometheus that counts what it is asked itself."""
    with prometheus(tmp_path_factory.mktemp("prometheus")) as url:
        yield url


class TestPrometheus:
    def source(self, url: str, **given: Any) -> ByPrometheus:
        asked = 'sum(increase(prometheus_http_requests_total{handler="/api/v1/query"}[{window}]))'
        failed = 'sum(increase(prometheus_http_requests_total{code=~"5.."}[{window}])) or vector(0)'
        return ByPrometheus.model_validate({"url": url, "requests": asked, "failed": failed, "every": "4s", **given})

    def test_it_tells_how_many_requests_came_and_failed_in_a_time(self, url, world, tmp_path):
        def counted() -> Traffic:
            return self.source(url).read(a_target(world, tmp_path), None, None, 4.0).traffic or NONE

        wait_until(lambda: counted().asked > 20)  # its own questions are what it counts
        assert counted().failed == 0

    def test_no_data_is_nothing_counted(self, url, world, tmp_path):
        nothing = self.source(url, failed="sum(increase(not_there_total[{window}]))")
        assert nothing.read(a_target(world, tmp_path), None, None, 4.0).traffic is None

    def test_several_series_or_no_such_query_are_an_error_that_says_so(self, url, world, tmp_path):
        several = "increase(prometheus_http_requests_total[{window}])"
        with pytest.raises(OutsideError, match="series"):
            self.source(url, requests=several).read(a_target(world, tmp_path), None, None, 4.0)
        with pytest.raises(OutsideError, match="400"):
            self.source(url, requests="sum(increase({window}").read(a_target(world, tmp_path), None, None, 4.0)


def test_a_release_does_not_begin_where_prometheus_has_nothing_to_count(system: SmallSystem, url: str) -> None:
    from tasks.driving import open_release
    from tasks.preflight import check_traffic

    queries = {
        "requests": "sum(increase(not_there_total[{window}]))",
        "failed": "sum(increase(not_there_total[{window}])) or vector(0)",
    }
    source = {"kind": "prometheus", "url": url, "every": "1s", **queries}
    system.write({"watch.traffic": source, "rollback": {"when": [{**ERRORS, "for": "10s"}]}})
    claim = open_release(system.name, "v2", scope="release", mutates=True, started_by="test", reason="")
    with pytest.raises(ReleaseFileError, match="prometheus has no data on the clients' requests"):
        check_traffic.fn(claim)
