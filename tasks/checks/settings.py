"""The settings of the database server."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from tasks.checks import Check
from tasks.domain.condition import all_of, held
from tasks.domain.kind import Strict
from tasks.domain.outcome import Outcome, Reading, failed, passed, unknown
from tasks.domain.ports import Row, Session
from tasks.domain.target import Target
from tasks.domain.visibility import hidden

Value = bool | int | float | str
# golive's own sessions set some for themselves; a new session of its user would have reset_val.
_SETTINGS = """
SELECT name, reset_val AS value, unit, vartype AS type, source, pending_restart, enumvals
FROM pg_settings WHERE lower(name) = ANY (%(names)s) OR pending_restart
"""
# PostgreSQL's own units: a kB has 1024 bytes, whatever the case of its letters elsewhere.
_FACTORS = {
    "B": 1, "kB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4,
    "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0,
}  # fmt: skip
_QUANTITY = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")
_ON = {"on": "on", "true": "on", "yes": "on", "1": "on", "off": "off", "false": "off", "no": "off", "0": "off"}


class _Wanted(Strict):
    """What a setting must be; all that is given must hold."""

    equals: Value | None = None
    """The value, with its unit as PostgreSQL writes it."""
    one_of: tuple[Value, ...] = ()
    """The values of which it must be one."""
    at_least: int | float | str | None = None
    """The least that it may be, as in ``128MB``; a number without a unit is in the setting's own."""
    at_most: int | float | str | None = None
    """The most that it may be."""

    @field_validator("at_least", "at_most")
    @classmethod
    def _a_quantity(cls, value: float | str | None) -> float | str | None:
        if isinstance(value, str) and not _is_quantity(value):
            raise ValueError(f"{value!r} is no number with one of PostgreSQL's units: {', '.join(_FACTORS)}")
        return value


class Settings(Check):
    """Holds settings of the database server, as a new session has them, against what they must be."""

    kind: Literal["settings"] = "settings"
    """Which kind of check this is."""
    values: Annotated[
        dict[str, _Wanted | Value | None],
        Field(examples=[{"shared_buffers": {"at_least": "1GB"}, "fsync": True, "work_mem": None}]),
    ] = Field(default_factory=dict)
    """The settings by name, each with its value, or with ``equals``, ``one_of``, ``at_least``, ``at_most``; without a
    value it is only told."""
    pending_restart: bool = False
    """Whether settings may wait for a restart of the server to take effect."""
    dsn: str = "{dsn}"
    """The database; by default that of the system. Settings of the user and the database that it names count."""

    def look(self, target: Target) -> Reading:
        """Return which settings are not as they must be; one that golive's role may not see is unknown."""
        with target.world.databases.session(
            target.fill(self.dsn), read_only=True, statement_timeout=self.timeout
        ) as session:
            found = session.query(_SETTINGS, {"names": [name.lower() for name in self.values]})
            rows = {row["name"].lower(): row for row in found}
            readings = [
                self._judge(session, name, value, rows.get(name.lower())) for name, value in self.values.items()
            ]
        waiting = sorted(name for name, row in rows.items() if row["pending_restart"])
        if not self.pending_restart:
            readings.append(held(f"waiting for a restart: {', '.join(waiting) or 'nothing'}", not waiting))
        shown = {name: {"value": _shown(row), "source": row["source"]} for name, row in rows.items()}
        detail = {"settings": shown, "pending_restart": waiting}
        return all_of(readings or [unknown("no setting was asked for")], detail=detail)

    def _judge(self, session: Session, name: str, wanted: _Wanted | Value | None, row: Row | None) -> Reading:
        if row is None:
            seen = "SELECT pg_has_role(current_user, 'pg_read_all_settings', 'USAGE')"
            if not session.value(seen):
                return hidden(session, f"{name} is not there, or", "pg_read_all_settings")
            return failed(f"{name} is not there")
        if wanted is None:
            return passed(f"{name} {_shown(row)}")
        if not isinstance(wanted, _Wanted):
            wanted = _Wanted(equals=wanted)
        readings = []
        if wanted.equals is not None:
            readings.append(held(f"{name} {_shown(row)} = {_written(wanted.equals)}", _is(row, wanted.equals)))
        if wanted.one_of:
            words = ", ".join(_written(one) for one in wanted.one_of)
            readings.append(held(f"{name} {_shown(row)} is one of {words}", any(_is(row, v) for v in wanted.one_of)))
        for limit, sign in ((wanted.at_least, "≥"), (wanted.at_most, "≤")):
            if limit is not None:
                readings.append(_compare(name, row, limit, sign))
        return all_of(readings or [passed(f"{name} {_shown(row)}")])


def _written(value: Value) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def _shown(row: Row) -> str:
    unit = row["unit"] or ""
    if unit[:1].isdigit() and str(row["value"]).isdigit():  # as in 8kB, the size of a page
        return f"{int(row['value']) * int(re.match(r'[0-9]+', unit)[0])}{unit.lstrip('0123456789')}"  # type: ignore[index]
    return f"{row['value']}{unit}" if row["value"] != "-1" else "-1"


def _is_quantity(text: str) -> bool:
    match = _QUANTITY.fullmatch(text)
    return match is not None and (not match[2] or match[2] in _FACTORS)


def _number(text: Any, unit: str | None) -> float | None:
    """Return a quantity in bytes, seconds, or the number itself; without a unit it is in the setting's own."""
    match = _QUANTITY.fullmatch(str(text))
    if match is None or (match[2] and (match[2] not in _FACTORS or not unit)):
        return None
    if match[2]:
        return float(match[1]) * _FACTORS[match[2]]
    own = re.fullmatch(r"(\d*)([A-Za-z]*)", unit or "")
    return float(match[1]) * int((own and own[1]) or 1) * _FACTORS.get((own and own[2]) or "", 1)


def _is(row: Row, value: Value) -> bool:
    text, seen = _written(value), str(row["value"])
    if row["type"] == "bool":
        return _ON.get(text.lower()) == seen
    if row["type"] in {"integer", "real"}:
        number, own = _number(text, row["unit"]), _number(seen, row["unit"])
        return number is not None and number == own
    return text.lower() == seen.lower() if row["type"] == "enum" else text == seen


def _compare(name: str, row: Row, limit: float | str, sign: str) -> Reading:
    value, bound = _number(row["value"], row["unit"]), _number(limit, row["unit"])
    words = f"{name} {_shown(row)} {sign} {limit}"
    if value is None or bound is None or row["type"] not in {"integer", "real"}:
        return unknown(f"{words}: they cannot be compared")
    if value < 0 <= bound:
        return unknown(f"{words}: what a negative value means is that setting's own; ask for it by equals")
    if sign == "≤" and not value and name.endswith("_timeout"):
        return failed(f"{words}: 0 turns it off")
    holds = value >= bound if sign == "≥" else value <= bound
    return Reading(Outcome.PASSED if holds else Outcome.FAILED, words, value=value, limit=bound)
