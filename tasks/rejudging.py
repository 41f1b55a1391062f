"""Looks and verdicts of a watch made again from the ledger alone, by the functions that made them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from tasks import alerting, closing, later, watching
from tasks.domain.judging import Basis, known_then, still_there
from tasks.domain.outages import AGAIN
from tasks.domain.outcome import Outcome
from tasks.domain.replay import Decision, in_words
from tasks.domain.triggers import Alarm, Corruption, Down, Errors, Finding, Probe, Slower
from tasks.domain.watch import WatchVerdict
from tasks.ledger import models
from tasks.ledger.models import Look, Move
from tasks.staging import LOOK, VERDICT
from tasks.watching import Watched

LOOKS = ("monitor", LOOK)
"""The sources of looks that judge triggers and checks."""
VERDICTS = (closing.SOURCE, VERDICT)
"""The sources of looks that give a verdict on a stage."""


@dataclass(frozen=True)
class Record:
    """What is on record of a release's watch, in order; with other limits (``changed``) or with its own."""

    watched: Watched
    probes: Sequence[models.Probe]
    looks: Sequence[Look]
    moves: Sequence[Move]
    changed: bool = False

    @cached_property
    def ticks(self) -> list[Probe]:
        """The probes of the guard in the order in which they came in."""
        return watching.ticks_of(self.probes)

    def confirming(self, since: datetime, until: datetime) -> list[Probe]:
        """Return the probes that were made just before acting."""
        taken = (one for one in self.probes if one.source == watching.CONFIRMING)
        return [watching.as_probe(one) for one in taken if since <= one.at <= until]

    def basis_of(self, look: Look) -> Basis | None:
        """Return which probes a look rests on; None where that is not on record."""
        judged = look.findings.get("judged") or {}
        if "last" not in judged:
            return None
        basis = Basis.from_json(judged)
        if not self.changed:
            return basis
        # Other limits may reach back further.
        watched = self.watched
        return replace(basis, since=watching.since(watched, watched.release, watching.window_of(watched), basis.at))

    def probes_of(self, look: Look, missing: list[str]) -> tuple[list[Probe], datetime] | None:
        """Return the probes that a look rests on and when they were judged; adds to ``missing`` what is not there."""
        basis = self.basis_of(look)
        if basis is None:
            missing.append("which probes were judged, and when")
            return None
        known = known_then(self.ticks, basis)
        if len(known) != basis.probes and not self.changed:
            missing.append(f"{basis.probes} probes were judged, and {len(known)} of then are on record")
            return None
        return known, basis.at


def look_again(record: Record, look: Look, before: Look | None) -> tuple[Decision, Look]:
    """Judge a look anew; return how that compares, and the look as it would have been.

    ``before`` is the look before it, as it was or would have been.
    """
    missing: list[str] = []
    found = _findings(record, look, before, missing)
    decided = [watching.from_json(one) for one in look.findings["findings"]]
    outcome = alerting.outcome_of(found, _deciding(record.watched, look))
    differs = _differences(decided, found) if not missing else []
    if not missing and outcome != look.outcome:
        differs.append(f"its outcome was {look.outcome}")
    differs += _other_to_act_on(record, look, found) if not missing and not record.changed else []
    agrees = Outcome.UNKNOWN if missing else Outcome.FAILED if differs else Outcome.PASSED
    replayed = f"{outcome}: {in_words(found)}" if not missing else CANNOT
    decision = Decision(
        look.at, look.source, f"{look.outcome}: {in_words(decided)}", replayed, agrees, "; ".join(missing or differs)
    )
    made = {**look.findings, "findings": [watching.to_json(one) for one in found]}
    again = Look(id=look.id, source=look.source, at=look.at, due_at=look.due_at, outcome=outcome, findings=made)
    return decision, look if missing else again


CANNOT = "cannot be made again"


def _findings(record: Record, look: Look, before: Look | None, missing: list[str]) -> list[Finding]:
    recorded, watched = look.findings["findings"], record.watched
    if any(one["kind"] == "look" for one in recorded):
        return [watching.from_json(one) for one in recorded]  # nothing was seen, so there is nothing to judge
    file, judged = watched.ctx.file, look.findings.get("judged") or {}
    kinds = {type(trigger) for trigger in file.rollback.when}
    found: list[Finding] = []
    is_guarded = look.source == "monitor" and file.watch.probe is not None
    if is_guarded and kinds & {Down, Errors} and (known := record.probes_of(look, missing)) is not None:
        found += watching.judge_probes(watched, *known)
    if Slower in kinds and file.watch.probe is not None:
        burst = look.findings.get("burst") or judged
        if (latencies := burst.get("latencies")) is None:
            missing.append("how long the answers took")
        else:
            found += _said(watching.judge_burst(watched, latencies, watching.findings_of(before).get("slower")))
    if Corruption in kinds and file.checks.corruption:
        if "integrity" not in judged:
            missing.append("what the integrity checks saw")
        else:
            seen = watching.integrity_from_json(judged["integrity"])
            found += _said(watching.judge_corruption(watched, seen, max((one.at for one in seen), default=look.at)))
    made = look.findings["checks"]
    checks = [check for _phase, check in file.checks.every() if check.name in made]
    outcomes = {name: Outcome(seen) for name, seen in made.items()}
    return found + watching.judge_checks(checks, outcomes, before.findings["checks"] if before is not None else {})


