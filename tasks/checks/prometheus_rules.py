"""The rules that Prometheus evaluates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from tasks.checks import Check
from tasks.domain.api import Api
from tasks.domain.condition import all_of
from tasks.domain.outcome import Reading, failed, passed, unknown
from tasks.domain.target import Target


class PrometheusRules(Api, Check):
    """Looks whether Prometheus has loaded rules for alerts or recordings, and can evaluate them."""

    kind: Literal["prometheus_rules"] = "prometheus_rules"
    """Which kind of check this is."""
    type: Literal["alerting", "recording"] = "alerting"
    """Which rules: those that fire alerts, or those that record series."""
    rules: tuple[str, ...] = Field(default=(), examples=[["HighErrorRate"]])
    """The names that must be among them; by default there must be any at all."""
    firing: Literal["allow", "deny"] = "allow"
    """Whether the alerts of these rules may be firing."""

    def look(self, target: Target) -> Reading:
        """Return which rules lack or cannot be evaluated; one that was not evaluated yet is unknown."""
        kind = {"alerting": "alert", "recording": "record"}[self.type]
        document = self.ask(target, "/api/v1/rules", {"type": kind}, timeout=self.timeout)
        loaded = [rule for group in document["data"]["groups"] for rule in group["rules"]]
        names = {rule["name"] for rule in loaded}
        readings = [failed(f"there is no {self.type} rule {name}") for name in self.rules if name not in names]
        if not loaded and not self.rules:
            readings.append(failed(f"there are no {self.type} rules"))
        readings += [self._judge(rule) for rule in loaded if rule["name"] in self.rules or not self.rules]
        return all_of(readings, value=len(loaded), unit="rules", detail={"rules": sorted(names)})

    def _judge(self, rule: Mapping[str, Any]) -> Reading:
        if rule["health"] == "err":
            return failed(f"{rule['name']} cannot be evaluated: {rule.get('lastError', '')[:200]}")
        if rule["health"] != "ok":
            return unknown(f"{rule['name']} was not evaluated yet")
        if self.firing == "deny" and rule.get("state") == "firing":
            return failed(f"{rule['name']} is firing")
        return passed(f"{rule['name']} is evaluated")
