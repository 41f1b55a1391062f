"""Runs the scenarios on all cores that it may use, and counts; a seed gives the same figures however many those are."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np

from tasks.domain.watch import Ended
from tests.simulation.judging import judged
from tests.simulation.plain import plainly
from tests.simulation.releases import Fault, draw_day

CHUNK = 50
MINUTE = 60.0


@dataclass(frozen=True)
class Tally:
    """What became of the releases of one scenario; ``by`` counts triggers, ``off`` is the worst error of a length."""

    releases: int = 0
    by: Counter[str] = field(default_factory=Counter)
    soon: int = 0
    stable: int = 0
    off: float = 0.0
    plain: int = 0
    plain_soon: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.releases + other.releases,
            self.by + other.by,
            self.soon + other.soon,
            self.stable + other.stable,
            max(self.off, other.off),
            self.plain + other.plain,
            self.plain_soon + other.plain_soon,
        )

    @property
    def rolled_back(self) -> int:
        """How many golive rolled back."""
        return self.by.total()

    def row(self) -> dict[str, Any]:
        """Return the counts as a row of the table."""
        return {
            "releases": self.releases,
            "rolled back": self.rolled_back,
            "by": ", ".join(f"{kind} {count}" for kind, count in sorted(self.by.items())) or "–",
            "within 2 looks": self.soon,
            "stable": self.stable,
            "for a person": self.releases - self.rolled_back - self.stable,
            "length off by": f"{self.off:.0f} s" if self.off else "–",
            "plain rules: back": self.plain,
            "within 2 looks ": self.plain_soon,
        }


@dataclass(frozen=True)
class Scenario:
    """A fault, what is aimed at in words, and whether a tally meets it."""

    fault: Fault
    aim: str = ""
    met: Callable[[Tally], bool] = lambda _: True


def _never(tally: Tally) -> bool:
    return tally.rolled_back == 0


def _rarely(tally: Tally) -> bool:
    return tally.rolled_back <= 0.25 * tally.releases


def _soon(tally: Tally) -> bool:
    return tally.soon >= 0.99 * tally.releases


def _found(tally: Tally) -> bool:
    return tally.stable == 0 and tally.off <= 30


def _in(minutes: float) -> Fault:
    return Fault(outage=minutes * MINUTE, at_once=False)


def _of_clients(share: float) -> Fault:
    return Fault(errors=share, at_once=False, clients=True, unseen=True)


_LONG = "none stable, length ± 30 s"
_SOON = "≥ 99 % within 2 looks"
SCENARIOS: dict[str, Scenario] = {
    "healthy": Scenario(Fault(), "0 rolled back", _never),
    "down 5 min": Scenario(_in(5), "0 rolled back", _never),
    **{f"down {minutes} min": Scenario(_in(minutes), _LONG, _found) for minutes in (11, 15, 30)},
    "down 15 min, prober too": Scenario(
        Fault(outage=15 * MINUTE, gaps=True, at_once=False), "none stable", lambda tally: tally.stable == 0
    ),
    "errors 5 %": Scenario(Fault(errors=0.05, at_once=False), "0 rolled back", _never),
    "errors 15 %": Scenario(Fault(errors=0.15, at_once=False), "≤ 25 % rolled back", _rarely),
    "errors 25 %": Scenario(Fault(errors=0.25, at_once=False)),
    **{f"errors {share} %": Scenario(Fault(errors=share / 100, at_once=False), _SOON, _soon) for share in (30, 40)},
    **{f"slower {factor:g} ×": Scenario(Fault(slower=factor)) for factor in (1.2, 1.6)},
    **{f"slower {factor:g} ×": Scenario(Fault(slower=factor), _SOON, _soon) for factor in (2.0, 3.0)},
    "slower 2 ×, hours later": Scenario(Fault(slower=2.0, at_once=False)),
    "no data": Scenario(Fault(blind=True), "none stable", lambda tally: tally.stable == 0),
    "healthy, day/night 1.5 ×": Scenario(Fault(swing=0.2)),
    "clients counted, healthy": Scenario(Fault(clients=True), "0 rolled back", _never),
    "clients counted, down 5 min": Scenario(
        Fault(outage=5 * MINUTE, at_once=False, clients=True), "0 rolled back", _never
    ),
    "clients alone, errors 15 %": Scenario(_of_clients(0.15), "≤ 25 % rolled back", _rarely),
    "clients alone, errors 25 %": Scenario(_of_clients(0.25)),
    "clients alone, errors 30 %": Scenario(_of_clients(0.30), _SOON, _soon),
}
"""The scenarios by name. What has no aim is shown for what it is."""


def tally(seed: int, name: str, first: int, count: int) -> Tally:
    """Judge some releases of a scenario, both ways; each is drawn from its own number."""
    number, fault = list(SCENARIOS).index(name), SCENARIOS[name].fault
    by: Counter[str] = Counter()
    soon = stable = plain = plain_soon = 0
    off = 0.0
    for release in range(first, first + count):
        rng = np.random.default_rng([seed, number, release])
        day = draw_day(rng, fault)
        until = day.second_look()
        result, other = judged(day, rng), plainly(day)
        by.update([result.by] if result.by else [])
        soon += bool(result.by) and day.begins <= result.at <= until
        stable += result.ended is Ended.STABLE
        if fault.outage:
            off = max(off, min((abs(length - day.lasts) for length in result.lengths), default=np.inf))
        plain += bool(other.size)
        plain_soon += bool(((other >= day.begins) & (other <= until)).any())
    return Tally(count, by, soon, stable, off, plain, plain_soon)


def simulate(seed: int, wanted: Mapping[str, int], tell: Callable[[str], None]) -> dict[str, Tally]:
    """Judge so many releases of each scenario that is wanted."""
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        work = {
            name: [pool.submit(tally, seed, name, first, min(CHUNK, count - first)) for first in range(0, count, CHUNK)]
            for name, count in wanted.items()
        }
        tallies = {}
        for name, parts in work.items():
            tallies[name] = reduce(Tally.__add__, [part.result() for part in parts])
            tell(f"{name}: {tallies[name].row()}")
        return tallies