def _said(finding: Finding | None) -> list[Finding]:
    return [finding] if finding is not None else []


def _deciding(watched: Watched, look: Look) -> list[Outcome]:
    advisory = {check.name for _phase, check in watched.ctx.file.checks.every() if check.advisory}
    return [Outcome(seen) for name, seen in look.findings["checks"].items() if name not in advisory]


def _differences(decided: Sequence[Finding], found: Sequence[Finding]) -> list[str]:
    was, now = ([_as_kept(one) for one in findings] for findings in (decided, found))
    gone = [f"decided {one['kind']} {one['state']}: {one['seen']}" for one in was if one not in now]
    return gone + [f"replay says {one['kind']} {one['state']}: {one['seen']}" for one in now if one not in was]


def _as_kept(finding: Finding) -> dict[str, Any]:
    kept: dict[str, Any] = json.loads(json.dumps(models.storable(watching.to_json(finding))))
    return kept


def _other_to_act_on(record: Record, look: Look, found: Sequence[Finding]) -> list[str]:
    """Return what is wrong about which finding was to be acted on, by the probes that were made just before."""
    judged = look.findings.get("judged") or {}
    if "holds" not in judged:
        return []
    basis = record.basis_of(look)
    taken = record.confirming(basis.at if basis is not None else look.at, look.at)
    firing = [one for one in found if one.state is Alarm.FIRES]
    if not taken and any(one.kind in {"down", "errors"} for one in firing):
        return []  # they may bear the time of another clock than the look
    holding = next((one.kind for one in firing if still_there(one.kind, taken)), None)
    return [] if holding == judged["holds"] else [f"acted on {judged['holds']}, and {holding} held just before"]


def guard_again(record: Record, look: Look) -> Decision:
    """Judge anew what the guard acted on."""
    missing: list[str] = []
    known = record.probes_of(look, missing)
    decided = [watching.from_json(one) for one in look.findings["findings"]]
    if known is None:
        return Decision(look.at, "guard", in_words(decided), CANNOT, Outcome.UNKNOWN, "; ".join(missing))
    found = watching.judge_probes(record.watched, *known)
    told = [one for one in _differences(decided, found) if one.startswith("decided")]
    taken = record.confirming(known[1], look.at)
    for one in decided if not told else []:
        if not taken and one.kind in {"down", "errors"}:
            missing.append("the probes made just before acting are not on record")
        elif not still_there(one.kind, taken):
            told.append(f"the {len(taken)} probes made just before acting do not confirm it")
    agrees = Outcome.FAILED if told else Outcome.UNKNOWN if missing else Outcome.PASSED
    return Decision(look.at, "guard", in_words(decided), in_words(found), agrees, "; ".join(told or missing))


def verdict_again(record: Record, look: Look, looks: Sequence[Look]) -> Decision | None:
    """Give a verdict anew by the looks before it, as they were or would have been; None if nothing was judged."""
    said: Mapping[str, Any] = look.findings
    if "ended" not in said or "expected" not in said:
        return None
    decided = f"{said['ended']}: {said['seen']}"
    if "judged" not in said:
        why = "over which time, and how many probes, the verdict was given"
        return Decision(look.at, look.source, decided, CANNOT, Outcome.UNKNOWN, why)
    again = _stage(record, look, looks) if look.source == VERDICT else _first_stage(record, look, looks)
    if isinstance(again, str):
        return Decision(look.at, look.source, decided, CANNOT, Outcome.UNKNOWN, again)
    ended = "extended" if said["ended"] == "extended" and again.may_mend else again.ended.value
    evidence = json.loads(json.dumps(models.storable({**again.evidence, "seen": again.seen, "ended": ended})))
    differs = [name for name, value in evidence.items() if said.get(name) != value]
    why = f"differs in {', '.join(sorted(differs))}" if differs else ""
    agrees = Outcome.FAILED if differs else Outcome.PASSED
    return Decision(look.at, look.source, decided, f"{ended}: {again.seen}", agrees, why)


def _stage(record: Record, look: Look, looks: Sequence[Look]) -> WatchVerdict:
    said, number = look.findings, look.findings["number"]
    mine = [one for one in looks if one.source == LOOK and one.findings["number"] == number]
    begins, ends = (datetime.fromisoformat(said["judged"][name]) for name in ("from", "until"))
    return later.verdict_on(record.watched, number, mine, begins, ends)


def _first_stage(record: Record, look: Look, looks: Sequence[Look]) -> WatchVerdict | str:
    judged = look.findings["judged"]
    live, until = (datetime.fromisoformat(judged[name]) for name in ("from", "until"))
    since = [one for one in record.probes if one.at >= live and one.source != AGAIN]
    come_in = sorted(since, key=lambda one: one.id)[: judged["probes"]]
    if len(come_in) < judged["probes"]:
        return f"{judged['probes']} probes were judged, and {len(come_in)} are on record"
    probes = [watching.as_probe(one) for one in sorted(come_in, key=lambda one: one.at)]
    last = [one for one in looks if one.source == "monitor"][-1:]
    findings = [watching.from_json(found) for one in last for found in one.findings["findings"]]
    return closing.verdict_on(record.watched, probes, looks, live, until, findings)
