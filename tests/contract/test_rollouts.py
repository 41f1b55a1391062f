"""What holds of every kind of rollout, shown on real processes behind real routers under real requests."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace

import pytest

from tasks.domain.errors import ReleaseFileError, RolloutFailed, Unreachable
from tasks.platforms import Running
from tasks.rollouts import Site
from tests.services import Clients, free_port
from tests.sites import WAYS, a_target, service, supervisor
from tests.stage import KINDS, QUICK, READY, a_rollout, a_stage, plain_stage


@pytest.fixture(params=KINDS)
def stage(request, tmp_path, world):
    with WAYS["embedded"](tmp_path, world) as way, ExitStack() as stack:
        if request.param in {"recreate", "blue_green"}:
            made = a_stage(tmp_path, a_rollout(request.param), way, world)
            stack.callback(made.site.platform.close, made.site.target)
        else:  # they start more processes, and supervisor takes a second for each
            made = stack.enter_context(plain_stage(tmp_path, a_rollout(request.param, **QUICK), way, world))
        yield made


@pytest.fixture
def blue_green(tmp_path, world):
    with WAYS["embedded"](tmp_path, world) as way:
        made = a_stage(tmp_path, a_rollout("blue_green"), way, world)
        yield made
        made.site.platform.close(made.site.target)


def test_nothing_serves_before_the_first_release(stage):
    assert stage.serving() is None


def test_it_goes_forward_and_back_by_the_same_steps(stage):
    for version in ("v1", "v2", "v1"):
        stage.go(version)
        assert stage.serving() == version
        assert stage.ask() == version.encode()


def test_running_all_steps_again_changes_nothing(stage):
    stage.go("v1")
    stage.go("v2")
    slots = [place.slot for place in stage.rollout.places(stage.site)]
    before = {slot: stage.site.platform.status(stage.site.target, slot) for slot in slots}
    with Clients(stage.way.port) as clients:
        stage.go("v2")
        clients.until(100)
    assert {slot: stage.site.platform.status(stage.site.target, slot) for slot in slots} == before
    assert set(clients.answers) == {"v2"}
    assert clients.lost == []


def test_steps_that_were_broken_off_anywhere_end_well_when_all_run_again(stage):
    stage.go("v1")
    count = len(stage.rollout.steps(stage.site, "v2"))
    for done in range(1, count):
        site = stage.at(f"v{done + 1}")
        for step in stage.rollout.steps(site, f"v{done + 1}")[:done]:
            step.act()
        stage.go(f"v{done + 1}")
        assert stage.serving() == f"v{done + 1}"


def test_a_step_that_does_not_mutate_leaves_the_clients_with_the_old_version(stage):
    stage.go("v1")
    for step in stage.rollout.steps(stage.at("v2"), "v2"):
        if step.mutates:
            break
        step.act()
        assert stage.ask() == b"v1"


def test_finishing_twice_leaves_what_serves(stage):
    stage.go("v1")
    stage.go("v2")
    stage.finish()
    stage.finish()
    assert stage.serving() == "v2"
    assert stage.ask() == b"v2"


@pytest.mark.parametrize(("fault", "words"), [("exit", "cannot start"), ("never_ready", "status 503")])
def test_a_version_that_does_not_come_up_fails_with_its_reason(stage, fault, words):
    stage.go("v1")
    with pytest.raises(RolloutFailed, match=words):
        stage.go("v2", fault)
    stage.go("v1")  # the way back
    assert stage.ask() == b"v1"


@pytest.mark.parametrize("kind", ["embedded", "nginx"])  # the others with plain processes, which are up at once
def test_blue_green_under_load_loses_no_request_forward_and_back(kind, tmp_path, world, record_testsuite_property):
    with WAYS[kind](tmp_path, world) as way:
        stage = a_stage(tmp_path, a_rollout("blue_green"), way, world)
        try:
            stage.go("v1")
            evidence = []
            with Clients(way.port, threads=6, resend=way.resend) as clients:
                for number, version in enumerate(("v2", "v1", "v3")):
                    clients.until(500 * (number + 1))
                    evidence.append(stage.go(version))
                clients.until(2000)
            seconds = [act["seconds"] for acts in evidence for name, act in acts.items() if name.startswith("switch")]
            figures = {"requests": clients.total, "resent": clients.resent, "switches": seconds}
            record_testsuite_property(f"blue_green with {kind}", json.dumps(figures))
            assert way.unfit(clients, 3) == []
            assert clients.total >= 2000
            assert set(clients.answers) == {"v1", "v2", "v3"}
        finally:
            stage.site.platform.close(stage.site.target)


@pytest.mark.parametrize("fault", ["exit", "never_ready"])
def test_blue_green_keeps_the_old_version_serving_when_the_new_one_fails(blue_green, fault):
    blue_green.go("v1")
    with Clients(blue_green.way.port) as clients:
        with pytest.raises(RolloutFailed):
            blue_green.go("v2", fault)
        clients.until(200)
    assert clients.lost == []
    assert set(clients.answers) == {"v1"}
    assert blue_green.serving() == "v1"
    assert blue_green.site.platform.status(blue_green.site.target, "green").running is Running.DOWN


def test_blue_green_stops_nothing_while_the_router_cannot_say_what_serves(blue_green):
    blue_green.go("v1")
    impatient = replace(
        blue_green, rollout=blue_green.rollout.model_copy(update={"ready": READY.model_copy(update={"within": 0.5})})
    )
    site = impatient.at("v1", "never_ready")
    blue_green.way.router.close(site.target)
    with pytest.raises(Unreachable):
        blue_green.way.router.current(site.target)
    start, wait = impatient.rollout.steps(site, "v1")[:2]
    start.act()
    with pytest.raises(RolloutFailed, match="status 503"):
        wait.act()
    assert site.platform.status(site.target, "blue").running is Running.UP


def stop_by_hand(site: Site, slot: str) -> None:
    """Stop what runs in a slot as a person would, so that supervisor knows it and it is down."""
    config = site.target.root / "supervisor" / "supervisord.conf"
    argv = [sys.executable, "-m", "supervisor.supervisorctl", "-c", str(config), "stop", f"{slot}:*"]
    subprocess.run(argv, check=True, timeout=30, capture_output=True)


def test_an_exit_is_noticed_before_the_time_for_getting_ready_is_over(blue_green):
    patient = a_rollout("blue_green", ready={"within": "60s"})
    stage = replace(blue_green, rollout=patient)
    begun = time.monotonic()
    site = stage.at("v1", "never_ready")
    start, wait = stage.rollout.steps(site, "v1")[:2]
    start.act()
    stop_by_hand(site, "blue")
    with pytest.raises(RolloutFailed, match="has ended"):
        wait.act()
    assert time.monotonic() - begun < 20


def test_a_port_that_something_else_listens_on_is_named_before_anything_starts(stage):
    stage.go("v1")
    foreign = free_port()
    before = [place.port for place in stage.rollout.places(stage.site)]
    fields = {"port": foreign} if stage.rollout.kind == "recreate" else {"ports": (before[0], foreign)}
    other = replace(stage, rollout=stage.rollout.model_copy(update=fields))
    with service("foreign", foreign):
        assert other.rollout.foreign_ports(other.site) == [str(foreign)]
        with pytest.raises(RolloutFailed, match=f"port {foreign} is taken"):
            other.go("v2")
    if stage.rollout.kind in {"blue_green", "canary"}:
        assert stage.serving() == "v1"
        assert stage.ask() == b"v1"


def test_the_old_version_stays_up_until_the_release_ends_so_that_going_back_takes_no_start(blue_green):
    blue_green.go("v1")
    blue_green.go("v2")
    platform, target = blue_green.site.platform, blue_green.site.target
    assert platform.status(target, "blue").running is Running.UP
    blue_green.go("v1")
    assert blue_green.serving() == "v1"
    blue_green.finish()
    assert platform.status(target, "green").running is Running.DOWN


def test_without_keep_old_the_old_version_stops_after_the_drain(blue_green):
    stage = replace(blue_green, rollout=blue_green.rollout.model_copy(update={"keep_old": False}))
    stage.go("v1")
    stage.go("v2")
    assert stage.site.platform.status(stage.site.target, "blue").running is Running.DOWN


@pytest.mark.parametrize("kind", ["blue_green", "canary"])
def test_the_old_version_is_kept_for_the_watch_for_some_time_or_not_at_all(kind):
    for given, kept in (({}, math.inf), ({"keep_old": "15 min"}, 900), ({"keep_old": False}, 0)):
        rollout = a_rollout(kind, **given)
        assert rollout.kept_for == kept
        assert type(rollout).model_validate(rollout.model_dump(by_alias=True)).kept_for == kept


def test_the_old_version_is_not_stopped_while_the_new_one_is_down(blue_green):
    blue_green.go("v1")
    blue_green.go("v2")
    site = blue_green.site
    stop_by_hand(site, "green")
    with pytest.raises(RolloutFailed, match="no version is up"):
        blue_green.finish()
    assert site.platform.status(site.target, "blue").running is Running.UP


def test_several_instances_on_one_host_are_started_by_a_supervisor_that_does_not_run_yet_at_once(tmp_path, world):
    with WAYS["embedded"](tmp_path, world) as way:
        stage = a_stage(tmp_path, a_rollout("rolling"), way, world)
        try:
            stage.go("v1")
            stage.serves_only("v1")
        finally:
            stage.site.platform.close(stage.site.target)


def test_background_work_is_done_by_one_version_at_a_time(blue_green):
    platform = supervisor(worker={"role": "background", "command": ["sleep", "1000"]})
    blue_green.site = replace(blue_green.site, platform=platform)
    target = blue_green.site.target

    def workers() -> list[str]:
        states = [platform.status(target, slot).detail for slot in ("blue", "green")]
        return [name for detail in states for name, state in detail.items() if "worker" in name and state == "RUNNING"]

    for version, slot in (("v1", "blue"), ("v2", "green"), ("v1", "blue")):
        for step in blue_green.rollout.steps(replace(blue_green.site, target=target.at(version=version)), version):
            step.act()
            assert len(workers()) <= 1
        assert workers() == [f"{slot}-background:{slot}-worker"]


def test_blue_green_without_a_router_is_refused(tmp_path, world):
    stage = Site(a_target(world, tmp_path), supervisor(), None)
    with pytest.raises(ReleaseFileError, match="no router"):
        a_rollout("blue_green").serving(stage)


def test_a_platform_that_cannot_be_asked_is_not_taken_for_an_empty_one(stage):
    stage.go("v1")
    stage.site.platform.close(stage.site.target)
    with pytest.raises(Unreachable):
        stage.serving()
