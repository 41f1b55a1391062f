"""Derives from rows of the ledger what they amount to: periods, runs of steps and checks, outages, comparisons."""

from __future__ import annotations

import itertools
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from tasks.domain.outages import AGAIN, Seen, spans
from tasks.domain.outcome import Outcome
from tasks.domain.release import TERMINAL, State
from tasks.domain.statistics import rate_at_most
from tasks.domain.triggers import ENOUGH_BASELINE, GAP
from tasks.ledger import models
from tasks.reporting.values import CheckRun, Comparison, Lock, LookRun, Outage, Period, ProbePoint, Probing, StepRun
from tasks.reporting.words import findings_of, label, moment

_ILL = {State.STOPPED, State.ROLLING_BACK, State.NEEDS_PERSON}
_PHASES_OF_NOW = {"health", "watch", "watching"}


def outcome_of(text: str | None) -> Outcome:
    """Return an outcome as recorded; what is none of the three says nothing."""
    return Outcome(text) if text in set(Outcome) else Outcome.UNKNOWN


def periods_of(moves: Sequence[models.Move], now: datetime) -> tuple[Period, ...]:
    """Return the time spent in each state, the last one up to ``now`` unless it ends the release."""
    periods = []
    for move, following in itertools.zip_longest(moves, moves[1:]):
        if move.after == State.PLANNED or (move.after in TERMINAL and following is None):
            continue
        ended = following.at if following else None
        after = following.after if following else ""
        if not after:
            outcome, ending = Outcome.UNKNOWN, "under way"
        elif move.after not in TERMINAL and (after in _ILL or move.after == State.NEEDS_PERSON):
            outcome = Outcome.UNKNOWN if move.after == State.NEEDS_PERSON else Outcome.FAILED
            ending = f"then {label(after)}"
        else:
            outcome, ending = Outcome.PASSED, f"then {label(after).replace('_', ' ')}"
        took = ((ended or now) - move.at).total_seconds()
        periods.append(Period(move.after, label(move.after), move.at, ended, took, outcome, ending))
    return tuple(periods)


def steps_of(events: Iterable[models.Step]) -> tuple[StepRun, ...]:
    """Return each step once, with its end if one is on record, and the evidence of both."""
    starts: dict[int, models.Step] = {}
    ends: dict[int, models.Step] = {}
    for event in events:
        if event.event == "started":
            starts[event.id] = event
        elif event.started is not None:
            ends[event.started] = event
    runs = []
    for number, start in starts.items():
        end = ends.get(number)
        runs.append(
            StepRun(
                phase=start.phase,
                name=start.name,
                event=end.event if end else "started",
                began=start.at,
                took=end.took if end else None,
                mutates=start.mutates,
                epoch=start.epoch,
                detail={**start.detail, **(end.detail if end else {})},
            )
        )
    return tuple(runs)


def checks_of(rows: Iterable[models.Measurement]) -> tuple[CheckRun, ...]:
    """Return what checks saw, by phase and check; looks running that came out the same are told as one."""
    by_check: dict[tuple[str, str], list[models.Measurement]] = {}
    for row in rows:
        by_check.setdefault((row.phase, row.name), []).append(row)
    phases = list(dict.fromkeys(phase for phase, _ in by_check))
    runs = []
    for (phase, name), seen in sorted(by_check.items(), key=lambda item: phases.index(item[0][0])):
        for outcome, group in itertools.groupby(seen, key=lambda row: outcome_of(row.outcome)):
            same = list(group)
            last = same[-1]
            runs.append(
                CheckRun(
                    phase=phase,
                    name=name,
                    kind=last.kind,
                    outcome=outcome,
                    seen=last.seen,
                    first=same[0].at,
                    at=last.at,
                    times=len(same),
                    took=last.took,
                    advisory=last.advisory,
                    covers=tuple(last.covers),
                    help=last.help,
                )
            )
    return tuple(runs)


def looks_of(rows: Iterable[models.Look]) -> tuple[LookRun, ...]:
    """Return the judgements; those of one source that came out the same one after the other are told as one."""
    runs = []
    for (source, outcome), group in itertools.groupby(rows, key=lambda row: (row.source, row.outcome)):
        same = list(group)
        found = findings_of(same[-1].findings)
        runs.append(LookRun(source, outcome, same[0].at, same[-1].at, len(same), found))
    return tuple(runs)


def loss_in(looks: Iterable[models.Look]) -> str:
    """Return what a rollback would have lost at the last look that counted it, with its time; empty if none did."""
    last = next((row for row in reversed(list(looks)) if isinstance(row.findings.get("rollback"), Mapping)), None)
    return f"at {moment(last.at)} a rollback {last.findings['rollback'].get('seen')}" if last is not None else ""


