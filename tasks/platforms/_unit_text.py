"""The texts that systemd reads, quoted by its own rules (systemd.service, systemd.exec, systemd.syntax)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from tasks.domain.errors import UserError

HEADER = "# Written by golive, which replaces and removes this file.\n"
"""How each file of golive's own begins; what begins otherwise belongs to someone else."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ESCAPED_IN_QUOTES = re.compile(r'(["\\$`])')
_CONTROL_IN_VARIABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")  # systemd drops a variable with any of these


def one_line(text: str, what: str) -> str:
    """Return a text that is to stand in one line of a unit; raises `UserError` if it cannot."""
    if _CONTROL.search(text) or text != text.strip() or text.endswith("\\"):
        raise UserError(
            f"{text!r} cannot stand in a unit as {what}",
            expected="one line without control characters, that neither begins nor ends with a blank or ends with \\",
        )
    return text


def literal(text: str, what: str) -> str:
    """Return a text as a setting's value in which systemd replaces nothing."""
    return one_line(text, what).replace("%", "%%")


def command_line(program: str, arguments: Iterable[str]) -> str:
    """Return the value of ``ExecStart=`` that runs just this program with just these arguments."""
    if not program.startswith("/") or "$" in program:
        raise UserError(f"{program!r} cannot be run by systemd", expected="an absolute path without $")
    return " ".join([_quoted(program), *(_quoted(word).replace("$", "$$") for word in arguments)])


def environment_file(variables: Mapping[str, str]) -> str:
    """Return the text of an ``EnvironmentFile=`` that sets just these values; line ends may stand in them."""
    lines = []
    for name, value in sorted(variables.items()):
        if _CONTROL_IN_VARIABLE.search(value):
            raise UserError(
                "systemd would drop it because of a control character in its value", where=f"environment {name}"
            )
        escaped = _ESCAPED_IN_QUOTES.sub(r"\\\1", value)
        lines.append(f'{name}="{escaped}"\n')
    return HEADER + "".join(lines)


def sections(**of: Mapping[str, str | tuple[str, ...]]) -> str:
    """Return the text of a unit; a setting with several values stands there as often."""
    lines = [HEADER]
    for section, settings in of.items():
        lines.append(f"[{section}]\n")
        for key, value in settings.items():
            lines += [f"{key}={one}\n" for one in ((value,) if isinstance(value, str) else value)]
    return "".join(lines)


def _quoted(word: str) -> str:
    if _CONTROL.search(word):
        raise UserError(
            f"{word!r} cannot be an argument under systemd",
            expected="no line end or other control character",
            do="hand it over in the environment or a file",
        )
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'
