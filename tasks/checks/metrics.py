"""The metrics that a service shows to Prometheus."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tasks.checks import Check
from tasks.domain.asking import Controlled, Request, answer_or_blame
from tasks.domain.condition import Expected, all_of
from tasks.domain.exposition import Metric, samples, total
from tasks.domain.outcome import Reading, failed, passed, unknown
from tasks.domain.target import Target


class Metrics(Request, Controlled, Check):
    """Reads a service's metrics where Prometheus would, and holds their values against conditions."""

    kind: Literal["metrics"] = "metrics"
    """Which kind of check this is."""
    url: Annotated[str, Field(min_length=1)] = "{base_url}/metrics"
    """The address of the metrics, in the text form of Prometheus."""
    values: dict[Metric, Expected] = Field(default_factory=dict, examples=[{"db_pool_checked_out": {"max": 18}}])
    """What each metric must be, by its name and labels; several series are added up. By default any will do."""

    def look(self, target: Target) -> Reading:
        """Return whether there are metrics and they are as they must be; a metric that is not there is unknown."""
        answer = answer_or_blame(self.filled(target), target, self.timeout, self.control)
        if isinstance(answer, Reading):
            return answer
        if answer.status != 200:
            return failed(f"status {answer.status} = 200")
        try:
            found = samples(answer.body.decode())
        except ValueError:
            return failed("the answer is not in the text form of Prometheus")
        if not found:
            return failed("there are no samples")
        seen = {name: total(found, name) for name in self.values}
        readings = [passed(f"{len(found)} samples")]
        for name, value in seen.items():
            lacks = unknown(f"{name} is not there, or is no number")
            readings.append(lacks if value is None else self.values[name].judge(name, value))
        return all_of(readings, detail={"values": seen})
