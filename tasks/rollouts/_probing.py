"""Golive's own probes of versions that have begun to get requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tasks.domain.errors import OutsideError
from tasks.domain.side_by_side import Probes
from tasks.domain.together import together
from tasks.rollouts import Place, Site
from tasks.rollouts._beside import Probe


@dataclass
class Seen:
    """What the probes of one version have seen so far.

    ``row`` is how many rounds in a row had a failed probe, ``since`` the moment at which the first of them began, and
    ``last`` what failed last.
    """

    failed: int = 0
    latencies: list[float] = field(default_factory=list)
    row: int = 0
    since: float = 0.0
    last: str = ""

    @property
    def probes(self) -> Probes:
        """What was seen, to be judged."""
        return Probes(self.failed, self.latencies)


def probe_for(
    seconds: float,
    site: Site,
    probe: Probe,
    slots: Mapping[str, Sequence[Place]],
    enough: Callable[[Mapping[str, Seen]], bool],
    least: int = 1,
) -> Mapping[str, Seen]:
    """Probe all places of some slots for that long and at least so often, or until it is enough; return what was seen.

    It ends, since each probe either is answered in its time or has failed.
    """
    clock = site.target.world.clock
    begun = clock.monotonic()
    seen = {slot: Seen() for slot in slots}
    asked = [(slot, place) for slot, places in slots.items() for place in places]
    while True:
        at = clock.monotonic()
        answers = together(lambda one: _ask(site, probe, one[1]), asked)
        for slot in slots:
            _count(seen[slot], [found for (of, _), found in zip(asked, answers, strict=True) if of == slot], at)
        over = clock.monotonic() - begun >= seconds and all(one.probes.asked >= least for one in seen.values())
        if over or enough(seen):
            return seen
        clock.sleep(probe.every)


def _ask(site: Site, probe: Probe, place: Place) -> float | str:
    """Return how long the answer took, or what was wrong with it."""
    try:
        answer = probe.ask(site.on(place.host), place.port, probe.path, probe.within)
    except OutsideError as error:
        return f"{place.name}: {error.seen}"
    return answer.elapsed if answer.status == probe.status else f"{place.name}: status {answer.status}"


def _count(seen: Seen, answers: Sequence[float | str], at: float) -> None:
    wrong = [answer for answer in answers if isinstance(answer, str)]
    seen.failed += len(wrong)
    seen.latencies += [answer for answer in answers if not isinstance(answer, str)]
    if wrong:
        seen.since = seen.since if seen.row else at
        seen.last = wrong[-1]
    seen.row = seen.row + 1 if wrong else 0
