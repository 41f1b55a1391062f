"""The results of tests that were run before."""

from __future__ import annotations

from typing import Literal

from tasks.checks import Check
from tasks.checks._reports import JunitReport
from tasks.domain.outcome import Reading
from tasks.domain.target import Target


class Junit(JunitReport, Check):
    """Reads the results of tests that were run elsewhere or before; ``command`` runs tests and reads theirs."""

    kind: Literal["junit"] = "junit"
    """Which kind of check this is."""

    def look(self, target: Target) -> Reading:
        """Return whether the tests passed; a report that is missing or cannot be read is unknown."""
        return self.judge_junit(target, timeout=self.timeout)
