"""Triggers: the conditions over probes that roll a release back, and the pure judging of them.

All limits are reckoned in intervals between probes, so that the same rules hold when a day is watched in seconds. The
prober is expected to keep to fixed ticks and to give up a probe within one interval.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from operator import attrgetter
from typing import Annotated, Any, Literal, assert_never

from pydantic import ConfigDict, Field

from tasks.domain.kind import Duration, Share, Strict
from tasks.domain.outcome import Outcome
from tasks.domain.statistics import percentile, runs_z, slower_p, summarise, wilson_lower
from tasks.domain.traffic import NONE, Counted, Traffic, is_calm, parts, since_calm
from tasks.domain.units import show_seconds

MADE = 18 / 21
"""The share of the expected probes that must have been made."""
GAP = 3
"""The longest time without a probe, in intervals."""
IN_A_ROW = 3
"""Failures in a row that are more than a blip."""
ENOUGH_PROBES = 30
LONGEST_STRETCH = 4
"""So many windows back it is counted whether errors are above their limit, if they have gone on for longer than one."""
ENOUGH_REQUESTS = 100
REQUESTS = "requests"
"""What errors are a share of, where they are those of the clients' own requests instead of probes."""
FIFTHS = 5
"""The parts of a window of which the first and the last must be above the limit too."""
ENOUGH_BURST = 24
"""Four fifths of a burst of 30."""
LARGEST_BURST = 240
"""How many probes a burst may grow to while it is open whether it is slower."""
ENOUGH_BASELINE = 240
BY_CHANCE = 0.05
"""Were the share of failures at its limit: a row of successes less probable than that tells that the errors ceased, a
row of failures that a window holds less often, that it was an outage."""
CLUSTERED = -2.0
"""So many standard deviations fewer rows of equal outcomes than chance would have tell outages from errors."""
MANY_OUTAGES = 3
"""What restarts twice is no more than that; what goes down a third time within `LONGEST_STRETCH` is sick."""
SURE = 0.02
"""The p-value below which a burst counts as slower."""


class Down(Strict):
    """Fires when nothing has answered for longer than a limit, seen by probes without a gap and a healthy control."""

    model_config = ConfigDict(populate_by_name=True)

    kind: Literal["down"] = "down"
    """Which kind of trigger this is."""
    for_: Annotated[Duration, Field(gt=0, alias="for")] = 600.0
    """How long the target must have been down without one success."""


class Errors(Strict):
    """Fires when the share of failures was above a limit for a window, and since they began, with 95 % confidence."""

    model_config = ConfigDict(populate_by_name=True)

    kind: Literal["errors"] = "errors"
    """Which kind of trigger this is."""
    above: Annotated[Share, Field(gt=0, lt=1)] = 0.20
    """The share of failures that is too much."""
    for_: Annotated[Duration, Field(gt=0, alias="for")] = 900.0
    """How long the window is; it is widened to 30 intervals where probes are rarer."""


class Slower(Strict):
    """Fires when two bursts of requests running were slower than the baseline by more than a limit."""

    kind: Literal["slower"] = "slower"
    """Which kind of trigger this is."""
    than: Annotated[Share, Field(gt=0)] = 0.50
    """How much slower than the baseline is too slow: 50% means 1.5 times as long."""
    floor: Annotated[Duration, Field(ge=0)] = 0.05
    """By how much the median must have grown at least, so that a fast service may vary."""


class Corruption(Strict):
    """Fires when one integrity check has failed twice running, each time on a fresh connection."""

    kind: Literal["corruption"] = "corruption"
    """Which kind of trigger this is."""


Trigger = Annotated[Down | Errors | Slower | Corruption, Field(discriminator="kind")]


def limit_of(trigger: Down | Errors | Slower | Corruption) -> str:
    """Return the limit of a trigger in words, as an alert gives it beside what was seen."""
    match trigger:
        case Down():
            return f"down for at most {show_seconds(trigger.for_)}"
        case Errors():
            return f"at most {trigger.above:.0%} errors for {show_seconds(trigger.for_)}"
        case Slower():
            return f"at most {trigger.than:.0%} slower than before the release, twice running"
        case Corruption():
            return "every integrity check passes"


