"""How many measurements a statement rests on, in words: the ``n`` of an alert, of what was counted and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from tasks.domain.outcome import Measurement, Outcome
from tasks.domain.triggers import Alarm, Finding

_CAME_OUT = {Outcome.PASSED: "passed", Outcome.FAILED: "failed", Outcome.UNKNOWN: "came out unknown"}


def many(number: int, what: str) -> str:
    """Return a number of things in words."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def of_finding(finding: Finding, seen: Sequence[Measurement] = (), before: Sequence[Mapping[str, str]] = ()) -> str:
    """Return how many measurements a finding rests on; empty where nothing has counted them.

    One of a check with ``rollback: true`` rests on what was ``seen`` and on the looks ``before``, as in `of_check`.
    """
    found, said = finding.evidence, ""
    match finding.kind:
        case "down" if "made" in found:
            said = f"{many(found['made'], 'probe')} in a row failed, of {found['expected']} due"
        case "errors" if "total" in found:
            said = f"{found['failed']} of {found['total']} {found['of']} failed"
        case "errors" if "made" in found:
            said = f"{many(found['made'], 'probe')} that count"
        case "slower" if "burst" in found:
            said = f"{many(found['burst'], 'answer')} against {found['baseline']} before the release"
        case "corruption" if found.get("confirmed"):
            said = f"the last 2 measurements of {', '.join(found['confirmed'])} failed"
        case "check":
            said = "; ".join(of_check(one.check, one.outcome, before) for one in seen if _is_of(finding, one))
    return said


def of_check(name: str, outcome: Outcome, before: Sequence[Mapping[str, str]]) -> str:
    """Return how many measurements of a check, one for each look, came out as the last one did.

    ``before`` is what each earlier look made of the checks that it made, the oldest first.
    """
    made = [*(Outcome(look[name]) for look in before if name in look), outcome]
    row = len(list(itertools.takewhile(lambda one: one is outcome, reversed(made))))
    in_a_row = f", the last {row} in a row" if row > 1 else ""
    return f"{made.count(outcome)} of {many(len(made), 'measurement')} of {name} {_CAME_OUT[outcome]}{in_a_row}"


def of_look(findings: Sequence[Finding], seen: Sequence[Measurement], before: Sequence[Mapping[str, str]]) -> str:
    """Return how many measurements say what people are told of a look: of what is wrong, or that all is well."""
    loud = [one for one in findings if one.state in (Alarm.FIRES, Alarm.UNKNOWN)]
    deciding = [one for one in seen if not one.advisory]
    bad = [one for one in deciding if one.outcome is not Outcome.PASSED]
    if loud or bad:
        counted = [of_finding(one, seen, before) for one in loud]
        others = [one for one in bad if not any(_is_of(finding, one) for finding in loud)]
        counted += [of_check(one.check, one.outcome, before) for one in others]
    else:
        counted = [f"{many(len(deciding), 'measurement')}, all passed" if deciding else "", *map(of_finding, findings)]
    return "; ".join(filter(None, counted))


def _is_of(finding: Finding, one: Measurement) -> bool:
    """Tell whether a finding is that of a check with ``rollback: true``, which may be advisory."""
    return finding.kind == "check" and finding.seen.removesuffix(" twice running") == f"{one.check} failed"
