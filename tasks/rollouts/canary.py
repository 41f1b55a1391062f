"""The rollout canary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from tasks.domain.errors import OutsideError, RolloutFailed
from tasks.domain.kind import Duration, Share, Strict
from tasks.domain.outcome import Outcome
from tasks.domain.side_by_side import Judgement, Limits, fails_more, judge, judge_traffic
from tasks.domain.traffic import NONE
from tasks.rollouts import Site, Step, reachable, router_of, timed
from tasks.rollouts._beside import Beside, other
from tasks.rollouts._named import ask_beside
from tasks.rollouts._probing import Seen, probe_for

_SLACK = 600.0
"""Seconds for which requests are counted beyond a share's own, since `least` may make it longer."""


class Stage(Strict):
    """A share of the requests that the new version gets for a while."""

    model_config = ConfigDict(populate_by_name=True)

    share: Annotated[Share, Field(ge=0.01, le=0.99)]
    """How much of the requests goes to the new version: 1% to 99%."""
    for_: Duration = Field(alias="for")
    """How long both versions are probed at that share before they are compared."""


class Canary(Beside):
    """Starts the new version beside the old one and sends it a growing share of the requests, comparing both.

    At each share golive probes both versions side by side on their own ports, and asks `checks` of them. If the new
    one fails more often or is slower than is allowed, does not pass a check, or too little is known to say so, all
    requests go back to the old one at once. A rollback sends them all back in one step.
    """

    kind: Literal["canary"] = "canary"
    """Which kind of rollout this is."""
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)] = Field(
        default=(Stage(share=0.05, for_=120.0), Stage(share=0.25, for_=300.0)), alias="steps"
    )
    """The shares in turn, as in ``[{share: 5%, for: 2m}, {share: 25%, for: 5m}]``; after the last, all requests go to
    the new version."""
    errors: Share = 0.05
    """How much larger the share of failed probes may be than the old version's, at the lower bound of what was seen."""
    slower: Share = 0.5
    """How much slower than the old version it may be, by the Mann-Whitney test of the probes' latencies."""
    floor: Duration = 0.05
    """Below which difference of the medians it is not taken for slower."""
    least: Annotated[int, Field(ge=10)] = 20
    """How many probes of each version are needed before they are compared; if need be, they are made after ``for``."""
    traffic: Annotated[int, Field(ge=0)] = 0
    """How many requests of clients the new version must have got at each share before it gets more, behind a router
    that counts them; fewer send all requests back to the old one. Whatever this is, the new version gets no more
    requests if those counted surely fail more often than ``errors`` allows."""
    checks: tuple[str, ...] = ()
    """The names of checks of this file that are asked of both versions at the end of each share, each on its own port
    as ``{base_url}``. One that the new version does not pass sends all requests back to the old one."""

    @model_validator(mode="after")
    def _shares_grow(self) -> Canary:
        shares = [stage.share for stage in self.stages]
        if shares != sorted(set(shares)):
            raise ValueError(f"the shares {', '.join(f'{share:.0%}' for share in shares)} do not grow")
        return self

    @property
    def counts_traffic(self) -> bool:
        """Whether `traffic` is needed."""
        return self.traffic > 0

    @property
    def named_checks(self) -> tuple[str, ...]:
        """`checks`."""
        return self.checks

    def steps(self, site: Site, version: str) -> Sequence[Step]:
        """Return the acts: start beside, wait, each share with its comparison, all requests, hand over."""
        stages = [
            Step(f"send {stage.share:.0%} of the requests to {version}", partial(self._try, site, version, stage))
            for stage in self.stages
        ]
        return [timed(site, step) for step in self._acts(site, version, stages)]

    def back(self, site: Site, version: str) -> Sequence[Step]:
        """Return the same acts with all requests in one step, on the hosts that can be reached."""
        up = reachable(site)
        return [timed(up, step) for step in self._acts(up, version, [], kept=True)]

    def _acts(self, site: Site, version: str, stages: Sequence[Step], *, kept: bool = False) -> list[Step]:
        switch = Step(f"send all requests to {version}", lambda: self._switch(site, version))
        return [*self._coming(site, version, kept=kept), *stages, switch, *self._leaving(site, version)]

    def _try(self, site: Site, version: str, stage: Stage) -> Mapping[str, Any]:
        slot = self._running(site, version)
        old, pointed_at = other(slot), self._pointed_at(site)
        if old not in pointed_at:
            return {"slot": slot, "compared": False, "why": "no other version gets requests"}
        weight = round(stage.share * 100)
        router_of(site).count(site.at_router, stage.for_ + _SLACK)
        self._send(site, {old: 100 - weight, slot: weight})
        limits = Limits(self.errors, self.slower, self.floor, self.least)

        def enough(seen: Mapping[str, Seen]) -> bool:
            return fails_more(seen[old].probes, seen[slot].probes, limits)

        slots = {one: self.in_slot(site, one) for one in (old, slot)}
        seen = probe_for(stage.for_, site, self.probe, slots, enough, self.least)
        judged = judge(seen[old].probes, seen[slot].probes, limits)
        judged = self._with_traffic(site, judged, old, slot, limits)
        if judged.outcome is Outcome.PASSED and self.checks:
            outcome, why, told = ask_beside(site, self.checks, slots[old], slots[slot])
            judged = Judgement(outcome, why or judged.why, {**judged.figures, "checks": told})
        if judged.outcome is not Outcome.PASSED:
            begun = site.target.world.clock.monotonic()
            self._send(site, {old: 1})
            took = site.target.world.clock.monotonic() - begun
            raise RolloutFailed(
                f"{judged.outcome}: {judged.why}" + (f"; last: {seen[slot].last}" if seen[slot].last else ""),
                expected=f"{version} to do as well as the old version at {stage.share:.0%} of the requests",
                where=f"slot {slot}",
                do=f"all requests went back to {old} in {took:.2f} s; look at what the version wrote",
            )
        return {"slot": slot, "share": stage.share, "compared": True, "why": judged.why, **judged.figures}

    def _with_traffic(self, site: Site, judged: Judgement, old: str, new: str, limits: Limits) -> Judgement:
        """Return the judgement with what the clients' requests came to, where the router counts them."""
        try:
            counted = router_of(site).counted(site.at_router)
            router_of(site).count(site.at_router, 0)
        except OutsideError as error:
            site.target.world.progress(f"what clients got is not known: {error}")
            counted = {}
        if counted is None or judged.outcome is not Outcome.PASSED:
            return judged
        of = {
            slot: sum((counted.get(place.name, NONE) for place in self.in_slot(site, slot)), NONE)
            for slot in (old, new)
        }
        outcome, why = judge_traffic(of[old], of[new], limits, self.traffic)
        figures = {**judged.figures, "traffic": {"old": asdict(of[old]), "new": asdict(of[new])}}
        return Judgement(outcome, f"{judged.why}; {why}" if outcome is Outcome.PASSED else why, figures)
