"""What holds of every kind of rollout when something goes wrong: versions that fail, hosts that are away, kills."""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from tasks.checking import measure_all
from tasks.checks.http import Http
from tasks.domain.errors import RolloutFailed, SeveralServe, Unreachable
from tests.plain import KilledError
from tests.services import Clients, free_port
from tests.sites import WAYS, service
from tests.stage import KINDS, QUICK, Stage, a_rollout, plain_stage

every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def staged(tmp_path, world):
    """Give stages of plain processes behind golive's own router."""
    with WAYS["embedded"](tmp_path, world) as way, ExitStack() as stack:

        def make(kind: str, hosts: int = 0, **fields: object) -> Stage:
            return stack.enter_context(plain_stage(tmp_path, a_rollout(kind, **QUICK | fields), way, world, hosts))

        yield make


@every_kind
def test_golive_killed_before_any_act_is_gone_on_with_or_back_and_one_version_serves(kind, staged):
    """Every other time it goes on, else back; kills are before each start, stop and hand-over of a process."""
    stage = staged(kind, drain="0s")
    stage.go("v0")
    life, number, serves, finished = stage.site.platform.life, 0, "v0", False
    while not finished:
        version = f"v{number + 1}"
        life.acts_left = number
        try:
            stage.go(version)
            finished = True
        except KilledError:
            if number % 2:
                stage.back(serves)
            else:
                stage.go(version)
                serves = version
            stage.serves_only(serves)
            running = {
                place.slot: stage.rollout.version_in(stage.site, place) for place in stage.rollout.places(stage.site)
            }
            works = {stage.site.platform.life.running[at][0].version for at in life.background}
            assert works == {serves}, running
        life.acts_left = None
        number += 1
    assert number > 3
    stage.serves_only(version)


@every_kind
def test_a_version_that_fails_in_any_way_costs_no_request_where_the_old_one_stays_and_is_taken_back(kind, staged):
    stage = staged(kind)
    stage.go("v1")
    with Clients(stage.way.port) as clients:
        for fault in ("exit", "hang", "flaps", "elsewhere"):
            with pytest.raises(RolloutFailed):
                stage.impatient().go("v2", fault)
            if kind != "recreate":
                assert {stage.ask() for _ in range(4)} == {b"v1"}
            assert [*stage.back("v1").values()][-1]["seconds"] >= 0
        clients.until(clients.total + 50)
    if kind != "recreate":
        assert clients.lost == []
        assert set(clients.answers) == {"v1"}
    stage.serves_only("v1")


@every_kind
def test_with_three_hosts_one_that_is_away_stops_a_rollout_and_not_the_way_back(kind, staged):
    stage = staged(kind, hosts=3)
    away = stage.site.hosts["h2"].target.world.host
    stage.go("v1")
    assert len(stage.way.router.current(stage.site.target).members) == {"rolling": 6}.get(kind, 3)
    stage.serves_only("v1")

    away.away = True
    with pytest.raises(Unreachable):
        stage.go("v2")
    if kind != "recreate":
        assert {stage.ask() for _ in range(12)} == {b"v1"}
    stage.back("v1")
    stage.serves_only("v1")
    assert len(stage.way.router.current(stage.site.target).members) == {"rolling": 4}.get(kind, 2)

    away.away = False
    stage.go("v2")
    stage.serves_only("v2")
    steps = stage.rollout.steps(stage.at("v3"), "v3")
    for step in steps[:-1]:
        step.act()
    away.away = True
    if kind != "recreate":  # whose last step is the router's alone
        with pytest.raises(Unreachable):
            steps[-1].act()
    stage.back("v2")
    stage.serves_only("v2")
    stage.finish()
    away.away = False
    stage.go("v3")
    stage.serves_only("v3")


@pytest.mark.parametrize("kind", ["rolling", "canary"])
def test_two_versions_at_once_are_told_with_their_places_and_come_back_to_one(kind, staged):
    stage = staged(kind)
    stage.go("v1")
    steps = stage.rollout.steps(stage.at("v2"), "v2")
    for step in steps[:3]:
        step.act()
    with pytest.raises(SeveralServe, match="v1 in") as error:
        stage.serving()
    assert error.value.versions == ("v1", "v2")
    assert "v2 in" in str(error.value)
    if kind == "canary":
        with pytest.raises(RolloutFailed, match="both slots get requests"):
            stage.go("v3")
    stage.back("v1")
    stage.serves_only("v1")


def test_a_roll_stops_before_the_next_instance_when_a_new_one_falls_ill(staged):
    stage = staged("rolling", ports=[free_port() for _ in range(3)])
    stage.go("v1")
    site = stage.at("v2", "tires")  # answers well for its first twenty questions
    steps = stage.impatient().rollout.steps(site, "v2")
    for step in steps[:3]:
        step.act()
    for _ in range(25):
        stage.site.target.world.http.request("GET", f"http://127.0.0.1:{stage.rollout.ports[2]}/health")
    with pytest.raises(RolloutFailed, match="status 503"):
        steps[3].act()
    assert [stage.rollout.version_in(site, place) for place in stage.rollout.places(site)] == ["v1", "v1", "v2"]
    stage.back("v1")
    stage.serves_only("v1")