def locks_of(detail: Any, where: str) -> tuple[Lock, ...]:
    """Return the locks of a list of ``{"relation", "mode", "held"}``, each pair once, the longest first."""
    most: dict[tuple[str, str], float] = {}
    for one in detail if isinstance(detail, Sequence) and not isinstance(detail, str) else ():
        if isinstance(one, Mapping) and (held := number(one.get("held"))) is not None:
            key = (str(one.get("relation", "?")), str(one.get("mode", "?")))
            most[key] = max(held, most.get(key, 0.0))
    locks = [Lock(relation, mode, held, where) for (relation, mode), held in most.items()]
    return tuple(sorted(locks, key=lambda lock: (-lock.held, lock.relation, lock.mode)))


def number(value: Any) -> float | None:
    """Return a JSON value as a number, or None if it is none."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def first_number(detail: Any, *keys: str) -> float | None:
    """Return the first of the keys' values that is a number."""
    if isinstance(detail, Mapping):
        for key in keys:
            if (found := number(detail.get(key))) is not None:
                return found
    return None


def probing_of(rows: Iterable[models.Probe], live: datetime | None, until: datetime) -> Probing:
    """Return the probes with their outages, and the gaps between ``live`` and ``until`` in which nobody looked."""
    points, looks = [], defaultdict[str, list[Seen]](list)
    for row in rows:
        outcome, again = outcome_of(row.outcome), row.source == AGAIN
        if outcome is Outcome.FAILED and row.control is not None and row.control != Outcome.PASSED:
            outcome = Outcome.UNKNOWN
        if outcome is not Outcome.UNKNOWN:
            looks[row.check].append(Seen(row.at, outcome, again))
        if not again:
            points.append(ProbePoint(row.at, row.check, outcome, row.elapsed))
    if not points:
        return Probing()
    failed = sum(point.outcome is Outcome.FAILED for point in points)
    unknown = sum(point.outcome is Outcome.UNKNOWN for point in points)
    made = len(points) - unknown
    most = Counter(point.check for point in points).most_common(1)[0][0]
    ticks = [point.at for point in points if point.check == most]
    steps = [(b - a).total_seconds() for a, b in itertools.pairwise(ticks)]
    interval = statistics.median(steps) if steps else None
    edges = [*([live] if live and live < points[0].at else []), *(point.at for point in points)]
    if until > points[-1].at:
        edges.append(until)
    gaps = [(a, b) for a, b in itertools.pairwise(edges) if interval and (b - a).total_seconds() > GAP * interval]
    return Probing(
        points=tuple(points),
        failed=failed,
        unknown=unknown,
        at_most=rate_at_most(failed, made) if made else None,
        interval=interval,
        outages=_outages(looks),
        gaps=tuple(gaps),
    )


def _outages(looks: Mapping[str, Sequence[Seen]]) -> tuple[Outage, ...]:
    found = [
        Outage(check, one.began, one.ended, one.seconds, one.off, one.failed)
        for check, seen in looks.items()
        for one in spans(seen)
    ]
    return tuple(sorted(found, key=lambda outage: outage.began))


def comparisons_of(
    baselines: Mapping[str, Mapping[str, Any]], rows: Sequence[models.Measurement], probing: Probing
) -> tuple[Comparison, ...]:
    """Return each baseline of latencies with the newest latencies of the same check, else with its newest probes'."""
    comparisons = []
    for name, detail in baselines.items():
        if not (before := latencies_of(detail)):
            continue
        looks = (row for row in reversed(rows) if row.name == name and row.phase in _PHASES_OF_NOW)
        now, source = next((found for row in looks if (found := latencies_of(row.detail))), ()), "newest look"
        if not now:
            now = _of_probes(name, probing)
            source = f"last {len(now)} probes that passed" if now else ""
        comparisons.append(Comparison(name, before, now, source))
    return tuple(comparisons)


def _of_probes(check: str, probing: Probing) -> tuple[float, ...]:
    newest = (p.elapsed for p in reversed(probing.points) if p.check == check and p.outcome is Outcome.PASSED)
    return tuple(itertools.islice((elapsed for elapsed in newest if elapsed is not None), ENOUGH_BASELINE))


def latencies_of(detail: Mapping[str, Any]) -> tuple[float, ...]:
    """Return the seconds that answers took, as a measurement or a baseline has them; none if it has none."""
    values = detail.get("latencies")
    if not isinstance(values, Sequence) or isinstance(values, str):
        return ()
    return tuple(found for value in values if (found := number(value)) is not None)