class Alarm(StrEnum):
    """What a trigger says; ``unknown`` means that too little is known, and never fires."""

    QUIET = "quiet"
    SUSPICIOUS = "suspicious"
    FIRES = "fires"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Probe:
    """One look at the target.

    ``elapsed`` is in seconds. ``control`` is how a look at something else came out at the same time, which tells
    trouble of the prober from trouble of the target; None where none is needed, as on the same machine. ``source``
    names the check that looked. ``clients`` is what the clients' own requests came to until then, where they
    were counted along with this look.
    """

    at: datetime
    outcome: Outcome
    elapsed: float | None = None
    control: Outcome | None = None
    source: str = ""
    clients: Counted | None = None

    @property
    def counted(self) -> Outcome:
        """The outcome as it counts against the target: a failure beside a failing control says nothing."""
        if self.outcome is Outcome.FAILED and self.control is not None and self.control is not Outcome.PASSED:
            return Outcome.UNKNOWN
        return self.outcome


@dataclass(frozen=True)
class Finding:
    """What a trigger says of a window: its state, a sentence that echoes value and limit, and evidence for JSON."""

    kind: str
    state: Alarm
    seen: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


def reach(trigger: Down | Errors | Slower | Corruption, interval: float) -> float:
    """Return the seconds that the window given to `judge` must reach back at least."""
    match trigger:
        case Down():
            return float(trigger.for_ + (GAP + 1) * interval)
        case Errors():
            return LONGEST_STRETCH * _span(trigger, interval) / MADE + interval
        case _:
            return 0.0


def judge(
    trigger: Down | Errors | Slower | Corruption,
    window: Sequence[Probe],
    now: datetime,
    interval: float,
    *,
    baseline: Sequence[float] = (),
    previous: Finding | None = None,
) -> Finding:
    """Return what the trigger says of the probes in the window, ``interval`` being the seconds between two of them.

    `Errors` is judged by the clients' own requests where the window has enough of them, else by the probes.
    For `Slower`, the window is one burst, ``baseline`` the seconds that answers took before the release, and
    ``previous`` the finding on the burst before. For `Corruption`, it holds the looks of the integrity checks.
    """
    past = sorted([p for p in window if p.at <= now and p.counted is not Outcome.UNKNOWN], key=attrgetter("at"))
    match trigger:
        case Down():
            return _down(trigger, past, now, interval)
        case Errors():
            clients = [p.clients for p in window if p.clients is not None and p.clients.at <= now]
            return _errors_of_clients(trigger, clients, now, interval) or _errors(trigger, past, now, interval)
        case Slower():
            burst = [p.elapsed for p in past if p.outcome is Outcome.PASSED and p.elapsed is not None]
            return slower(trigger, burst, baseline, previous)
        case Corruption():
            return _corruption(past)
        case _:
            assert_never(trigger)


def _age(probe: Probe, now: datetime) -> float:
    return (now - probe.at).total_seconds()


def _down(trigger: Down, past: Sequence[Probe], now: datetime, interval: float) -> Finding:
    silence = _age(past[-1], now) if past else math.inf
    if silence > GAP * interval:
        return Finding("down", Alarm.UNKNOWN, f"no probe that counts in the last {show_seconds(GAP * interval)}")
    failures = list(itertools.takewhile(lambda p: p.outcome is Outcome.FAILED, reversed(past)))[::-1]
    if not failures:
        return Finding("down", Alarm.QUIET, f"the last probe passed, {show_seconds(silence)} ago")
    down = _age(failures[0], now)
    expected = math.floor(down / interval) + 1
    gap = max([silence, *((b.at - a.at).total_seconds() for a, b in itertools.pairwise(failures))])
    evidence = {
        "since": failures[0].at.isoformat(),
        "seconds": down,
        "made": len(failures),
        "expected": expected,
        "longest_gap": gap,
    }
    sign = ">" if down > trigger.for_ else "≤"
    seen = (
        f"down for {show_seconds(down)} {sign} {show_seconds(trigger.for_)}, "
        f"{len(failures)} of {expected} probes made, longest gap {show_seconds(gap)}"
    )
    state = Alarm.SUSPICIOUS if len(failures) >= IN_A_ROW else Alarm.QUIET
    if down > trigger.for_:
        seamless = len(failures) >= MADE * expected and gap <= GAP * interval
        state = Alarm.FIRES if seamless else Alarm.UNKNOWN
    return Finding("down", state, seen, evidence)


