"""How a release under watch is judged: from probes, bursts and checks to findings, and what follows from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from tasks.checking import measure, measure_all
from tasks.checks import Check
from tasks.clients import Clients
from tasks.context import Context, observing, world
from tasks.domain.errors import GoliveError
from tasks.domain.judging import CONFIRMATIONS, ERROR_CONFIRMATIONS, still_there
from tasks.domain.outages import AGAIN
from tasks.domain.outcome import Outcome
from tasks.domain.release import MUTATING
from tasks.domain.target import Target
from tasks.domain.traffic import Counted, Traffic
from tasks.domain.triggers import (
    REQUESTS,
    Alarm,
    Corruption,
    Down,
    Errors,
    Finding,
    Probe,
    Slower,
    burst_until_sure,
    judge,
    outages,
    reach,
    slower,
)
from tasks.health import AT_ONCE, elapsed, sample
from tasks.ledger import models
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import Release
from tasks.ledger.reading import Armed

BURST = 30
"""How many probes the monitor makes at once to judge slowness; more only where these leave it open."""
TICK = "guard"
"""The source of the probes of the guard's ticks; only they are judged, not those that confirm a finding."""
CONFIRMING = "confirmation"
"""The source of the probes that are made just before acting."""
CORRUPTION = "corruption"
"""The phase under which what the integrity checks of a look saw is on record."""
LAG = 2.5
"""Seconds that the guard's newest probe may be old without its having fallen silent: they go on record in batches."""


@dataclass(frozen=True)
class Fired:
    """A trigger that fires, confirmed; ``automatic`` tells whether golive may act on it by itself."""

    release_id: str
    system: str
    seen: str
    by: str
    automatic: bool


@dataclass(frozen=True)
class Looked:
    """What a look at one release came to; ``fired`` is what fires, confirmed, if anything does.

    ``reported`` tells that people were given a verdict or a status report, so that the release's report is due anew.
    """

    seen: str
    fired: Fired | None = None
    reported: bool = False


@dataclass(frozen=True)
class Watched:
    """A release under watch, seen by a process that does not drive it."""

    ctx: Context

    @property
    def release(self) -> Release:
        """The release as the ledger has it."""
        return self.ctx.release

    @cached_property
    def target(self) -> Target:
        """Production, with the baselines of the release."""
        return self.ctx.target()

    @cached_property
    def probe(self) -> Check | None:
        """The check that the guard makes, given up within one interval."""
        plan = self.ctx.file.watch.probe
        if plan is None:
            return None
        check = self.ctx.file.check(plan.check)
        return check.model_copy(update={"timeout": min(check.timeout, plan.every)})

    @cached_property
    def clients(self) -> Clients:
        """The counting of the clients' own requests, which knows the last reading."""
        return Clients(self.ctx)

    @cached_property
    def answered_before(self) -> bool:
        """Whether the version before passed the probe: only then do failures while it is replaced say anything."""
        return bool(self.baseline)

    @cached_property
    def baseline(self) -> Sequence[float]:
        """The seconds that the probe's answers took before the release."""
        plan = self.ctx.file.watch.probe
        found = self.ctx.ledger.evidence.baselines(self.release.id).get(plan.check, {}) if plan is not None else {}
        latencies: Sequence[float] = found.get("latencies", ())
        return latencies

    @property
    def interval(self) -> float:
        """Seconds between two probes of the guard."""
        plan = self.ctx.file.watch.probe
        return float(plan.every) if plan is not None else float(self.ctx.file.watch.every)


def observe(row: Release | Armed) -> Watched:
    """Return a release as something to look at, without taking it over."""
    return Watched(observing(row))


def under_watch(book: Ledger) -> list[Release]:
    """Return the releases whose triggers are armed: all that may have changed production and have not ended."""
    return [row for row in book.releases.in_state(*MUTATING) if row.mutation_started_at is not None]


def as_probe(row: models.Probe) -> Probe:
    """Return a probe from the ledger as the judging sees it."""
    return Probe(
        at=row.at,
        outcome=Outcome(row.outcome),
        elapsed=row.elapsed,
        control=Outcome(row.control) if row.control is not None else None,
        source=row.source,
        clients=_counted(row),
    )


def _counted(row: models.Probe) -> Counted | None:
    if row.asked is None or row.failed is None or row.counted is None:
        return None
    return Counted(row.at, row.counted, Traffic(row.asked, row.failed))


def ticks_of(rows: Sequence[models.Probe]) -> list[Probe]:
    """Return the probes of the guard's ticks in the order in which they came in."""
    return [as_probe(one) for one in sorted(rows, key=lambda one: one.id) if one.source == TICK]


def counting(rows: Sequence[models.Probe]) -> list[Probe]:
    """Return the probes that a verdict counts, in their order: second looks would count a failure twice."""
    return [as_probe(one) for one in rows if one.source != AGAIN]


