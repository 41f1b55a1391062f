"""What the answer to an HTTP request must be."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field

from tasks.domain.asking import Status
from tasks.domain.condition import MISSING, Expected, all_of, at_path, held, same, show
from tasks.domain.kind import Duration, Size, Strict
from tasks.domain.outcome import Outcome, Reading, failed, judge_limit, passed, unknown
from tasks.domain.ports import HttpAnswer
from tasks.domain.target import Target

_MOST_TOLD = 5


def _is_schema(schema: dict[str, Any]) -> dict[str, Any]:
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for

    try:
        validator_for(schema).check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"this is not a JSON schema: {error.message} at {error.json_path}") from error
    return schema


class Answer(Strict):
    """What the answer to a request must be."""

    model_config = ConfigDict(populate_by_name=True)

    status: Status | tuple[Status, ...] = 200
    """The status that is right, or a list of those that are."""
    within: Duration | None = None
    """The longest that the answer may take."""
    contains: str | None = None
    """A text that must stand in the body."""
    lacks: str | None = None
    """A text that must not stand in the body."""
    max_size: Size | None = None
    """The most that the body may hold."""
    json_: dict[str, Expected | bool | int | float | str | list[Any] | None] = Field(
        default_factory=dict, alias="json", examples=[{"status": "ok", "checks.database.latency_ms": {"max": 50}}]
    )
    """What must stand at each place of the JSON body: a value, or a condition (``min``, ``max``, ``pattern``, …)."""
    json_schema: Annotated[
        dict[str, Any] | None,
        AfterValidator(lambda schema: schema and _is_schema(schema)),
        Field(examples=[{"type": "object", "required": ["id"]}]),
    ] = None
    """A JSON schema that the body must match; it may refer to nothing outside itself."""
    answer_headers: dict[str, Expected | str] = Field(
        default_factory=dict, examples=[{"strict-transport-security": {"exists": True}, "server": {"exists": False}}]
    )
    """What each header of the answer must be: a text, or a condition (``exists``, ``pattern``, …)."""

    def judge(self, target: Target, answer: HttpAnswer) -> Reading:
        """Return whether the answer is as it must be, each condition with its value; secrets are masked."""
        allowed = self.status if isinstance(self.status, tuple) else (self.status,)
        expected = " or ".join(str(status) for status in allowed)
        readings = [held(f"status {answer.status} = {expected}", answer.status in allowed)]
        if self.within is not None:
            readings.append(judge_limit(round(answer.elapsed * 1000, 1), self.within * 1000, "ms", "answered in"))
        readings.extend(self._judge_headers(answer.headers))
        readings.extend(self._judge_body(answer.body))
        found = all_of(readings)
        mask = target.world.secrets.mask
        detail: dict[str, Any] = {"status": answer.status, "elapsed_ms": round(answer.elapsed * 1000, 1)}
        if found.outcome is not Outcome.PASSED:
            detail["body"] = mask(answer.body[:2000].decode(errors="replace"))[:500]
        return Reading(found.outcome, mask(found.seen), found.value, found.unit, found.limit, detail)

    def _judge_headers(self, headers: Mapping[str, str]) -> Iterator[Reading]:
        seen = {name.lower(): value for name, value in headers.items()}
        for name, expected in self.answer_headers.items():
            condition = expected if isinstance(expected, Expected) else Expected(equals=expected)
            yield condition.judge(f"header {name}", seen.get(name.lower(), MISSING))

    def _judge_body(self, body: bytes) -> Iterator[Reading]:
        if self.max_size is not None:
            yield judge_limit(len(body), self.max_size, "bytes", "body")
        if self.contains is not None:
            yield held(f"body contains {show(self.contains)}", self.contains.encode() in body)
        if self.lacks is not None:
            yield held(f"body lacks {show(self.lacks)}", self.lacks.encode() not in body)
        if self.json_ or self.json_schema is not None:
            yield from self._judge_json(body)

    def _judge_json(self, body: bytes) -> Iterator[Reading]:
        try:
            document = json.loads(body)
        except ValueError:
            yield failed("body is not JSON")
            return
        for path, expected in self.json_.items():
            value = at_path(document, path)
            if isinstance(expected, Expected):
                yield expected.judge(path, value)
            else:
                yield held(f"{path} {show(value)} = {show(expected)}", same(value, expected))
        if self.json_schema is not None:
            yield _matches(document, self.json_schema)


def _matches(document: Any, schema: Mapping[str, Any]) -> Reading:
    from jsonschema.validators import validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    # With a registry of its own nothing is fetched that a schema refers to.
    validator = validator_for(schema)(schema, registry=Registry())
    try:
        errors = [
            f"{error.json_path} {error.message[:120]}"
            for error, _ in zip(validator.iter_errors(document), range(_MOST_TOLD), strict=False)
        ]
    except Unresolvable as error:
        return unknown(f"the JSON schema refers to {error.ref}, which is not in it")
    return (
        failed(f"body does not match its schema: {'; '.join(errors)}") if errors else passed("body matches its schema")
    )
