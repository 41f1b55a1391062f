"""The systems going live and back: rows of their checklists, seconds, and what clients lost meanwhile."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.adapters.pg_server import EmbeddedServers
from tasks.checking import measure
from tasks.context import production, world_of
from tasks.domain.checklist import Way, by_program, counts, coverage
from tasks.domain.errors import GoliveError
from tasks.domain.outcome import Outcome
from tasks.preview import preview
from tasks.settings import Settings
from tasks.spec import loading
from tasks.spec.checklist import claims_of
from tests.benchmarks.timing import publish_table
from tests.flows import prefect_api
from tests.systems import SYSTEMS, System

EVERY = 0.02
"""Seconds between the end of a request of the client and its next one."""


FIGURES = ("release s", "rollback s", "lost", "lost back", "check s", "checks")


@dataclass(frozen=True)
class Felt:
    """What an act took, and what a client felt of it."""

    seconds: float
    asked: int
    lost: int


def felt(system: System, act: Callable[[], Any]) -> Felt:
    """Run an act while a client makes the check of the watch's probe again and again."""
    file = loading.load(system.path)
    assert file.watch.probe is not None
    check = file.check(file.watch.probe.check)
    target = production(file, Settings.from_environment(), world_of(file), "v2")
    outcomes: list[Outcome] = []
    end = threading.Event()

    def ask() -> None:
        while not end.wait(EVERY):
            outcomes.append(measure(check, target, tries=1).outcome)

    with ThreadPoolExecutor(1) as client:
        asking = client.submit(ask)
        began = time.monotonic()
        try:
            act()
        finally:
            seconds = time.monotonic() - began
            end.set()
        asking.result()
    return Felt(seconds, len(outcomes), sum(one is not Outcome.PASSED for one in outcomes))


def rows_of(name: str) -> dict[str, Any]:
    """Return how many rows the checklist has, and how they are answered."""
    path = SYSTEMS / name / "release.yaml"
    rows = coverage(loading.load_checklist(path), claims_of(loading.load(path)))
    counted = counts(rows)
    done, of = by_program(rows)
    return {
        "rows": len(rows),
        "automated": counted[Way.AUTOMATED],
        "signed": counted[Way.SIGNED],
        "waived": counted[Way.WAIVED],
        "decidable": f"{done} of {of}",
    }


def aimed_at(name: str) -> str:
    """Return what a system's figures should be; a rollout that stops the old version first loses what comes then."""
    rollout = loading.load(SYSTEMS / name / "release.yaml").rollout
    return "decidable ≥ 90 %" + ("" if rollout.kind == "recreate" else ", lost 0")


def live_and_back(name: str, server: Any) -> dict[str, Any]:
    """Release version 2 of a system, whose signatures are given at once, make its checks, and take it back."""
    with importlib.import_module(f"tests.standins.{name.replace('-', '_')}").stand_in(server) as system:
        system.through_prefect = True
        system.write({"window": {}})
        if not system.ledger.releases.latest(system.name, 1):
            system.deploy_unsigned("v1")
        out = felt(system, lambda: system.release_signed("v2"))
        began = time.monotonic()
        previewed = preview(system.name)
        checked = time.monotonic() - began
        for one in previewed.seen:
            if one.measurement.outcome is not Outcome.PASSED:
                print(f"{name}: {one.phase}: {one.measurement.check}: {one.measurement.reading.seen}", flush=True)
        back = felt(system, lambda: system.rollback(reason="measured", started_by="ann"))
    lost = (f"{one.lost} of {one.asked}" for one in (out, back))
    made = f"{len(previewed.seen)}, {previewed.outcome}"
    return dict(zip(FIGURES, (out.seconds, back.seconds, *lost, checked, made), strict=True))


def main(directory: Path, *, only: Sequence[str] = ()) -> None:
    """Let each system, or some, go live and back once, and publish; the sizes are those of the stand-ins."""
    rows = {}
    with ExitStack() as stack:
        server = stack.enter_context(EmbeddedServers().throwaway(directory / "server"))
        stack.enter_context(prefect_api())
        for name in only or sorted(path.name for path in SYSTEMS.iterdir()):
            try:
                figures = live_and_back(name, server)
            except GoliveError as error:
                # One that does not go live, on a machine that is busy, must not hide what the others take.
                print(f"{name}: {error}", flush=True)
                figures = dict.fromkeys(FIGURES, "–") | {"release s": type(error).__name__}
            rows[name] = rows_of(name) | figures
            print(name, rows[name], flush=True)
    publish_table("systems", {"rounds": 1}, rows, {name: aimed_at(name) for name in rows})