def take_probe(watched: Watched) -> Probe:
    """Probe the target once, and on a failure something else too, so that it is not blamed for our own trouble."""
    ctx, check = watched.ctx, watched.probe
    if check is None:
        raise LookupError("the release file has no watch.probe")
    seen = measure(check, watched.target, tries=1)
    control = None
    plan = ctx.file.watch.probe
    if seen.outcome is not Outcome.PASSED and plan is not None and plan.control is not None:
        control = _control(ctx, plan.control)
    return Probe(seen.at, seen.outcome, elapsed(seen), control, check.name)


def take_tick(watched: Watched) -> Probe:
    """Probe the target once, and count what its clients' own requests have come to if it is time for that."""
    probe = take_probe(watched)
    return replace(probe, clients=watched.clients.count(probe.at))


def _control(ctx: Context, url: str) -> Outcome:
    try:
        ctx.world.http.request("GET", url, timeout=5.0, fresh=True)
    except GoliveError:
        return Outcome.FAILED
    return Outcome.PASSED


def judge_probes(watched: Watched, probes: Sequence[Probe], now: datetime) -> list[Finding]:
    """Return what the triggers that live on probes say."""
    return [
        judge(trigger, probes, now, watched.interval)
        for trigger in watched.ctx.file.rollback.when
        if isinstance(trigger, Down | Errors)
    ]


def judge_outages(watched: Watched, probes: Sequence[Probe]) -> list[Finding]:
    """Return what is to be said of the outages in all probes of a watch, whether a trigger fired then or not."""
    triggers = [one for one in watched.ctx.file.rollback.when if isinstance(one, Down)]
    return [finding for trigger in triggers for finding in outages(trigger, probes, watched.interval)]


def window_of(watched: Watched) -> float:
    """Return how many seconds of probes must be kept to judge all triggers."""
    spans = [reach(trigger, watched.interval) for trigger in watched.ctx.file.rollback.when]
    return max(spans, default=0.0) + watched.interval


def confirm(watched: Watched, finding: Finding) -> tuple[bool, list[Probe]]:
    """Probe anew just before acting, and return whether the finding still holds, with the probes that were taken."""
    taken: list[Probe] = []
    if finding.kind == "down":
        taken = list(_until(watched, CONFIRMATIONS, lambda seen: seen is not Outcome.FAILED))
    elif finding.kind == "errors" and finding.evidence.get("of") == REQUESTS:
        # What clients are answered may fail where the probe's own request does not.
        clients = watched.clients.count_anew()
        taken = [replace(take_probe(watched), clients=clients)]
    elif finding.kind == "errors":
        taken = list(_until(watched, ERROR_CONFIRMATIONS, lambda seen: seen is Outcome.FAILED))
    return still_there(finding.kind, taken), taken


def holding(watched: Watched, findings: Sequence[Finding]) -> Finding | None:
    """Return the first finding that fires and still holds when it is looked at again."""
    for finding in findings:
        if finding.state is Alarm.FIRES:
            holds, probes = confirm(watched, finding)
            watched.ctx.ledger.evidence.probed([as_row(watched.release.id, probe, CONFIRMING) for probe in probes])
            if holds:
                return finding
    return None


def _until(watched: Watched, most: int, decided: Callable[[Outcome], bool]) -> Iterator[Probe]:
    for _ in range(most):
        probe = take_probe(watched)
        yield probe
        if decided(probe.counted):
            return


def as_row(release_id: str, probe: Probe, source: str) -> dict[str, Any]:
    """Return a probe as the ledger keeps it; ``source`` tells why it was taken."""
    clients = probe.clients
    return {
        "release_id": release_id,
        "at": probe.at,
        "check": probe.source,
        "outcome": probe.outcome.value,
        "elapsed": probe.elapsed,
        "control": probe.control.value if probe.control is not None else None,
        "source": source,
        "asked": clients.traffic.asked if clients is not None else None,
        "failed": clients.traffic.failed if clients is not None else None,
        "counted": clients.seconds if clients is not None else None,
    }


def take_latencies(watched: Watched) -> list[float] | None:
    """Return the seconds that the answers of a burst of probes took, or None if nobody asked whether it is slower."""
    trigger, check = _slower(watched), watched.probe
    if trigger is None or check is None:
        return None
    return burst_until_sure(trigger, watched.baseline, BURST, lambda count: sample(watched.ctx, check, count))


def judge_burst(watched: Watched, latencies: Sequence[float] | None, previous: Finding | None) -> Finding | None:
    """Return whether a burst is slower than before the release, or None if nobody asked for that."""
    trigger = _slower(watched)
    if trigger is None or latencies is None or watched.ctx.file.watch.probe is None:
        return None
    return slower(trigger, latencies, watched.baseline, previous)


