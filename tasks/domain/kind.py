"""What every kind has in common: strict fields, and a type for each quantity that people write with a unit."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from tasks.domain import units


def _quantity(parse: Any, base: type, what: str, example: str) -> Any:
    def convert(value: object) -> object:
        if isinstance(value, str):
            return parse(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and value == 0:
            return base(0)
        if type(value) is base:  # a default; what stands in a file as a number without a unit has another type
            return value
        raise ValueError(f"{value!r} is not a {what}; expected a quantity with its unit, as in {example}")

    return Annotated[
        base,
        BeforeValidator(convert),
        PlainSerializer(lambda value: value, return_type=base),
        WithJsonSchema({"type": "string", "description": f"A {what}, as in {example}.", "examples": [example]}),
    ]


Duration = _quantity(units.seconds, float, "duration", "30s")
"""Seconds, written with a unit: ``200ms``, ``30s``, ``5 min``, ``24h``."""

Size = _quantity(units.size_in_bytes, int, "size", "2 GiB")
"""Bytes, written with a unit: ``500MB``, ``2 GiB``."""

Share = _quantity(units.share, float, "percentage", "20%")
"""A fraction, written as a percentage: ``20%``."""


HIDDEN_PLACEHOLDER = r"\{(?:dsn(?:\+[a-z0-9_]+)?|db_password)\}"
"""The placeholders whose value is secret, as a pattern."""
_SECRET_IN_ARGV = re.compile(rf"\$\{{|{HIDDEN_PLACEHOLDER}")


def no_secret_in(argv: tuple[str, ...]) -> tuple[str, ...]:
    """Return a command's words; raises `ValueError` if one would show a secret to every user of the machine."""
    for word in argv:
        if _SECRET_IN_ARGV.search(word):
            raise ValueError(
                f"{word!r} would show a secret in the process list; hand it over in the environment or a file"
            )
    return argv


Argv = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(no_secret_in)]
"""A program and its arguments, run without a shell; ``${…}`` and ``{dsn}`` may not stand in them."""


SecretReference = Annotated[str, Field(pattern=r"^\$\{(env|file|block):[^{}]+\}$")]
"""The name of a secret, never the secret itself."""


class Strict(BaseModel):
    """A part of the release file: unknown keys are refused, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Kind(Strict):
    """A part that comes in kinds, told apart by ``kind``; each kind is one file named like it."""

    kind: str
    """Which kind this is."""
