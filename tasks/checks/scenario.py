"""Several requests in a row, as a user would make them."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import ConfigDict, Field

from tasks.checks import Check
from tasks.domain.answer import Answer
from tasks.domain.asking import Controlled, Filled, Request, answer_or_blame
from tasks.domain.condition import MISSING, RowsCondition, all_of, at_path, marked
from tasks.domain.kind import Duration, Strict
from tasks.domain.outcome import Outcome, Reading, failed
from tasks.domain.target import Target

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
_PAUSE = 0.2


class _Query(RowsCondition):
    """What the database must hold after a step."""

    model_config = ConfigDict(title="Query")

    query: Annotated[str, Field(min_length=1, examples=["SELECT status FROM task WHERE id = %(id)s"])]
    """The query; ``%(name)s`` is a saved value, and a percent sign itself is written ``%%``."""


class _Step(Strict):
    """One request of a scenario, what it must lead to, and what is kept of it."""

    model_config = ConfigDict(title="Step")

    name: str = ""
    """What the step does, for the report."""
    request: Request
    """The request; ``<name>`` stands for a saved value, ``<run>`` for a text that differs in each run."""
    expect: Answer = Answer()
    """What its answer must be."""
    save: dict[Name, str] = Field(default_factory=dict, examples=[{"id": "data.id"}])
    """Names for values of the JSON answer, each with its place, for later steps."""
    then_sql: _Query | None = None
    """What the database must hold afterwards."""
    within: Duration = 0.0
    """For how long to look again until all holds; a request that changes something is sent only once."""


class Scenario(Controlled, Check):
    """Makes several requests in a row, each with what earlier ones returned, and looks into the database after them."""

    kind: Literal["scenario"] = "scenario"
    """Which kind of check this is."""
    steps: Annotated[
        tuple[_Step, ...],
        Field(min_length=1, examples=[[{"request": {"url": "{base_url}/tasks"}, "expect": {"status": 200}}]]),
    ]
    """The requests in order; the first that does not lead to what it must ends the scenario."""
    cleanup: tuple[_Step, ...] = ()
    """Requests that remove what the steps made, sent also after a failure, unless they need a value never saved."""
    dsn: str = "{dsn}"
    """The database for ``then_sql``; by default that of the system."""

    def acts(self, phase: str) -> str:
        """Return what its requests do besides asking; empty if none of them does more."""
        return "; ".join(dict.fromkeys(said for step in self.steps if (said := step.request.acts(phase))))

    def look(self, target: Target) -> Reading:
        """Return how far the scenario came; the step that ended it is named."""
        saved: dict[str, Any] = {"run": secrets.token_hex(6)}
        told: list[Reading] = []
        deadline = target.world.clock.monotonic() + self.timeout
        for number, step in enumerate(self.steps, 1):
            told.append(_named(step, f"step {number}", self._take(step, target, saved, deadline)))
            if told[-1].outcome is not Outcome.PASSED:
                break
        for number, step in enumerate(self.cleanup, 1):
            if _needs(step) <= saved.keys():
                # What was made must go, even if the steps used up all the time.
                until = max(deadline, target.world.clock.monotonic() + 5)
                told.append(_named(step, f"cleanup {number}", self._take(step, target, saved, until)))
        return all_of(told, detail={"run": saved["run"], "steps": [marked(reading) for reading in told]})

    def _take(self, step: _Step, target: Target, saved: dict[str, Any], deadline: float) -> Reading:
        clock = target.world.clock
        request = _substituted(step.request.filled(target), saved)
        until = min(deadline, clock.monotonic() + step.within)
        answered: Reading | None = None
        while True:
            if answered is None or request.method in {"GET", "HEAD"}:
                answered = self._ask(step, target, request, saved, deadline)
            found = answered
            if answered.outcome is Outcome.PASSED and step.then_sql is not None:
                found = all_of([answered, self._query(step.then_sql, target, saved)])
            if found.outcome is Outcome.PASSED or clock.monotonic() + _PAUSE > until:
                return found
            clock.sleep(_PAUSE)

    def _ask(self, step: _Step, target: Target, request: Filled, saved: dict[str, Any], deadline: float) -> Reading:
        left = max(0.1, deadline - target.world.clock.monotonic())
        answer = answer_or_blame(request, target, left, self.control)
        if isinstance(answer, Reading):
            return answer
        judged = step.expect.judge(target, answer)
        if not step.save:
            return judged
        try:
            document = json.loads(answer.body)
        except ValueError:
            return all_of([judged, failed("body is not JSON")])
        values = {name: at_path(document, path) for name, path in step.save.items()}
        lacking = [step.save[name] for name, value in values.items() if value is MISSING]
        saved.update({name: value for name, value in values.items() if value is not MISSING})
        return all_of([judged, *(failed(f"{path} is not there") for path in lacking)])

    def _query(self, wanted: _Query, target: Target, saved: Mapping[str, Any]) -> Reading:
        params = {name: value for name, value in saved.items() if f"%({name})s" in wanted.query}
        with target.world.databases.session(
            target.fill(self.dsn), read_only=True, statement_timeout=self.timeout
        ) as session:
            return wanted.judge_rows(session.query(wanted.query, params), "query")


def _named(step: _Step, otherwise: str, reading: Reading) -> Reading:
    return Reading(reading.outcome, f"{step.name or otherwise}: {reading.seen}")


def _needs(step: _Step) -> set[str]:
    texts = [step.request.url, *step.request.headers.values(), json.dumps(step.request.body)]
    return {name for text in texts for name in re.findall(r"<([a-z][a-z0-9_]*)>", text)}


def _substituted(request: Filled, saved: Mapping[str, Any]) -> Filled:
    """Put saved values in.

    It comes after the placeholders and secrets of the release file, so that what a target returns can call up neither.
    """

    def text(value: str, quoted: bool = False) -> str:
        for name, known in saved.items():
            shown = known if isinstance(known, str) else json.dumps(known)
            value = value.replace(f"<{name}>", quote(shown, safe="") if quoted else shown)
        return value

    def anything(value: Any) -> Any:
        if isinstance(value, str):
            alone = re.fullmatch(r"<([a-z][a-z0-9_]*)>", value)
            return saved[alone[1]] if alone and alone[1] in saved else text(value)
        if isinstance(value, Mapping):
            return {key: anything(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [anything(inner) for inner in value]
        return value

    headers = {name: text(value) for name, value in request.headers.items()}
    return Filled(request.method, text(request.url, quoted=True), headers, anything(request.body))
