"""An alert of golive's own, which goes into Alertmanager and comes out again."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tasks.checks import Check
from tasks.domain.api import Api
from tasks.domain.asking import SILENCE, blame
from tasks.domain.condition import all_of, held
from tasks.domain.exposition import samples, total
from tasks.domain.kind import Duration
from tasks.domain.outcome import Outcome, Reading, failed, passed, unknown
from tasks.domain.target import Target

_PAUSE = 0.1
_LIVES = timedelta(minutes=5)  # it ends by itself if golive is killed before it can end it

Label = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")]


@dataclass(frozen=True)
class _Counted:
    """How many notifications arrived since Alertmanager's start, and how many were given up."""

    arrived: float
    given_up: float


class AlertDelivery(Api, Check):
    """Sends Alertmanager a test alert, sees it active at its receivers, and ends it; real receivers are told of it."""

    kind: Literal["alert_delivery"] = "alert_delivery"
    """Which kind of check this is."""
    labels: dict[Label, str] = Field(default_factory=dict, examples=[{"severity": "info", "team": "ops"}])
    """Labels besides ``alertname`` (GoliveTest) and ``golive_run``; by them Alertmanager routes it."""
    receivers: tuple[str, ...] = Field(default=(), examples=[["ops-slack"]])
    """The receivers that it must be routed to."""
    within: Annotated[Duration, Field(gt=0)] = 10.0
    """How long it may take to appear, and to be gone again."""
    delivered: Annotated[Duration | None, Field(gt=0, examples=["20s"])] = None
    """How long its delivery may take, by Alertmanager's counters, ``group_wait`` or ``group_interval`` included."""
    control: str | None = None
    """A URL elsewhere; if it answers while Alertmanager does not, that is to blame. Needless on one machine."""

    @model_validator(mode="after")
    def _has_the_time(self) -> Self:
        needed = 2 * self.within + (self.delivered or 0.0)
        if needed >= self.timeout:
            raise ValueError(f"timeout must be longer than {needed:g} s, which twice within and delivered may take")
        return self

    def acts(self, phase: str) -> str:  # noqa: ARG002 - the same in every phase
        """Return that people are told of the test alert."""
        return "sends Alertmanager a test alert, of which its receivers are told"

    def look(self, target: Target) -> Reading:
        """Return whether the alert came in, was active and routed rightly, and was gone after its end."""
        labels = {"severity": "info"} | {name: target.fill(value) for name, value in self.labels.items()}
        labels |= {"alertname": "GoliveTest", "golive_run": secrets.token_hex(8)}
        begun = target.world.clock.now()
        try:
            before = self._counted(target)
            self._send(target, labels, begun, begun + _LIVES)
            try:
                readings = [self._came(target, labels)]
                if self.delivered is not None:
                    readings.append(self._went_out(target, before, self.delivered))
            finally:
                self._send(target, labels, begun, target.world.clock.now())
            readings.append(self._went(target, labels))
        except SILENCE as silence:
            return blame(target, target.fill(self.url), silence, self.control)
        took = (target.world.clock.now() - begun).total_seconds()
        return all_of(readings, detail={"labels": labels, "took": round(took, 3)})

    def _came(self, target: Target, labels: Mapping[str, str]) -> Reading:
        alert = self._until(target, labels, lambda alert: alert is not None)
        if alert is None:
            return failed(f"the test alert is not there after {self.within:g} s")
        state, routed = alert["status"]["state"], [receiver["name"] for receiver in alert["receivers"]]
        readings = [held(f"the test alert came in and is {state}", state != "suppressed")]
        readings += [failed(f"it is not routed to {name}") for name in self.receivers if name not in routed]
        readings.append(passed(f"it goes to {', '.join(routed)}"))
        return all_of(readings)

    def _went_out(self, target: Target, before: _Counted | None, within: float) -> Reading:
        clock = target.world.clock
        end = clock.monotonic() + within
        was_there = False
        while True:
            now = self._counted(target)
            if now is None or before is None:
                return unknown("this Alertmanager, older than 0.22, does not count which notifications arrived")
            if (refused := now.given_up - before.given_up) > 0:
                return failed(f"{refused:g} notifications could not be delivered")
            # A request is counted a moment before its failure is, so that one look is not enough.
            arrived = now.arrived - before.arrived
            if arrived > 0 and was_there:
                return passed(f"{arrived:g} notifications were delivered")
            was_there = arrived > 0
            if clock.monotonic() > end:
                return failed(f"no notification was delivered within {within:g} s")
            clock.sleep(_PAUSE)

    def _counted(self, target: Target) -> _Counted | None:
        """Return what Alertmanager has counted of its notifications, or None where it does not or need not."""
        if self.delivered is None:
            return None
        found = samples(self.raw(target, "/metrics", timeout=self.timeout).body.decode())
        # Alertmanager counts a notification once it is tried, also while its receiver is away and is tried again.
        tried, vain, given_up = (
            total(found, f"alertmanager_notification{what}_total")
            for what in ("_requests", "_requests_failed", "s_failed")
        )
        return None if tried is None or vain is None else _Counted(tried - vain, given_up or 0.0)

    def _went(self, target: Target, labels: Mapping[str, str]) -> Reading:
        gone = self._until(target, labels, lambda alert: alert is None) is None
        return Reading(
            Outcome.PASSED if gone else Outcome.FAILED,
            "it was resolved" if gone else "it is still active after its end",
        )

    def _until(
        self, target: Target, labels: Mapping[str, str], wanted: Callable[[Any], bool]
    ) -> Mapping[str, Any] | None:
        """Return the alert, or None if it is not there, as soon as it is as wanted or the time is over."""
        clock = target.world.clock
        end = clock.monotonic() + self.within
        while True:
            only = {"filter": f'golive_run="{labels["golive_run"]}"'}
            alerts = self.ask(target, "/api/v2/alerts", only, timeout=self.timeout)
            alert: Mapping[str, Any] | None = alerts[0] if alerts else None
            if wanted(alert) or clock.monotonic() > end:
                return alert
            clock.sleep(_PAUSE)

    def _send(self, target: Target, labels: Mapping[str, str], starts: datetime, ends: datetime) -> None:
        summary = {"summary": f"golive tests that alerts of {target.system} are delivered; nothing is to be done"}
        alert = {"labels": labels, "annotations": summary, "startsAt": starts.isoformat(), "endsAt": ends.isoformat()}
        self.ask(target, "/api/v2/alerts", post=[alert], timeout=self.timeout)
