"""One HTTP request and its answer."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict

from tasks.checks import Check
from tasks.domain.answer import Answer
from tasks.domain.asking import SILENCE, Request, blame
from tasks.domain.outcome import Reading
from tasks.domain.target import Target


class Http(Request, Answer, Check):
    """Sends one HTTP request and judges its answer."""

    model_config = ConfigDict(populate_by_name=True)

    kind: Literal["http"] = "http"
    """Which kind of check this is."""
    control: str | None = None
    """A URL elsewhere; if it answers while the target does not, the target is to blame. Needless on one machine."""

    def look(self, target: Target) -> Reading:
        """Return whether the answer is as it must be; silence is a failure only if the target is to blame for it."""
        request = self.filled(target)
        try:
            answer = request.send(target, self.timeout)
        except SILENCE as silence:
            return blame(target, request.url, silence, self.control)
        return self.judge(target, answer)
