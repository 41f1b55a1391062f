"""What a release file says of when production may be changed."""

from __future__ import annotations

from datetime import time
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator

from tasks.domain.kind import Duration, Strict

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Window(Strict):
    """When production may be changed."""

    days: Annotated[tuple[Day, ...], Field(min_length=1)] = _DAYS
    """On which days of the week."""
    between: Annotated[str, Field(pattern=r"^\d\d:\d\d-\d\d:\d\d$", examples=["02:00-05:00"])] = "00:00-24:00"
    """From and to, in ``timezone``; may pass midnight, and then belongs to the day on which it began."""
    timezone: str = "UTC"
    """An IANA name, as in ``Europe/Berlin``."""
    notice: Duration = 0.0
    """How long ahead a release must be announced (``golive release --at``); a rollback needs no notice."""
    traffic: Annotated[str, Field(examples=["requests per second"])] = ""
    """The name of a check of kind ``prometheus`` whose query tells the requests per second, by which golive knows the
    quiet hours; by default it counts the database's transactions while it watches a release."""

    @field_validator("timezone")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError) as error:
            raise ValueError(f"{value!r} is not a time zone; expected an IANA name such as Europe/Berlin") from error
        return value

    @field_validator("between")
    @classmethod
    def _times(cls, value: str) -> str:
        for part in value.split("-"):
            if part != "24:00":
                time.fromisoformat(part)
        if len(set(value.split("-"))) == 1:
            raise ValueError(f"{value!r} is never open; expected 00:00-24:00 for the whole day")
        return value