def outages(trigger: Down, probes: Sequence[Probe], interval: float) -> list[Finding]:
    """Return what is to be said of each outage in these probes that lasted, or may have lasted, longer than the limit.

    One that fired at no moment, since probes were missing or it ended just before anyone could act, is found here.
    """
    known = sorted([p for p in probes if p.counted is not Outcome.UNKNOWN], key=attrgetter("at"))
    rows = [list(row) for _, row in itertools.groupby(known, key=lambda p: p.outcome)]
    found = []
    for row, after in itertools.zip_longest(rows, rows[1:]):
        until = (after or row)[0 if after else -1].at
        lasted = (until - row[0].at).total_seconds()
        if row[0].outcome is not Outcome.FAILED or len(row) < IN_A_ROW or lasted <= trigger.for_:
            continue
        finding = _down(trigger, row, row[-1].at, interval)
        state = Alarm.FIRES if finding.state is Alarm.FIRES else Alarm.UNKNOWN
        seen = f"down for up to {show_seconds(lasted)} from {row[0].at:%Y-%m-%d %H:%M:%S}, by {len(row)} probes"
        found.append(Finding("down", state, seen, {**finding.evidence, "up_to": lasted}))
    return found


def _span(trigger: Errors, interval: float) -> float:
    return max(float(trigger.for_), ENOUGH_PROBES * interval)


def _count(probes: Sequence[Probe]) -> tuple[int, int]:
    return sum(p.outcome is Outcome.FAILED for p in probes), len(probes)


def _errors_of_clients(trigger: Errors, counts: Sequence[Counted], now: datetime, interval: float) -> Finding | None:
    """Return what the clients' own requests say; None where too little of the window, or of them, was counted."""
    span = _span(trigger, interval)
    fifths = parts(counts, now, span, FIFTHS)
    whole = sum(fifths, NONE)
    if whole.asked < ENOUGH_REQUESTS:
        return None
    window, first, last = ((one.failed, one.asked) for one in (whole, fifths[0], fifths[-1]))
    finding = _judge_errors(trigger, window, first, last, REQUESTS)
    if finding.state is not Alarm.FIRES:
        return finding
    if any(is_calm(part, trigger.above) for part in fifths):
        return replace(finding, state=Alarm.SUSPICIOUS, seen=f"{finding.seen}; for a fifth of the time they ceased")
    began = _since_they_began(trigger, counts, now, span)
    if (bound := wilson_lower(began.failed, began.asked)) <= trigger.above:
        # Each tick judges anew: over a day, some window in thousands is above a limit that the errors keep to.
        told = f"{began.failed} of {began.asked} ({began.errors:.1%}) since they began, surely above {bound:.1%}"
        return replace(finding, state=Alarm.SUSPICIOUS, seen=f"{finding.seen}; {told}")
    return finding


def _since_they_began(trigger: Errors, counts: Sequence[Counted], now: datetime, span: float) -> Traffic:
    """Return what the requests came to in as many windows back as were counted, since errors were surely few."""
    for windows in range(LONGEST_STRETCH, 0, -1):
        if found := parts(counts, now, windows * span, windows * FIFTHS):
            return since_calm(found, trigger.above)
    return NONE