def test_a_roll_never_takes_out_more_instances_than_it_may_and_goes_back_by_as_many(staged, monkeypatch):
    stage = staged("rolling", ports=[free_port() for _ in range(4)], max_unavailable=2)
    stage.go("v1")
    sizes = []
    switch = type(stage.way.router).switch

    def switching(self, target, upstream):
        sizes.append(len(upstream.members))
        switch(self, target, upstream)

    monkeypatch.setattr(type(stage.way.router), "switch", switching)
    stage.go("v2")
    assert sizes == [3, 4] * 4
    sizes.clear()
    stage.back("v1")
    assert sizes == [2, 4] * 2
    works = stage.site.platform.life.background
    assert [slot for _, slot in works] == ["web-1"]

    # One that dies meanwhile is brought up first, and the router then leaves it out no longer.
    place = stage.rollout.places(stage.site)[1]
    _, process = stage.site.platform.life.running[stage.site.target.root, place.slot]
    process.kill()
    process.wait()
    with pytest.raises(SeveralServe, match="nothing in web-2"):
        stage.serving()
    narrow = stage.rollout.model_copy(update={"max_unavailable": 1})
    replace_other = narrow.steps(stage.at("v3"), "v3")[2]
    stage.rollout._send(stage.site, [one for one in stage.rollout.places(stage.site) if one != place])
    with pytest.raises(RolloutFailed, match="without requests already: web-2"):
        replace_other.act()
    stage.go("v3")
    stage.serves_only("v3")


def test_a_canary_that_fails_more_or_is_slower_or_of_which_nothing_is_known_gets_no_more_requests(staged):
    stage = staged("canary", steps=[{"share": "10%", "for": "500ms"}, {"share": "50%", "for": "500ms"}])
    evidence = stage.go("v1")["send 10% of the requests to v1"]
    assert evidence["compared"] is False
    with Clients(stage.way.port) as clients:
        for version, fault, why in (
            ("v2", "errors", "probes failed, against 0"),
            ("v3", "slow", "ms in the median, against"),
        ):
            with pytest.raises(RolloutFailed, match=why):
                stage.go(version, fault)
            stage.serves_only("v1")
        evidence = stage.go("v4")
    assert clients.lost == []
    told = evidence["send 50% of the requests to v4"]
    assert told["compared"]
    assert told["new"]["asked"] >= 10
    stage.serves_only("v4")


def test_a_canary_passes_the_checks_that_it_names_as_the_old_version_does_or_gets_no_more_requests(staged):
    works = Http(name="works", url="{base_url}/work", status=200)
    stage = staged("canary", checks=["works"], probe={"path": "/", "every": "20ms"})
    stage.site = replace(stage.site, ask=lambda _names, target: measure_all([works], target))
    stage.go("v1")
    with pytest.raises(RolloutFailed, match=r"failed: works: .*500.*; of the old version it holds"):
        stage.go("v2", "errors")
    stage.serves_only("v1")
    told = stage.go("v3")["send 20% of the requests to v3"]
    assert {side: text[:7] for side, text in told["checks"]["works"].items()} == {"new": "passed:", "old": "passed:"}
    stage.serves_only("v3")

    # What fails of both says nothing of the new one, and that is no success.
    stage.site = replace(
        stage.site, ask=lambda _names, target: measure_all([works.model_copy(update={"status": 201})], target)
    )
    with pytest.raises(RolloutFailed, match=r"unknown: works: .*does not hold either"):
        stage.go("v4")
    stage.serves_only("v3")


@pytest.mark.parametrize("router", ["embedded", "haproxy"])
def test_a_canary_gets_no_more_requests_when_those_of_clients_fail_or_are_too_few(router, tmp_path, world):
    quick = {**QUICK, "probe": {"path": "/", "every": "20ms"}, "steps": [{"share": "50%", "for": "1s"}], "traffic": 10}
    with (
        WAYS[router](tmp_path, world) as way,
        plain_stage(tmp_path, a_rollout("canary", **quick), way, world) as stage,
    ):
        stage.go("v1")
        with pytest.raises(RolloutFailed, match="unknown: 0 requests of clients at the new version, fewer than 10"):
            stage.go("v2")
        with Clients(way.port, path="/work") as clients:
            with pytest.raises(RolloutFailed) as caught:
                stage.go("v3", "errors")  # which its probes do not see
            told = re.search(r"failed: (\d+) of (\d+) requests of clients failed, against 0 of", str(caught.value))
            assert told, caught.value
            # A router may count a request as asked while it is under way.
            assert int(told[1]) <= int(told[2]) <= int(told[1]) + len(clients.threads)
            clients.until(clients.total + 50 * len(clients.threads))  # those that were under way then have ended
            lost = len(clients.lost)
            traffic = stage.go("v4")["send 50% of the requests to v4"]["traffic"]
        assert traffic["new"]["asked"] >= 10
        assert traffic["new"]["failed"] == 0
        assert len(clients.lost) == lost
        stage.serves_only("v4")


