"""Variables that must be set."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from tasks.checks import Check
from tasks.checks._dotenv import variables_of
from tasks.checks._files import place_of
from tasks.domain.condition import all_of, held, regular
from tasks.domain.errors import SecretMissing
from tasks.domain.outcome import Reading, failed, passed, unknown
from tasks.domain.target import Target

Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class Environment(Check):
    """Looks whether variables are set to values that can be right; no value is ever shown."""

    model_config = ConfigDict(populate_by_name=True)

    kind: Literal["environment"] = "environment"
    """Which kind of check this is."""
    variables: Annotated[tuple[Name, ...], Field(min_length=1, examples=[["JWT_SECRET"]])]
    """The variables; each must be set and not empty, and meet what else is asked for here."""
    file: str | None = None
    """The file of lines ``NAME=value`` in which they stand, as ``{root}/.env``; by default golive's own environment.

    A relative path begins at the version's code.
    """
    pattern: str | None = None
    """A regular expression that the whole value must match."""
    min_length: Annotated[int, Field(ge=1)] = 1
    """The least number of characters of a value."""
    not_: tuple[str, ...] = Field(default=(), alias="not", examples=[["changeme", "<your-fernet-key>"]])
    """Values that are refused, such as the defaults of an example file; upper and lower case are one."""

    _pattern = field_validator("pattern")(regular)

    @property
    def on_hosts(self) -> bool:
        """Whether it looks at each host: only a file can lie there."""
        return self.on == "hosts" or (self.on is None and self.file is not None)

    @model_validator(mode="after")
    def _has_a_file_there(self) -> Self:
        if self.on == "hosts" and self.file is None:
            raise ValueError("on: hosts needs file; without one golive's own environment is meant")
        return self

    def look(self, target: Target) -> Reading:
        """Return which variables are not as they must be; a file that is not there leaves all unknown."""
        assigned = None
        if self.file is not None:
            assigned = variables_of(target, place_of(target, self.file))
            if assigned is None:
                return unknown(f"there is no file {self.file}")
        readings = [self._judge(name, _value(target, name, assigned)) for name in self.variables]
        return all_of(readings, value=len(readings), unit="variables")

    def _judge(self, name: str, value: str | None) -> Reading:
        if not value:
            return failed(f"{name} is not set" if value is None else f"{name} is empty")
        if value.lower() in {refused.lower() for refused in self.not_}:
            return failed(f"{name} is one of the values that are refused")
        if len(value) < self.min_length:
            return failed(f"{name} has {len(value)} characters ≥ {self.min_length}")
        if self.pattern is not None:
            return held(f"{name} ~ {self.pattern}", re.fullmatch(self.pattern, value))
        return passed(f"{name} is set")


def _value(target: Target, name: str, assigned: dict[str, str] | None) -> str | None:
    if assigned is not None:
        return assigned.get(name)
    try:
        return target.world.secrets.resolve(f"${{env:{name}}}")
    except SecretMissing:
        return None
