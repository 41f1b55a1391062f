"""Grafana: its health, its dashboards and its data sources."""

from __future__ import annotations

from typing import Literal
from urllib.parse import quote

from pydantic import Field

from tasks.checks import Check
from tasks.domain.api import Api
from tasks.domain.asking import SILENCE, blame
from tasks.domain.condition import all_of, held
from tasks.domain.outcome import Reading, failed, passed, unknown
from tasks.domain.target import Target


class Grafana(Api, Check):
    """Looks whether Grafana is healthy, has dashboards, and reaches its data sources."""

    kind: Literal["grafana"] = "grafana"
    """Which kind of check this is."""
    dashboards: tuple[str, ...] = Field(default=(), examples=[["api-overview"]])
    """The uids of dashboards that must be there, with a panel at least; this needs credentials."""
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
        return held(f"dashboard {uid} ({dashboard.get('title', '')}) has {len(panels)} panels ≥ 1", panels)

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