def test_a_canary_beside_an_old_version_that_fails_too_is_not_taken_for_a_success(staged):
    stage = staged("canary")
    stage.go("v1", "errors")
    with pytest.raises(RolloutFailed, match="unknown: fewer than 10 probes of each version succeeded"):
        stage.go("v2", "errors")
    stage.serves_only("v1")


def test_a_blue_green_that_falls_ill_after_the_switch_goes_back_at_once(staged):
    stage = staged("blue_green", soak="3s", probe={"every": "20ms"})
    stage.go("v1")
    with pytest.raises(RolloutFailed, match=r"went back to blue \d+\.\d\d s after the first failed probe"):
        stage.go("v2", "tires")
    stage.serves_only("v1")
    assert [slot for _, slot in stage.site.platform.life.background] == ["blue"]


def test_recreate_with_a_pause_is_late_and_loses_nothing(staged):
    stage = staged("recreate", pause="20s")
    stage.go("v1")
    with Clients(stage.way.port, threads=6) as clients:
        for version in ("v2", "v1"):
            clients.until(clients.total + 100)
            evidence = stage.go(version)
            assert evidence[f"wait until {version} is ready"]["down"] > 0
        with pytest.raises(RolloutFailed):
            stage.impatient().go("v3", "flaps")
        stage.back("v2")
        clients.until(clients.total + 100)
    assert clients.lost == []
    assert set(clients.answers) == {"v1", "v2"}


@pytest.mark.parametrize("kind", ["rolling", "canary", "blue_green"])
@pytest.mark.parametrize("router", sorted(WAYS))
def test_under_load_no_request_is_lost_forward_and_back(kind, router, tmp_path, world):
    fields = {"ports": [free_port() for _ in range(3)]} if kind == "rolling" else {}
    quick = {**QUICK, "drain": "200ms"}
    with (
        WAYS[router](tmp_path, world) as way,
        plain_stage(tmp_path, a_rollout(kind, **quick, **fields), way, world) as stage,
    ):
        stage.go("v1")
        with Clients(way.port, threads=6, resend=way.resend) as clients:
            clients.until(100)
            stage.go("v2")
            stage.back("v1")
            clients.until(clients.total + 100)
        assert way.unfit(clients, 12) == []
        assert set(clients.answers) == {"v1", "v2"}
        if way.break_it:
            way.break_it()
            with pytest.raises(RolloutFailed, match="refused by"):
                stage.go("v2")
            assert {stage.ask() for _ in range(6)} == {b"v1"}


def test_a_roll_starts_golives_own_router_again_and_names_a_foreign_service_in_its_place(staged, tmp_path):
    stage = staged("rolling")
    stage.go("v1")
    stage.way.router.close(stage.site.target)
    stage.go("v2")
    stage.serves_only("v2")
    stage.way.router.close(stage.site.target)
    with service("foreign", stage.way.port), pytest.raises(RolloutFailed):
        stage.go("v3")
    assert {stage.rollout.version_in(stage.site, place) for place in stage.rollout.places(stage.site)} == {"v2"}


def test_of_a_version_that_is_not_up_in_time_and_wrote_nothing_it_is_said_what_may_be_raised(staged):
    stage = staged("recreate", ready={"within": "300ms", "every": "20ms"})
    with pytest.raises(RolloutFailed, match=r"written nothing; .* raise rollout\.ready\.within"):
        stage.go("v1", "never_ready")


@pytest.mark.parametrize("kind", ["recreate", "rolling", "canary"])
def test_a_version_that_answers_for_its_own_name_alone_is_asked_by_that_name(kind, tmp_path, world, monkeypatch):
    monkeypatch.setenv("SHOP_NAME", "shop.example.org")
    asked = []

    class Asking:
        def request(self, method: str, url: str, **given: Any) -> Any:
            asked.append((url.rpartition("/")[2], given.get("headers")))
            return world.http.request(method, url, **given)

    http: Any = Asking()
    headers = {"headers": {"Host": "${env:SHOP_NAME}"}}
    probed = {"probe": {"path": "/work", "every": "20ms", "within": "1s", **headers}} if kind == "canary" else {}
    with WAYS["embedded"](tmp_path, world) as way:
        rollout = a_rollout(kind, **QUICK | {"ready": {"every": "20ms", **headers}} | probed)
        with plain_stage(tmp_path, rollout, way, replace(world, http=http)) as stage:
            stage.go("v1")
            stage.go("v2")
            stage.serves_only("v2")
    assert {str(headers) for path, headers in asked if path in {"health", "work"}} == {"{'Host': 'shop.example.org'}"}
