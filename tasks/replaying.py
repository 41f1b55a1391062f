"""Replaying a watch: every decision on record made again, or made with other limits, from the ledger alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from tasks import watching
from tasks.domain.judging import still_there
from tasks.domain.outcome import Outcome
from tasks.domain.release import MUTATING, State
from tasks.domain.replay import Decision, Firing, firings, in_words
from tasks.domain.triggers import Alarm
from tasks.ledger.ledger import Ledger
from tasks.ledger.models import Look
from tasks.rejudging import LOOKS, VERDICTS, Record, guard_again, look_again, verdict_again
from tasks.spec.release_file import ReleaseFile
from tasks.watching import Watched

SLACK = 2
"""Intervals by which a moment may be off that is not on record: when each tick was judged."""
CONFIRMED_WITHIN = timedelta(seconds=60)
"""How long the probes just before acting may take in all."""
_HOLDS = {
    Outcome.PASSED: "the probes after it confirm that",
    Outcome.FAILED: "the probes after it do not confirm that",
    Outcome.UNKNOWN: "too few probes after it are on record to confirm that",
}


@dataclass(frozen=True)
class Replayed:
    """What a replay came to: the decisions in order, and with other limits what would have been acted on first.

    ``ends`` is when the record of the guarded stage ends, after which nobody knows what would have been.
    """

    decisions: Sequence[Decision]
    first: Firing | None
    ends: datetime | None

    def count(self, outcome: Outcome) -> int:
        """Return how many decisions agree, do not, or cannot be made again."""
        return sum(one.agrees is outcome for one in self.decisions)


def replay(book: Ledger, release_id: str, other: ReleaseFile | None = None) -> Replayed:
    """Make each decision of a release's watch again, with the limits on record or with those of another file."""
    watched = watching.observe(book.releases.get(release_id))
    if other is not None:
        watched = Watched(replace(watched.ctx, file=other))
    evidence = book.evidence
    record = Record(
        watched,
        sorted(evidence.probes(release_id), key=lambda one: one.id),
        evidence.looks(release_id),
        book.releases.moves(release_id),
        changed=other is not None,
    )
    ends = _ends(record)
    fired = _fired(record, ends)
    decisions = _with_others(record, fired) if record.changed else _of_guard(record, fired, ends)
    looked, by_looks = _of_looks(record)
    first = min((one for one in (*fired, *by_looks) if one.holds is not Outcome.FAILED), key=_at, default=None)
    return Replayed(sorted([*decisions, *looked], key=lambda one: one.at), first, ends)


def _at(one: Firing) -> datetime:
    return one.at


def _ends(record: Record) -> datetime | None:
    """Return when the release was no longer guarded; None while it is."""
    gone = (one for one in record.moves if one.before in MUTATING and State(one.after) not in MUTATING)
    return next((one.at for one in gone), None)


def _fired(record: Record, ends: datetime | None) -> list[Firing]:
    watched = record.watched
    row = watched.release
    began = row.mutation_started_at if watched.answered_before else row.live_at
    if began is None or watched.ctx.file.watch.probe is None:
        return []
    ticks = [one for one in record.ticks if one.at >= began and (ends is None or one.at <= ends)]
    return firings(ticks, partial(watching.judge_probes, watched), watching.window_of(watched), began)


def _of_guard(record: Record, fired: Sequence[Firing], ends: datetime | None) -> list[Decision]:
    """Return what the guard acted on, and whether it should have acted at any other tick."""
    acted = [guard_again(record, one) for one in record.looks if one.source == "guard"]
    ticks = len(record.ticks)
    if not ticks:
        return acted
    untold = [found for one in fired if (found := _untold(record, one, ends)) is not None]
    last = record.ticks[-1].at
    told = f"{ticks} probes judged anew, {len(fired) or 'none'} of them the first at which a trigger fires"
    seen = "fired" if acted else "nothing was acted on"
    return [*acted, *untold, Decision(last, "guard", seen, told, Outcome.PASSED)]


