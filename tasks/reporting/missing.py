"""Names what a release may measure and this one did not: what is missing is said, never hidden."""

from __future__ import annotations

from tasks.domain.outcome import Outcome
from tasks.domain.release import State
from tasks.reporting.values import ReleaseFacts
from tasks.reporting.words import counted, duration, moment

_CHECKED = {
    State.PREFLIGHT: "preflight",
    State.MIGRATE: "migrate",
    State.HEALTH: "health",
    State.WATCHING: "watch",
}
MOST_GAPS = 20


def not_measured(facts: ReleaseFacts, *, any_baseline: bool) -> tuple[str, ...]:
    """Return a sentence for everything of which there is no data; of a phase alone, only what it would measure."""
    whole = facts.scope == "release"
    absent: list[str] = []
    if whole or facts.scope == "backup":
        absent += ["No backup of this release is proven."] if facts.backup is None else []
    if whole or facts.scope in {"rehearse", "migrate"}:
        absent += _of_migration(facts)
    if whole:
        absent += _of_release(facts, any_baseline=any_baseline)
    compared = [
        f"“{c.check}” has a baseline and nothing newer to hold against it." for c in facts.comparisons if not c.now
    ]
    return (*absent, *_unchecked(facts), *compared, *facts.not_held, *_probing(facts), *_unknown(facts))


def _of_migration(facts: ReleaseFacts) -> list[str]:
    in_rehearsal_only = bool(facts.locks) and all(lock.where == "rehearsal" for lock in facts.locks)
    absent = {
        "No rehearsal is on record, and so no proven way back.": facts.rehearsal is None,
        "The way back has no measured time.": facts.way_back is not None and facts.way_back.rehearsed is None,
        "No lock was measured.": not facts.locks,
        "Locks were measured in rehearsal, not on production.": in_rehearsal_only and facts.migration is not None,
        "No lock limit is on record.": bool(facts.locks) and facts.lock_limit is None,
    }
    return [sentence for sentence, holds in absent.items() if holds]


def _of_release(facts: ReleaseFacts, *, any_baseline: bool) -> list[str]:
    absent = {
        "No baseline was taken before the release.": not any_baseline,
        "The guard made no probe, so downtime is not known.": not facts.probing.points,
        "Nobody signed.": not facts.signatures,
        "No judgement of the watch is on record.": facts.live is not None and not facts.looks,
    }
    return [sentence for sentence, holds in absent.items() if holds]


def _unchecked(facts: ReleaseFacts) -> list[str]:
    phases = {check.phase for check in facts.checks}
    passed_through = dict.fromkeys(period.name for period in facts.periods)
    return [
        f"No check was made in {_CHECKED[State(name)]}."
        for name in passed_through
        if name in _CHECKED and _CHECKED[State(name)] not in phases
    ]


def _probing(facts: ReleaseFacts) -> list[str]:
    gaps = facts.probing.gaps
    told = [f"No probe for {duration((end - begin).total_seconds())} from {moment(begin)} on." for begin, end in gaps][
        :MOST_GAPS
    ]
    if len(gaps) > MOST_GAPS:
        rest = sum((end - begin).total_seconds() for begin, end in gaps[MOST_GAPS:])
        told.append(f"No probe in {len(gaps) - MOST_GAPS} more gaps, {duration(rest)} in all.")
    if facts.probing.unknown:
        told.append(f"{counted(facts.probing.unknown, 'probe')} came to no result.")
    return told


def _unknown(facts: ReleaseFacts) -> list[str]:
    unknown = [check for check in facts.checks if check.outcome is Outcome.UNKNOWN]
    times: dict[tuple[str, str], int] = {}
    for check in unknown:
        key = (check.phase, check.name)
        times[key] = times.get(key, 0) + check.times
    return [
        f"“{name}” ({phase}) came to no result{f' {many} times' if many > 1 else ''}."
        for (phase, name), many in times.items()
    ]
