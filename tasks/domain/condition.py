"""Conditions that checks share: a place in a JSON document, a value against what is expected, rows of a query."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Self

from pydantic import Field, field_validator, model_validator

from tasks.domain.kind import Strict
from tasks.domain.outcome import Outcome, Reading, combine, failed, passed, unknown
from tasks.domain.ports import Row


class Missing:
    """Stands for what is not there, which differs from null."""

    def __repr__(self) -> str:
        return "nothing"


MISSING: Final = Missing()
_STEP = re.compile(r"([^.\[\]]+)|\[(-?\d+)\]")


def at_path(document: Any, path: str) -> Any:
    """Return what stands at a path such as ``items[0].name`` in a JSON document, or `MISSING`.

    The empty path is the document itself; ``[-1]`` is the last element.
    """
    for match in _STEP.finditer(path.removeprefix("$")):
        key, index = match[1], match[2]
        if key is not None and isinstance(document, Mapping) and key in document:
            document = document[key]
        elif index is not None and isinstance(document, list) and -len(document) <= int(index) < len(document):
            document = document[int(index)]
        else:
            return MISSING
    return document


def show(value: Any, most: int = 80) -> str:
    """Return a value as JSON writes it, cut to ``most`` characters."""
    text = repr(value) if isinstance(value, Missing) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def last_lines(text: str, lines: int = 20, most: int = 4000) -> list[str]:
    """Return the last lines of a text, at most ``most`` characters of it."""
    return text.rstrip()[-most:].splitlines()[-lines:]


def held(condition: str, holds: object) -> Reading:
    """Return a condition, which echoes what was seen, as passed or failed."""
    return passed(condition) if holds else failed(condition)


def all_of(readings: Iterable[Reading], **more: Any) -> Reading:
    """Add the readings of one check up: what did not pass is told first, and marked; ``more`` completes the reading.

    Value and limit are those of the first reading told that has any.
    """
    found = list(readings)
    outcome = combine(reading.outcome for reading in found)
    told = [r for r in found if r.outcome is not Outcome.PASSED] or found
    seen = "; ".join(marked(reading) for reading in told)
    measured = next((r for r in told if r.value is not None), None)
    if measured and "value" not in more:
        more |= {"value": measured.value, "unit": measured.unit, "limit": measured.limit}
    return Reading(outcome, seen, **more)


def none_of(offenders: Sequence[str], wrong: str, right: str) -> Reading:
    """Return the failure that there are offenders, which names the first of them, or that there is none."""
    more = f" and {len(offenders) - 5} more" if len(offenders) > 5 else ""
    return failed(f"{', '.join(offenders[:5])}{more} {wrong}".rstrip()) if offenders else passed(right)


def marked(reading: Reading) -> str:
    """Return what was seen with the outcome behind it, unless it passed or says so already."""
    mark = f": {reading.outcome.value}"
    done = reading.outcome is Outcome.PASSED or reading.seen.endswith(mark)
    return reading.seen if done else reading.seen + mark


def same(value: Any, expected: Any) -> bool:
    """Tell whether a value is the expected one: numbers by value, dates and ids by their text, all else as it is."""
    if isinstance(value, bool) or isinstance(expected, bool):
        return value is expected
    if isinstance(value, Decimal) and isinstance(expected, int | float):
        return float(value) == float(expected)
    if isinstance(expected, str) and not isinstance(value, str | int | float | list | dict | None):
        return str(value) == expected
    return bool(value == expected)


def regular(text: str | None) -> str | None:
    """Return a regular expression unchanged if it is one; raise `ValueError` otherwise."""
    if text is not None:
        try:
            re.compile(text)
        except re.error as error:
            raise ValueError(f"{text!r} is not a regular expression: {error}") from error
    return text


class Expected(Strict):
    """What a value must be; all that is given must hold."""

    equals: Any = None
    """The value itself."""
    one_of: tuple[Any, ...] = ()
    """The values of which it must be one."""
    min: float | None = None
    """The least that a number may be."""
    max: float | None = None
    """The most that a number may be."""
    pattern: str | None = None
    """A regular expression that must be found in the text."""
    exists: bool | None = None
    """Whether it must be there at all; ``false`` means that it must not."""

    _pattern = field_validator("pattern")(regular)

    def judge(self, what: str, value: Any) -> Reading:
        """Return whether the value is as expected, echoing both."""
        is_there = not isinstance(value, Missing)
        if self.exists is False:
            return held(
                f"{what} = {show(value)}, expected nothing" if is_there else f"{what} is not there", not is_there
            )
        if not is_there:
            return failed(f"{what} is not there")
        readings = []
        if "equals" in self.model_fields_set:
            readings.append(held(f"{what} {show(value)} = {show(self.equals)}", same(value, self.equals)))
        if self.one_of:
            some = any(same(value, one) for one in self.one_of)
            readings.append(held(f"{what} {show(value)} is one of {show(self.one_of)}", some))
        number = value if isinstance(value, int | float) and not isinstance(value, bool) else None
        if self.min is not None:
            readings.append(held(f"{what} {show(value)} ≥ {self.min:g}", number is not None and number >= self.min))
        if self.max is not None:
            readings.append(held(f"{what} {show(value)} ≤ {self.max:g}", number is not None and number <= self.max))
        if self.pattern is not None:
            text = value if isinstance(value, str) else show(value)
            readings.append(held(f"{what} {show(value)} ~ {self.pattern}", re.search(self.pattern, text)))
        return all_of(readings) if readings else passed(f"{what} is there")


class RowsCondition(Strict):
    """What the rows of a query must be."""

    equals: str | int | float | bool | None = None
    """The value of the first column of the first row."""
    at_least: float | None = None
    """The least that this value may be."""
    at_most: float | None = None
    """The most that this value may be."""
    rows: int | None = Field(default=None, ge=0)
    """How many rows there must be; 0 for a query that lists offenders."""

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        given = self.model_fields_set & {"equals", "at_least", "at_most", "rows"}
        if not given:
            raise ValueError("one of equals, at_least, at_most, rows is needed")
        if len(given) > 1 and given != {"at_least", "at_most"}:
            raise ValueError(f"only one of {', '.join(sorted(given))} can be asked for, or at_least with at_most")
        return self

    def judge_rows(self, rows: Sequence[Row], what: str = "value") -> Reading:
        """Return whether the rows are as they must be; no row, or null where a value is needed, is unknown."""
        if self.rows is not None:
            count = len(rows)
            sample = "" if count == self.rows else f" ({'; '.join(show(row, 120) for row in rows[:3])})"
            return Reading(
                Outcome.PASSED if count == self.rows else Outcome.FAILED,
                f"{count} rows = {self.rows}{sample if rows else ''}",
                value=count,
                unit="rows",
                limit=self.rows,
            )
        value = next(iter(rows[0].values()), None) if rows else MISSING
        if isinstance(value, Missing) or (value is None and self.equals is not None):
            return unknown("the query returned no row" if isinstance(value, Missing) else "the query returned null")
        if "equals" in self.model_fields_set:
            return held(f"{what} {show(value)} = {show(self.equals)}", same(value, self.equals))
        return self._judge_number(value, what)

    def _judge_number(self, value: Any, what: str) -> Reading:
        try:
            number = float(value)
        except (TypeError, ValueError):
            return unknown(f"{what} {show(value)} is not a number")
        readings = []
        for sign, limit in (("≥", self.at_least), ("≤", self.at_most)):
            if limit is not None:
                holds = number >= limit if sign == "≥" else number <= limit
                outcome = Outcome.PASSED if holds else Outcome.FAILED
                readings.append(Reading(outcome, f"{what} {number:g} {sign} {limit:g}", value=number, limit=limit))
        return all_of(readings)
