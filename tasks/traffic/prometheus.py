"""The traffic prometheus."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from tasks.domain.api import Api
from tasks.domain.errors import OutsideError
from tasks.domain.target import Target
from tasks.domain.traffic import Traffic
from tasks.routers import Router
from tasks.traffic import TIMEOUT, Reading, TrafficSource

WINDOW = "{window}"
Query = Annotated[str, Field(pattern=r"\{window\}")]
"""A query in PromQL with ``{window}`` where the time stands over which it counts."""


class ByPrometheus(Api, TrafficSource):
    """Asks Prometheus how many requests came and how many failed since the reading before."""

    kind: Literal["prometheus"] = "prometheus"
    """Where requests are counted."""
    requests: Annotated[Query, Field(examples=['sum(increase(http_requests_total{job="api"}[{window}]))'])]
    """How many requests came in ``{window}``, which golive fills in: ``every``, or longer where a reading is late. It
    must hold two scrapes at least, so give ``every`` three times their interval."""
    failed: Annotated[
        Query,
        Field(examples=['sum(increase(http_requests_total{job="api", status=~"5.."}[{window}])) or vector(0)']),
    ]
    """How many of them failed. ``or vector(0)`` says that no data means none, as where the first failure makes the
    series."""

    @property
    def shortest(self) -> float:
        """The period of its readings, which holds enough scrapes."""
        return float(self.every)

    def read(
        self,
        target: Target,
        router: Router | None,  # noqa: ARG002 - for the kinds that ask it
        before: Reading | None,  # noqa: ARG002 - Prometheus has kept what came before
        seconds: float,
    ) -> Reading:
        """Return what Prometheus counts; without data for one of them, nothing."""
        window = f"{math.ceil(max(seconds, float(self.every)) * 1000)}ms"
        asked, failed = (self._count(target, query.replace(WINDOW, window)) for query in (self.requests, self.failed))
        if asked is None or failed is None:
            return Reading(None)
        # Prometheus reckons to the ends of the window, each by itself.
        return Reading(Traffic(round(asked), min(round(asked), round(failed))))

    def _count(self, target: Target, query: str) -> float | None:
        document = self.ask(target, "/api/v1/query", {"query": query, "timeout": f"{TIMEOUT:g}s"}, timeout=TIMEOUT)
        found = document["data"]
        if found["resultType"] not in {"vector", "scalar"}:
            raise OutsideError(f"the query gives a {found['resultType']}", expected="one number", where=query)
        values = [found["result"]] if found["resultType"] == "scalar" else [one["value"] for one in found["result"]]
        if len(values) > 1:
            raise OutsideError(f"the query gives {len(values)} series", expected="one number", where=query, do="sum(…)")
        value = float(values[0][1]) if values else math.nan
        return value if math.isfinite(value) and value >= 0 else None
