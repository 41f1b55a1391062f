"""What clients feel of each rollout behind each router, and of stop, copy, start by hand."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tasks.context import world
from tasks.domain.statistics import percentile
from tasks.platforms import Instance, Platform
from tasks.rollouts import Site
from tests.benchmarks.steady import Seen, Sent, steady
from tests.benchmarks.timing import publish_table
from tests.engines import engine
from tests.managers import systemd_running
from tests.platforms import STANDS
from tests.services import free_port
from tests.sites import ALL_WAYS, WAYS, a_target, supervisor
from tests.stage import Stage, a_rollout, a_stage

RATE = 200
DRAIN = 0.5
_QUIET = 3.0
_AIM = "0 failed, 0 reset, old serves < 5 s beyond the drain"
_FIELDS: dict[str, dict[str, Any]] = {
    "blue_green": {},
    "rolling": {"ports": lambda: [free_port() for _ in range(3)]},
    "canary": {"steps": lambda: [{"share": "10%", "for": "2s"}, {"share": "50%", "for": "2s"}]},
    "recreate": {},
    "recreate held": {"pause": lambda: "30s"},
}


_PARTS = {"systemd_manager": systemd_running, "docker_engine": engine}


@dataclass
class Run:
    """When the changes of one run were made: forward and back, and the seconds of the switches among them.

    ``drained`` is how long a way back waits for requests under way before the old version serves alone.
    """

    forward: list[tuple[float, float]] = field(default_factory=list)
    back: list[tuple[float, float]] = field(default_factory=list)
    switches: list[float] = field(default_factory=list)
    drained: float = 0.0


def main(directory: Path, *, requests: int) -> None:
    """Measure each rollout behind each router until so many requests were sent, and publish."""
    rows: dict[str, Mapping[str, Any]] = {}
    for router, way_of in ALL_WAYS.items():
        for name, fields in _FIELDS.items():
            if name == "recreate held" and router != "embedded":
                continue  # the others cannot hold requests back
            home = directory / f"{router}-{name.replace(' ', '-')}"
            home.mkdir()
            given = {key: value() for key, value in fields.items()}
            with way_of(home, world()) as way:
                rollout = a_rollout(name.partition(" ")[0], drain=f"{DRAIN:g}s", **given)
                stage = a_stage(home, rollout, way, world())
                try:
                    rows[f"{name}, {router}"] = row = _cycles(stage, requests)
                    print(f"{name}, {router}: {row}", flush=True)
                finally:
                    stage.site.platform.close(stage.site.target)
    for platform in STANDS:
        if platform != "supervisor":  # which runs all of the above
            rows |= _on(platform, directory, requests)
    rows["by hand: stop, copy, start"] = _by_hand(directory / "hand", requests)
    aimed = {row: _AIM for row in rows if not row.startswith(("recreate, ", "by hand"))}
    publish_table("rollouts", {"requests a second": RATE, "drain": DRAIN, "requests a row": requests}, rows, aimed)


@dataclass
class _Elsewhere(Stage):
    """A stage on a platform that ``make`` gives."""

    make: Callable[[Mapping[str, str]], Platform]

    def at(self, version: str, fault: str = "") -> Site:
        platform = self.make({"FAULT": fault} if fault else {})
        return replace(self.site, target=self.site.target.at(version=version), platform=platform)


def _on(platform: str, directory: Path, requests: int) -> dict[str, Mapping[str, Any]]:
    """Measure the rollouts that keep a version beside the other on a platform, if it can run here."""
    rows: dict[str, Mapping[str, Any]] = {}
    home = directory / platform
    home.mkdir()
    home.chmod(0o755)
    with ExitStack() as stack:
        try:
            stand = stack.enter_context(STANDS[platform](home, world(), lambda one: stack.enter_context(_PARTS[one]())))
        except pytest.skip.Exception as error:
            print(f"{platform}: not measured: {error}", flush=True)
            return rows
        way = stack.enter_context(WAYS["embedded"](home, world()))
        for name in ("blue_green", "rolling"):
            given = {key: value() for key, value in _FIELDS[name].items()}
            rollout = a_rollout(name, drain=f"{DRAIN:g}s", **given)
            stage = _Elsewhere(rollout, Site(stand.target, stand.make({}), way.router), way, stand.make)
            try:
                rows[f"{name}, {platform}"] = row = _cycles(stage, requests)
                print(f"{name}, {platform}: {row}", flush=True)
            finally:
                _end(stage)
    return rows


def _end(stage: Stage) -> None:
    site = stage.site
    for place in stage.rollout.places(site):
        site.platform.stop(site.target, place.slot)
    site.platform.close(site.target)


def _cycles(stage: Stage, requests: int) -> Mapping[str, Any]:
    stage.go("v1")
    run = Run()

    def change(act: Callable[[str], Mapping[str, Any]], version: str, spans: list[tuple[float, float]]) -> None:
        begun = time.monotonic()
        evidence = act(version)
        spans.append((begun, time.monotonic()))
        if spans is run.back and stage.rollout.kind == "rolling":
            run.drained = DRAIN * (sum("replaced" in one for one in evidence.values()) - 1)
        for name, one in evidence.items():
            if name.startswith(("switch", "send", "replace")) and "compared" not in one:
                run.switches.append(one["seconds"])

    with steady(stage.way.port, RATE) as seen:
        begun = time.monotonic()
        time.sleep(_QUIET)
        quiet = (begun + 1, time.monotonic())
        while (time.monotonic() - begun) * RATE < requests or not run.back:
            change(stage.go, "v2", run.forward)
            time.sleep(0.5)
            change(stage.back, "v1", run.back)
            time.sleep(0.5)
    return _row(seen, run, quiet)


def _row(seen: Seen, run: Run, quiet: tuple[float, float]) -> Mapping[str, Any]:
    during = [one for span in (*run.forward, *run.back) for one in seen.between(*span)]
    lost = [one for one in seen.sent if one.outcome != "200"]
    reset = sum("Reset" in one.outcome for one in lost)
    # From the moment at which a health check has failed, until clients get answers of the old version and no others.
    serves = [old_alone(seen.between(*span), span[0], "v2".__eq__) for span in run.back]
    return {
        "requests": len(seen.sent),
        "failed": len(lost) - reset,
        "reset": reset,
        "resent": sum(one.resent for one in seen.sent),
        "p99 before, ms": round(1000 * percentile([one.took for one in seen.between(*quiet)], 0.99), 1),
        "p99 during, ms": round(1000 * percentile([one.took for one in during], 0.99), 1),
        "switch s": f"{max(run.switches, default=math.nan):.2f}",
        "forward s": _longest(run.forward),
        "back s": _longest(run.back),
        "old serves s": round(max(serves, default=math.nan), 2),
        "of that draining s": run.drained,
    }


def old_alone(sent: list[Sent], since: float, is_new: Callable[[str], bool]) -> float:
    """Return after how many seconds a client got the old version and then no other, by the texts of its answers."""
    last = max((one.due for one in sent if one.outcome == "200" and is_new(one.body)), default=since)
    after = (one.due + one.took for one in sent if one.outcome == "200" and one.due > last)
    return min(after, default=math.nan) - since


def _longest(spans: list[tuple[float, float]]) -> float:
    return round(max((end - begun for begun, end in spans), default=math.nan), 2)


@contextmanager
def _plain(home: Path, port: int) -> Iterator[Callable[[str], None]]:
    """Give what brings a version up as the checklists do: stop it, copy the code, start it."""
    platform, target = supervisor(), a_target(world(), home)
    code = home / "code"
    shutil.copytree(Path(__file__).parents[2] / "tasks", code)

    def change(version: str) -> None:
        platform.stop(target, "main")
        shutil.rmtree(home / "live", ignore_errors=True)
        shutil.copytree(code, home / "live")
        platform.start(target.at(version=version), Instance("main", version, home, port, target.dsn))

    try:
        yield change
    finally:
        platform.close(target)


def _by_hand(home: Path, requests: int) -> Mapping[str, Any]:
    home.mkdir()
    port, run = free_port(), Run()
    with _plain(home, port) as change:
        change("v1")
        with steady(port, RATE) as seen:
            begun = time.monotonic()
            time.sleep(_QUIET)
            quiet = (begun + 1, time.monotonic())
            while (time.monotonic() - begun) * RATE < requests or not run.back:
                for version, spans in (("v2", run.forward), ("v1", run.back)):
                    at = time.monotonic()
                    change(version)
                    spans.append((at, time.monotonic()))
                    time.sleep(0.5)
    return _row(seen, run, quiet)
