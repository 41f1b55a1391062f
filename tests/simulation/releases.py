"""What is simulated: services, faults, and what guard and monitor see of one release in a day, drawn from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from tasks.domain.triggers import ENOUGH_BURST, LARGEST_BURST
from tasks.health import SAMPLES
from tasks.watching import BURST

INTERVAL = 30.0
DAY = 86_400.0
HOUR = 3600.0
TIMEOUT = 10.0
"""After how many seconds a probe is given up; an answer that takes longer is a failure."""
BEFORE = 4 * HOUR
"""How long before going live the simulation begins, so that a baseline can be taken."""

COUNTED = 60.0
"""Seconds between two readings of what the clients' requests came to."""

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Fault:
    """What is wrong with a release; nothing by default.

    ``outage`` is in seconds, ``errors`` the share of requests that fail, ``slower`` a factor. ``blind`` is a share of
    the day in which the prober learns nothing, ``gaps`` whether probes are missing in the middle of an outage.
    ``at_once`` tells that the fault is there from going live on, else it begins at a random moment. ``clients`` tells
    that the clients' own requests are counted, and ``unseen`` that the errors befall those alone and no probe.
    """

    outage: float = 0.0
    errors: float = 0.0
    slower: float = 1.0
    blind: bool = False
    gaps: bool = False
    at_once: bool = True
    swing: float | None = None
    clients: bool = False
    unseen: bool = False