def _slower(watched: Watched) -> Slower | None:
    return next((one for one in watched.ctx.file.rollback.when if isinstance(one, Slower)), None)


def burst(watched: Watched) -> list[Probe]:
    """Probe the target `BURST` times, a few at once; nothing if the release file has no probe."""
    if watched.probe is None:
        return []
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="burst") as pool:
        return list(pool.map(lambda _: take_probe(watched), range(BURST)))


def look_for_corruption(watched: Watched) -> list[Probe]:
    """Make the integrity checks, each failing one twice on fresh connections, and put on record what they saw."""
    checks = watched.ctx.file.checks.corruption
    if not checks or not _judges_corruption(watched):
        return []
    target, evidence = watched.ctx.target(), watched.ctx.ledger.evidence
    first = measure_all(checks, target)
    again = measure_all(
        [check for check, seen in zip(checks, first, strict=True) if seen.outcome is Outcome.FAILED], target
    )
    evidence.measured(watched.release.id, CORRUPTION, [*first, *again])
    return [Probe(one.at, one.outcome, one.took, None, one.check) for one in [*first, *again]]


def judge_corruption(watched: Watched, seen: Sequence[Probe], now: datetime) -> Finding | None:
    """Return what the integrity checks of one look amount to, or None if there are none."""
    trigger = next((one for one in watched.ctx.file.rollback.when if isinstance(one, Corruption)), None)
    if trigger is None or not watched.ctx.file.checks.corruption:
        return None
    return judge(trigger, seen, now, watched.interval)


def _judges_corruption(watched: Watched) -> bool:
    return any(isinstance(one, Corruption) for one in watched.ctx.file.rollback.when)


def judge_checks(checks: Sequence[Check], seen: Mapping[str, Outcome], before: Mapping[str, str]) -> list[Finding]:
    """Return what the checks with ``rollback: true`` say: two failures in a row fire."""
    findings = []
    for check in checks:
        if check.rollback and seen.get(check.name) is Outcome.FAILED:
            again = before.get(check.name) == Outcome.FAILED
            state = Alarm.FIRES if again else Alarm.SUSPICIOUS
            findings.append(Finding("check", state, f"{check.name} failed{' twice running' if again else ''}"))
    return findings


def told(fired: Fired, what: str, error: BaseException | None = None) -> str:
    """Return what came of a trigger that fired as a line, which is written where progress is followed too."""
    said = world().secrets.mask(f"{type(error).__name__}: {error}") if error is not None else fired.seen
    line = f"{fired.release_id} {what}: {said}"
    world().progress(line)
    return line


def to_json(finding: Finding) -> dict[str, Any]:
    """Return a finding in a form that JSON can hold."""
    return {**asdict(finding), "state": finding.state.value}


def from_json(found: Mapping[str, Any]) -> Finding:
    """Return a finding that `to_json` wrote."""
    return Finding(found["kind"], Alarm(found["state"]), found["seen"], found.get("evidence", {}))


def integrity_to_json(seen: Sequence[Probe]) -> list[dict[str, str]]:
    """Return what the integrity checks of one look saw in a form that JSON can hold."""
    return [{"check": one.source, "outcome": one.outcome.value, "at": one.at.isoformat()} for one in seen]


def integrity_from_json(found: Sequence[Mapping[str, str]]) -> list[Probe]:
    """Return what `integrity_to_json` wrote."""
    return [Probe(datetime.fromisoformat(one["at"]), Outcome(one["outcome"]), source=one["check"]) for one in found]


def findings_of(look: models.Look | None) -> dict[str, Finding]:
    """Return what a look found by kind; of several of one kind the last."""
    return {one["kind"]: from_json(one) for one in look.findings["findings"]} if look is not None else {}


def since(watched: Watched, row: Release | Armed, seconds: float, now: datetime) -> datetime:
    """Return the moment from which probes count: not before production was first changed.

    Where the version before could not pass the probe, they count from the moment at which the new one is live.
    """
    began = row.mutation_started_at if watched.answered_before else row.live_at
    return max(began or now, now - timedelta(seconds=seconds))


def as_of(probes: Sequence[Probe], now: datetime) -> datetime:
    """Return the moment up to which probes are on record, if that is only as long ago as their writing may lag."""
    last = max((probe.at for probe in probes), default=now)
    return last if now - last < timedelta(seconds=LAG) else now


def fired(watched: Watched, finding: Finding, by: str, counted: str = "") -> Fired:
    """Return what is to be answered when a finding of a release holds; ``counted`` is how much it rests on."""
    row, file = watched.release, watched.ctx.file
    automatic = file.rollback.automatic and row.automatic_rollback_at is None
    said = finding.seen if finding.seen.startswith(finding.kind) else f"{finding.kind}: {finding.seen}"
    return Fired(row.id, row.system, f"{said}; n: {counted}" if counted else said, by, automatic)
