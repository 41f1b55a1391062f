"""The commands that a release file lets golive run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import AfterValidator, BaseModel
from pydantic.fields import FieldInfo

from tasks.domain.kind import no_secret_in


def commands_in(part: Any, where: str = "") -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each command that a part of the release file names, as written, with the place where it stands."""
    if isinstance(part, BaseModel):
        for name, field in type(part).model_fields.items():
            value, here = getattr(part, name), f"{where}.{name}" if where else name
            if _is_argv(name, field, value):
                if value:
                    yield here, value
            else:
                yield from commands_in(value, here)
    elif isinstance(part, Mapping):
        for key, value in part.items():
            yield from commands_in(value, f"{where}.{key}")
    elif isinstance(part, tuple | list):
        for number, value in enumerate(part):
            called = getattr(value, "name", None)
            yield from commands_in(value, f"{where}[{called or number}]")


def _is_argv(name: str, field: FieldInfo, value: Any) -> bool:
    guarded = any(isinstance(one, AfterValidator) and one.func is no_secret_in for one in field.metadata)
    return _words(value) and (guarded or name in {"command", "argv"})


def _words(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(one, str) for one in value)