def _untold(record: Record, fired: Firing, ends: datetime | None) -> Decision | None:
    """Return what is to be said of a trigger that fires in a replay, unless a look on record tells of it."""
    slack = timedelta(seconds=SLACK * record.watched.interval)
    begins, until = fired.at - slack, fired.until + slack
    told = [one for one in record.looks if fired.finding.kind in _acted_on(one)]
    if any(begins <= one.at <= until + CONFIRMED_WITHIN for one in told) or _was_busy(record, fired.at, slack):
        return None
    taken = record.confirming(begins, until + CONFIRMED_WITHIN)
    words = in_words([fired.finding])
    if taken and not still_there(fired.finding.kind, taken):
        return Decision(fired.at, "guard", "fired, and did not hold just before acting", words, Outcome.PASSED)
    if taken or (ends is not None and ends <= until):
        why = "what came of it is not on record: something else ended the watch, or the guard itself"
        return Decision(fired.at, "guard", "nothing", words, Outcome.UNKNOWN, why)
    return Decision(fired.at, "guard", "nothing", words, Outcome.FAILED, "nothing on record says that this was seen")


def _was_busy(record: Record, at: datetime, slack: timedelta) -> bool:
    """Tell whether something else was being acted on already, in which time nothing more is."""
    acted = (one for one in record.looks if one.source == "guard")
    judged = ((basis.at if (basis := record.basis_of(one)) is not None else one.at, one.at) for one in acted)
    return any(begin - slack <= at <= end + CONFIRMED_WITHIN for begin, end in judged)


def _acted_on(look: Look) -> set[str]:
    firing = {one["kind"] for one in look.findings.get("findings", ()) if one["state"] == Alarm.FIRES}
    return firing if look.source in {"guard", "monitor"} else set()


def _with_others(record: Record, fired: Sequence[Firing]) -> list[Decision]:
    """Return what other limits would have changed between two looks."""
    slack = timedelta(seconds=SLACK * record.watched.interval)
    guarded = [one for one in record.looks if one.source == "guard"]
    decisions = []
    for look in guarded:
        basis = record.basis_of(look)
        at = basis.at if basis is not None else look.at
        same = any(one.at - slack <= at <= one.until + slack and one.finding.kind in _acted_on(look) for one in fired)
        decided = in_words([watching.from_json(one) for one in look.findings["findings"]])
        agrees = Outcome.PASSED if same else Outcome.FAILED
        decisions.append(Decision(look.at, "guard", decided, "fires too" if same else "does not fire", agrees))
    for one in fired:
        words = f"{in_words([one.finding])}; {_HOLDS[one.holds]}"
        if not any(one.at - slack <= look.at and one.finding.kind in _acted_on(look) for look in guarded):
            decisions.append(Decision(one.at, "guard", "nothing", words, Outcome.FAILED))
    return decisions


def _of_looks(record: Record) -> tuple[list[Decision], list[Firing]]:
    """Return the decisions of looks and verdicts, in order, and what would have fired at a look."""
    decisions: list[Decision] = []
    fired: list[Firing] = []
    made: list[Look] = []
    for look in record.looks:
        if look.source in LOOKS:
            before = next((one for one in reversed(made) if one.source == look.source), None)
            decision, again = look_again(record, look, before)
            decisions.append(decision)
            made.append(again if record.changed else look)
            found = (watching.from_json(one) for one in made[-1].findings["findings"])
            fired += [
                Firing(one, look.at, look.at, Outcome.PASSED)
                for one in found
                if one.state is Alarm.FIRES and one.kind not in {"down", "errors"}
            ]
        elif look.source in VERDICTS:
            decisions += [one for one in [verdict_again(record, look, made)] if one is not None]
        elif not record.changed:
            made.append(look)  # what the guard acted on counts in the verdict
    return decisions, fired