@dataclass(frozen=True)
class Service:
    """How one service answers: ``level`` in seconds, the shape of its latency, its swing over a day, its drift."""

    level: float
    shape: str
    sigma: float
    swing: float
    phase: float
    drift: float
    memory: float
    fails: float
    is_quiet: bool

    @classmethod
    def draw(cls, rng: np.random.Generator, fault: Fault) -> Service:
        """Draw one. What is made slower takes at least 120 ms, since the trigger lets a growth by 50 ms pass."""
        least = 0.12 if fault.slower > 1 else 0.005
        return cls(
            level=float(np.exp(rng.uniform(np.log(least), np.log(0.8)))),
            shape=str(rng.choice(["log-normal", "heavy-tailed", "two-peaked"], p=[0.5, 0.35, 0.15])),
            sigma=float(rng.uniform(0.15, 0.5)),
            swing=float(rng.uniform(0, 0.1)) if fault.swing is None else fault.swing,
            phase=float(rng.uniform(0, 2 * np.pi)),
            drift=float(rng.uniform(0.01, 0.05)),
            memory=float(rng.uniform(5 * 60, HOUR)),
            fails=float(rng.uniform(0, 0.004)),
            is_quiet=bool(rng.random() < 0.2),
        )

    def levels(self, rng: np.random.Generator) -> Floats:
        """Return the level every `INTERVAL` from `BEFORE` going live to the end of the day."""
        at = np.arange(-BEFORE, DAY + HOUR, INTERVAL)
        keeps = np.exp(-INTERVAL / self.memory)
        noise = rng.standard_normal(at.size) * self.drift * np.sqrt(1 - keeps**2)
        noise[0] = rng.standard_normal() * self.drift
        drift = lfilter([1.0], [1.0, -keeps], noise)
        return self.level * (1 + self.swing * np.sin(2 * np.pi * at / DAY + self.phase)) * np.exp(drift)

    def latencies(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        """Return latencies as multiples of the level."""
        values = rng.lognormal(0.0, self.sigma, shape)
        if self.shape == "heavy-tailed":
            values *= np.where(rng.random(shape) < 0.08, 1 + rng.pareto(1.5, shape), 1.0)
        elif self.shape == "two-peaked":
            values *= np.where(rng.random(shape) < 0.2, 0.3, 1.0)
        if self.is_quiet and len(shape) == 2:
            values[:, :4] *= 3.0  # with little traffic the first answers find caches cold
        return values


@dataclass(frozen=True)
class Day:
    """What was seen of one release; all in seconds since it went live.

    ``at`` are the guard's probes: which failed, what each took, and beside which the control failed too (``astray``).
    ``looks`` are the monitor's, with a row of ``bursts`` each (NaN for what failed). ``begins`` is when the fault
    began, ``lasts`` how long an outage then lasted, and ``failing`` the probability, at each of the guard's ``ticks``,
    that a probe fails for another reason. ``clients`` are how many of the clients' requests came, and failed, in the
    `COUNTED` seconds before a tick, if those are counted; ``clients_fail`` is the probability that one fails.
    """

    service: Service
    fault: Fault
    at: Floats
    failed_probes: Flags
    elapsed: Floats
    astray: Flags
    looks: Floats
    bursts: Floats
    baseline: Floats
    begins: float
    lasts: float
    ticks: Floats
    failing: Floats
    clients: Counts
    clients_fail: Floats

    @cached_property
    def failed(self) -> Flags:
        """Which probes failed while the control did not."""
        return self.failed_probes & ~self.astray

    def second_look(self) -> float:
        """Return the moment of the second look after the fault began that had answers to judge."""
        seeing = (self.looks >= self.begins) & ((~np.isnan(self.bursts[:, :BURST])).sum(axis=1) >= ENOUGH_BURST)
        return float([*self.looks[seeing], DAY, DAY][1])

    def fails_at(self, at: float) -> float:
        """Return the probability that a request fails at a moment."""
        if self.begins <= at < self.begins + self.lasts:
            return 1.0
        return float(self.failing[np.searchsorted(self.ticks, at, "right") - 1])


def draw_day(rng: np.random.Generator, fault: Fault) -> Day:
    """Draw what is seen of one release."""
    service = Service.draw(rng, fault)
    levels = service.levels(rng)
    before = int(BEFORE / INTERVAL)
    baseline = levels[before - int(rng.integers(4, 60))] * service.latencies(rng, (1, SAMPLES))[0]
    at = np.arange(0, DAY, INTERVAL) + rng.uniform(0, INTERVAL) + rng.exponential(0.01, int(DAY / INTERVAL))
    looks = (np.arange(1, 25) * HOUR + rng.uniform(-60, 60)).astype(np.float64)
    lasts = fault.outage + float(rng.uniform(0, INTERVAL)) if fault.outage else 0.0
    begins = 0.0 if fault.at_once else float(rng.uniform(600, DAY - 2 * HOUR - lasts))
    levels[before + int(begins / INTERVAL) :] *= fault.slower
    apart = _failing(rng, service, fault, begins, at)
    failing = np.where(_within(at, begins, lasts), 1.0, apart)
    elapsed = levels[before + (at / INTERVAL).astype(int)] * service.latencies(rng, at.shape)
    failed = (rng.random(at.size) < failing) | (elapsed > TIMEOUT)
    hung = rng.random(at.size) < 0.5
    elapsed = np.where(failed, np.where(hung, TIMEOUT, 0.005), elapsed)
    made, astray = _seen(rng, fault, at, begins)
    failed |= astray
    bursts = levels[before + (looks / INTERVAL).astype(int), None] * service.latencies(rng, (looks.size, LARGEST_BURST))
    near = np.searchsorted(at, looks).clip(max=at.size - 1)
    lost = rng.random(bursts.shape) < np.where(astray[near], 1.0, failing[near])[:, None]
    bursts = np.where(lost | (bursts > TIMEOUT), np.nan, bursts)
    seen = (at[made], failed[made], elapsed[made], astray[made])
    fail = np.where(at >= begins, np.maximum(failing, fault.errors), failing) if fault.unseen else failing
    clients = _clients(rng, fail)[made] if fault.clients else np.zeros((0, 2), dtype=np.int64)
    return Day(service, fault, *seen, looks, bursts, baseline, begins, lasts, at, apart, clients, fail)


def _clients(rng: np.random.Generator, fail: Floats) -> Counts:
    """Return how many requests came and failed in the `COUNTED` seconds before each tick, at a rate that swings."""
    phase, ticks = rng.uniform(0, 2 * np.pi), np.arange(fail.size)
    rate = np.exp(rng.uniform(np.log(0.2), np.log(50))) * (1 + 0.6 * np.sin(2 * np.pi * ticks * INTERVAL / DAY + phase))
    every = int(COUNTED / INTERVAL)
    asked = rng.poisson(rate * INTERVAL)
    failed = rng.binomial(asked, fail)
    sums = [np.convolve(one, np.ones(every, dtype=np.int64))[: one.size] for one in (asked, failed)]
    return np.where((ticks % every == every - 1)[:, None], np.stack(sums, axis=1), -1)


def _within(at: Floats, begins: float, lasts: float) -> Flags:
    return (at >= begins) & (at < begins + lasts)


def _failing(rng: np.random.Generator, service: Service, fault: Fault, begins: float, at: Floats) -> Floats:
    """Return the probability that a request fails: a base rate that comes in clusters, restarts, and the fault."""
    clustered = rng.random(at.size // 60 + 1).repeat(60)[: at.size] < 0.2
    failing = service.fails * np.where(clustered, 4.0, 0.25)
    if not fault.outage:
        for _ in range(int(rng.poisson(0.7))):
            failing[_within(at, rng.uniform(0, DAY), rng.uniform(20, 300 if rng.random() < 0.9 else 570))] = 1.0
    if fault.errors and not fault.unseen:
        failing[at >= begins] = np.maximum(failing[at >= begins], fault.errors)
    return failing


def _seen(rng: np.random.Generator, fault: Fault, at: Floats, begins: float) -> tuple[Flags, Flags]:
    """Return which probes were made, and beside which of them the control failed too."""
    made, astray = np.ones(at.size, dtype=bool), np.zeros(at.size, dtype=bool)
    if fault.blind:
        way, begin = int(rng.integers(3)), float(rng.uniform(0, 0.75 * DAY))
        if way == 0:  # the guard has died, and nobody started it again
            made = at < begin
        elif way == 1:  # the prober's own network is away
            astray = at >= begin
        else:
            made = rng.random(at.size) > rng.uniform(0.25, 0.9)
        return made, astray
    if fault.gaps:
        made &= ~_within(at, begins + rng.uniform(30, fault.outage - 60), rng.uniform(60, 240))
    if fault.outage or rng.random() > 0.3:
        return made, astray
    made = rng.random(at.size) > rng.uniform(0, 0.1)
    for _ in range(int(rng.integers(0, 4))):
        made &= ~_within(at, rng.uniform(0, DAY), rng.uniform(120, 1200))
    if rng.random() < 0.3:
        astray = _within(at, rng.uniform(0, DAY), rng.uniform(300, 1800))
    return made, astray
