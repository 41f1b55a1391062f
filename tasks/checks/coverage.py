"""The coverage of tests that were run before."""

from __future__ import annotations

from typing import Literal

from tasks.checks import Check
from tasks.checks._reports import CoverageReport
from tasks.domain.outcome import Reading
from tasks.domain.target import Target


class Coverage(CoverageReport, Check):
    """Reads what share of the lines was reached by tests that were run elsewhere or before."""

    kind: Literal["coverage"] = "coverage"
    """Which kind of check this is."""

    def look(self, target: Target) -> Reading:
        """Return whether enough was reached; a report that is missing or tells no line is unknown."""
        return self.judge_coverage(target, timeout=self.timeout)