def _errors(trigger: Errors, past: Sequence[Probe], now: datetime, interval: float) -> Finding:
    span = _span(trigger, interval)
    recent = [p for p in past if _age(p, now) <= span]
    if len(recent) < ENOUGH_PROBES:
        recent = list(past[-ENOUGH_PROBES:])
    if len(recent) < ENOUGH_PROBES or _age(recent[0], now) > span / MADE or _age(recent[-1], now) > GAP * interval:
        made = sum(_age(p, now) <= span / MADE for p in recent)
        if recent and _age(recent[-1], now) > GAP * interval:
            seen = f"no probe that counts in the last {show_seconds(GAP * interval)}"
            return Finding("errors", Alarm.UNKNOWN, seen, {"made": made})
        seen = f"{made} of {ENOUGH_PROBES} probes that count within {show_seconds(span)}"
        return Finding("errors", Alarm.UNKNOWN, seen, {"made": made})
    fifth = len(recent) // FIFTHS
    finding = _judge_errors(trigger, _count(recent), _count(recent[:fifth]), _count(recent[-fifth:]), "probes")
    if finding.state is Alarm.FIRES:
        stretch = [p for p in past if _age(p, now) <= LONGEST_STRETCH * span]
        if doubt := _doubt(trigger, recent, stretch):
            return replace(finding, state=Alarm.SUSPICIOUS, seen=f"{finding.seen}; {doubt}")
    return finding


def _doubt(trigger: Errors, recent: Sequence[Probe], stretch: Sequence[Probe]) -> str:
    """Return what speaks against errors that go on, although the window is above the limit; empty if nothing does."""
    calm = max(_rows(recent, Outcome.PASSED), default=0)
    if (1 - trigger.above) ** calm < BY_CHANCE:
        # Two restarts at the ends of the window are no errors that went on through it.
        return f"{calm} probes in a row passed between"
    together = runs_z([p.outcome is Outcome.FAILED for p in recent]) < CLUSTERED
    rows = _rows(stretch, Outcome.FAILED)
    down = [length for length in rows if length >= IN_A_ROW]
    if together and 0 < len(down) < MANY_OUTAGES:
        of = "one outage" if len(down) == 1 else f"{len(down)} outages"
        return f"{sum(down)} of {sum(rows)} failures in {of} of {max(down)} probes at most"
    failures = _rows(recent, Outcome.FAILED)
    longest, beside = max(failures), (sum(failures) - max(failures), len(recent) - max(failures))
    # How many rows so long a window would have by chance, were the share of failures at its limit.
    by_chance = len(recent) * (1 - trigger.above) * trigger.above**longest
    is_outage = IN_A_ROW <= longest <= len(recent) / 2 and by_chance < BY_CHANCE
    if is_outage and len(down) < MANY_OUTAGES and (bound := wilson_lower(*beside)) <= trigger.above:
        # A restart amid a few errors; how long it lasted is what `down` judges.
        return f"{longest} in a row in one outage, and beside it {beside[0]} of {beside[1]}, surely above {bound:.1%}"
    failed, total = _count(_since_calm(stretch, len(recent)))
    if (bound := wilson_lower(failed, total)) <= trigger.above:
        # Each tick judges anew: over a day, some window in thousands is above a limit that the errors keep to.
        return f"{failed} of {total} ({failed / total:.1%}) since they began, surely above {bound:.1%}"
    return ""


def _since_calm(probes: Sequence[Probe], calm: int) -> Sequence[Probe]:
    """Return the probes from the first failure after so many in a row passed, which is since the errors began."""
    passed, begin = 0, 0
    for number in range(len(probes) - 1, -1, -1):
        passed = passed + 1 if probes[number].outcome is Outcome.PASSED else 0
        if passed == calm:
            begin = number
            break
    return list(itertools.dropwhile(lambda p: p.outcome is Outcome.PASSED, probes[begin:]))


def _rows(probes: Sequence[Probe], outcome: Outcome) -> list[int]:
    """Return how long each row of probes that came out so is."""
    return [len(list(row)) for one, row in itertools.groupby(p.outcome for p in probes) if one is outcome]


