"""One HTTP request and its answer."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import ConfigDict

from tasks.checks import Check
from tasks.domain.answer import Answer
from tasks.domain.asking import Controlled, Request, answer_or_blame
from tasks.domain.outcome import Reading
from tasks.domain.target import Target


class Http(Request, Answer, Controlled, Check):
    """Sends one HTTP request and judges its answer."""

    model_config = ConfigDict(populate_by_name=True)

    advice: ClassVar[str] = (
        "read what the instances wrote (golive logs SYSTEM), then ask for the URL by hand, past the router and "
        "through it"
    )

    kind: Literal["http"] = "http"
    """Which kind of check this is."""

    def look(self, target: Target) -> Reading:
        """Return whether the answer is as it must be; silence is a failure only if the target is to blame for it."""
        answer = answer_or_blame(self.filled(target), target, self.timeout, self.control)
        return answer if isinstance(answer, Reading) else self.judge(target, answer)
