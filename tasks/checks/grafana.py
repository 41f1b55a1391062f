"""Grafana: its health, its dashboards and its data sources."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import Field

from tasks.checks import Check
from tasks.domain.api import Api
from tasks.domain.asking import SILENCE, blame
from tasks.domain.condition import all_of, held
from tasks.domain.kind import Duration
from tasks.domain.outcome import Reading, failed, passed, unknown
from tasks.domain.target import Target

_INTERVAL = 15_000
_VARIABLE = re.compile(r"\$(?!__)(\w+|\{(?!__)[^}]*\})")  # those with two underscores Grafana's server fills itself


class Grafana(Api, Check):
    """Looks whether Grafana is healthy, has dashboards, and reaches its data sources."""

    kind: Literal["grafana"] = "grafana"
    """Which kind of check this is."""
    dashboards: tuple[str, ...] = Field(default=(), examples=[["api-overview"]])
    """The uids of dashboards that must be there, with a panel at least; this needs credentials."""
    showing: Annotated[Duration | None, Field(gt=0, examples=["1h"])] = None
    """Over which time until now each panel of these dashboards must have data; by default that is not looked at."""
    variables: dict[str, str] = Field(default_factory=dict, examples=[{"instance": "api:8000"}])
    """Values for the dashboards' variables; a panel with a variable that has none here is unknown."""
    data_sources: tuple[str, ...] = Field(default=(), examples=[["prometheus"]])
    """The uids of data sources that Grafana must reach; this needs credentials."""
    control: str | None = None
    """A URL elsewhere; if it answers while Grafana does not, that is to blame. Needless on one machine."""

    def look(self, target: Target) -> Reading:
        """Return what is not well; what the credentials may not see is unknown."""
        try:
            status, health = self.reply(target, "/api/health", timeout=self.timeout)
            told = health if isinstance(health, dict) else {}
            database = told.get("database", "unknown")
            readings = [held(f"status {status}, database {database} = ok", status == 200 and database == "ok")]
            readings += [self._dashboard(target, uid) for uid in self.dashboards]
            readings += [self._data_source(target, uid) for uid in self.data_sources]
        except SILENCE as silence:
            return blame(target, target.fill(self.url), silence, self.control)
        return all_of(readings, detail={"version": told.get("version")})

    def _dashboard(self, target: Target, uid: str) -> Reading:
        status, found = self.reply(target, f"/api/dashboards/uid/{quote(uid, safe='')}", timeout=self.timeout)
        if status == 404:
            return failed(f"there is no dashboard {uid}")
        if status != 200:
            return unknown(f"dashboard {uid}: status {status}")
        dashboard = found["dashboard"]
        panels = dashboard.get("panels") or []
        there = held(f"dashboard {uid} ({dashboard.get('title', '')}) has {len(panels)} panels ≥ 1", panels)
        if self.showing is None or not panels:
            return there
        drawn = [panel for panel in _with_rows(panels) if panel.get("targets")]
        if not drawn:
            return unknown(f"dashboard {uid} has no panel that asks for data")
        return all_of([there, *(self._panel(target, uid, panel, self.showing) for panel in drawn)])

    def _panel(self, target: Target, uid: str, panel: Mapping[str, Any], over: float) -> Reading:
        name = f"{uid}, {panel.get('title') or panel.get('id')}"
        plain = {"datasource": panel.get("datasource"), "intervalMs": _INTERVAL, "maxDataPoints": 100}
        text = json.dumps([plain | one for one in panel["targets"] if not one.get("hide")])
        text = _VARIABLE.sub(self._value, text)
        if lacking := _VARIABLE.search(text):
            return unknown(f"{name}: the variable {lacking[0]} has no value here")
        now = target.world.clock.now().timestamp()
        times = {"from": str(round(1000 * (now - over))), "to": str(round(1000 * now))}
        asked = {"queries": json.loads(text), **times}
        status, found = self.reply(target, "/api/ds/query", timeout=self.timeout, post=asked)
        if status != 200:
            return unknown(f"{name}: status {status}")
        frames = [frame for result in found["results"].values() for frame in result.get("frames") or ()]
        columns = [column for frame in frames for column in frame["data"]["values"][1:]]  # the first one is the time
        points = sum(value is not None for column in columns for value in column)
        return held(f"{name} shows {points} points ≥ 1", points)

    def _value(self, match: re.Match[str]) -> str:
        value = self.variables.get(match[1].strip("{}").partition(":")[0])
        return match[0] if value is None else json.dumps(value)[1:-1]

    def _data_source(self, target: Target, uid: str) -> Reading:
        path = f"/api/datasources/uid/{quote(uid, safe='')}"
        status, _found = self.reply(target, path, timeout=self.timeout)
        if status == 404:
            return failed(f"there is no data source {uid}")
        status, health = self.reply(target, f"{path}/health", timeout=self.timeout)
        said = health if isinstance(health, dict) else {}
        told = target.world.secrets.mask(f"data source {uid}: {said.get('message', '')}"[:300])
        if said.get("status") == "OK":
            return passed(told)
        return failed(told) if said.get("status") == "ERROR" else unknown(f"{told} (status {status})")


def _with_rows(panels: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Give every panel, those in a collapsed row too."""
    for panel in panels:
        yield panel
        yield from panel.get("panels") or ()