def _judge_errors(
    trigger: Errors, window: tuple[int, int], first: tuple[int, int], last: tuple[int, int], of: str
) -> Finding:
    bound = wilson_lower(*window)
    share, at_first, at_last = (part[0] / part[1] if part[1] else 0.0 for part in (window, first, last))
    if bound > trigger.above and min(at_first, at_last) > trigger.above:
        state = Alarm.FIRES
    else:
        # An outage that has only begun, or is over, may weigh as much in the window as errors that went on through it.
        state = Alarm.SUSPICIOUS if share > trigger.above else Alarm.QUIET
    seen = (
        f"errors {window[0]} of {window[1]} {of} ({share:.1%}), surely above {bound:.1%} against a limit of "
        f"{trigger.above:.0%}; {at_first:.0%} in the first and {at_last:.0%} in the last fifth"
    )
    evidence = {"failed": window[0], "total": window[1], "of": of, "bound": bound, "first": at_first, "last": at_last}
    return Finding("errors", state, seen, evidence)


def slower(
    trigger: Slower, burst: Sequence[float], baseline: Sequence[float], previous: Finding | None = None
) -> Finding:
    """Return whether a burst is slower than the baseline: once is suspicious, twice running fires.

    Both are seconds that successful answers took; a timeout is an error and no latency.
    """
    counts = {"burst": len(burst), "baseline": len(baseline)}
    if len(burst) < ENOUGH_BURST or len(baseline) < ENOUGH_BASELINE:
        seen = (
            f"{len(burst)} answers (at least {ENOUGH_BURST} needed) against a baseline of {len(baseline)} "
            f"(at least {ENOUGH_BASELINE})"
        )
        return Finding("slower", Alarm.UNKNOWN, seen, counts)
    p = slower_p(burst, baseline, 1 + trigger.than)
    now, before = percentile(burst, 0.5), percentile(baseline, 0.5)
    grown = max(0.0, now - before)
    is_slower = p < SURE and grown > trigger.floor
    again = previous is not None and previous.state in {Alarm.SUSPICIOUS, Alarm.FIRES}
    state = (Alarm.FIRES if again else Alarm.SUSPICIOUS) if is_slower else Alarm.QUIET
    sign, p_sign = (">", "<") if p < SURE else ("not >", "≥")
    seen = (
        f"median {show_seconds(now)} {sign} {1 + trigger.than:g} × {show_seconds(before)} before "
        f"(p = {p:.2g} {p_sign} {SURE:g}; grown by {show_seconds(grown)}, which is "
        f"{'above' if grown > trigger.floor else 'within'} the floor of {show_seconds(trigger.floor)})"
        f"{', twice running' if state is Alarm.FIRES else ''}"
    )
    evidence = {**counts, "p": p, "now": summarise(burst).as_json(), "before": summarise(baseline).as_json()}
    return Finding("slower", state, seen, evidence)


def burst_until_sure(
    trigger: Slower, baseline: Sequence[float], first: int, ask: Callable[[int], list[float]]
) -> list[float]:
    """Return the seconds of a burst of ``first`` answers, or of `LARGEST_BURST` if the first ones leave it open.

    ``ask`` makes that many probes. It is open if the burst is neither surely slower than the limit nor surely not: 30
    answers that scatter do not tell twice from 1.5 times as slow.
    """
    burst = ask(first)
    if len(burst) < ENOUGH_BURST or len(baseline) < ENOUGH_BASELINE:
        return burst
    is_open = SURE <= slower_p(burst, baseline, 1 + trigger.than) <= 1 - SURE
    return burst + ask(LARGEST_BURST - first) if is_open else burst


def _corruption(past: Sequence[Probe]) -> Finding:
    if not past:
        return Finding("corruption", Alarm.UNKNOWN, "no integrity check has come to a result")
    looks: dict[str, list[Outcome]] = {}
    for probe in past:
        looks.setdefault(probe.source, []).append(probe.outcome)
    confirmed = sorted(source for source, seen in looks.items() if seen[-2:] == [Outcome.FAILED] * 2)
    once = sorted(source for source, seen in looks.items() if seen[-1] is Outcome.FAILED)
    evidence = {"confirmed": confirmed, "once": once}
    if confirmed:
        return Finding("corruption", Alarm.FIRES, f"failed twice running: {', '.join(confirmed)}", evidence)
    if once:
        return Finding("corruption", Alarm.SUSPICIOUS, f"failed once: {', '.join(once)}", evidence)
    return Finding("corruption", Alarm.QUIET, f"{len(looks)} integrity checks passed", evidence)
