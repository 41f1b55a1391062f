"""The alerts that Alertmanager holds."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import Field

from tasks.checks import Check
from tasks.domain.api import Api
from tasks.domain.asking import SILENCE, blame
from tasks.domain.condition import all_of
from tasks.domain.outcome import Outcome, Reading, failed, passed, unknown
from tasks.domain.target import Target

_MOST_KEPT = 20


class Alertmanager(Api, Check):
    """Counts the alerts of Alertmanager that are active, and neither silenced nor inhibited."""

    kind: Literal["alertmanager"] = "alertmanager"
    """Which kind of check this is."""
    matchers: tuple[str, ...] = Field(default=(), examples=[['severity="critical"', 'service=~"api|worker"']])
    """Which alerts count, as Alertmanager writes matchers; by default all."""
    at_most: Annotated[int, Field(ge=0)] = 0
    """The most alerts that may be active."""
    receivers: tuple[str, ...] = Field(default=(), examples=[["ops-slack"]])
    """Receivers that must be configured."""
    control: str | None = None
    """A URL elsewhere; if it answers while Alertmanager does not, that is to blame. Needless on one machine."""

    def look(self, target: Target) -> Reading:
        """Return how many alerts are active; an Alertmanager that still gathers from its peers is unknown."""
        try:
            status = self.ask(target, "/api/v2/status", timeout=self.timeout)
            known = self.ask(target, "/api/v2/receivers", timeout=self.timeout)
            alerts = self.ask(
                target,
                "/api/v2/alerts",
                {"active": "true", "silenced": "false", "inhibited": "false", "filter": self.matchers},
                timeout=self.timeout,
            )
        except SILENCE as silence:
            return blame(target, target.fill(self.url), silence, self.control)
        readings = [self._settled(status["cluster"]["status"])]
        names = {receiver["name"] for receiver in known}
        readings += [failed(f"there is no receiver {name}") for name in self.receivers if name not in names]
        readings.append(self._counted(alerts))
        detail = {"version": status["versionInfo"]["version"], "receivers": sorted(names), "alerts": _shown(alerts)}
        return all_of(readings, value=len(alerts), unit="alerts", limit=self.at_most, detail=detail)

    def _counted(self, alerts: list[dict[str, Any]]) -> Reading:
        names = Counter(alert["labels"].get("alertname", "?") for alert in alerts)
        which = ", ".join(f"{count} × {name}" if count > 1 else name for name, count in names.most_common(5))
        among = f" of {', '.join(self.matchers)}" if self.matchers else ""
        seen = f"{len(alerts)} active alerts{among} ≤ {self.at_most}" + (f" ({which})" if which else "")
        return Reading(Outcome.PASSED if len(alerts) <= self.at_most else Outcome.FAILED, seen)

    @staticmethod
    def _settled(status: str) -> Reading:
        if status == "settling":
            return unknown("Alertmanager still gathers alerts from its peers")
        return passed(f"cluster {status}")


def _shown(alerts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"labels": alert["labels"], "since": alert["startsAt"]} for alert in alerts[:_MOST_KEPT]]
