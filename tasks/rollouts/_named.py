"""Checks of the release file that are asked of two versions beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.domain.outcome import Measurement, Outcome, combine
from tasks.domain.together import together
from tasks.rollouts import Place, Site


def ask_beside(
    site: Site, names: Sequence[str], old: Sequence[Place], new: Sequence[Place]
) -> tuple[Outcome, str, Mapping[str, Any]]:
    """Ask checks of all places of an old and a new version; return what comes of it, why, and what each check saw.

    The old version is the control: where it does not pass a check that the new one fails, the outcome is unknown.
    Advisory checks decide nothing.
    """
    places = [*old, *new]
    found = together(lambda place: _ask(site, names, place), places)
    controls, seen = found[: len(old)], found[len(old) :]
    outcomes, reasons, told = [Outcome.PASSED], [], {}
    for at, name in enumerate(names):
        of_new, of_old = [one[at] for one in seen], [one[at] for one in controls]
        control = combine(one.outcome for one in of_old)
        outcome = combine(one.outcome for one in of_new)
        if outcome is Outcome.FAILED and control is not Outcome.PASSED:
            outcome = Outcome.UNKNOWN
        told[name] = {"new": _told(of_new), "old": _told(of_old)}
        if outcome is Outcome.PASSED or of_new[0].advisory:
            continue
        outcomes.append(outcome)
        bad = next(one for one in of_new if one.outcome is not Outcome.PASSED)
        reasons.append(f"{name}: {bad.reading.seen}; of the old version it {_HOW[control]}")
    return combine(outcomes), "; ".join(reasons), told


_HOW = {Outcome.PASSED: "holds", Outcome.FAILED: "does not hold either", Outcome.UNKNOWN: "is not known"}


def _ask(site: Site, names: Sequence[str], place: Place) -> Sequence[Measurement]:
    target, status = site.on(place.host), site.platform.status(site.on(place.host), place.slot)
    url = f"http://127.0.0.1:{place.port}"
    return site.ask(names, target.at(base_url=url, port=place.port, slot=place.slot, version=status.version))


def _told(seen: Sequence[Measurement]) -> str:
    return "; ".join(f"{one.outcome}: {one.reading.seen}" for one in seen)
