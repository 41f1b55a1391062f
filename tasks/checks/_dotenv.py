"""Files of lines ``NAME=value``, as docker compose, systemd and shells read them."""

from __future__ import annotations

from io import StringIO

from dotenv.parser import parse_stream

from tasks.checks._files import read_text
from tasks.domain.errors import UserError
from tasks.domain.target import Target


def assignments(text: str) -> tuple[dict[str, str], list[int]]:
    """Return the variables of a file with their values, unexpanded, and the lines that cannot be understood."""
    values: dict[str, str] = {}
    wrong = []
    for binding in parse_stream(StringIO(text)):
        if binding.error:
            wrong.append(binding.original.line)
        elif binding.key is not None:
            values[binding.key] = binding.value or ""
    return values, wrong


def variables_of(target: Target, path: str) -> dict[str, str] | None:
    """Return the variables of a file of the host, or None if it is not there; raises `UserError` if it is no such."""
    text = read_text(target, path)
    if text is None:
        return None
    values, wrong = assignments(text)
    if wrong:
        lines = ", ".join(map(str, wrong[:5]))
        raise UserError(f"line {lines} cannot be understood", expected="NAME=value", where=path)
    return values
