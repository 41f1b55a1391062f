"""Durations, sizes and shares as people write them: ``30s``, ``5 min``, ``1.5 GiB``, ``20 %``."""

from __future__ import annotations

import re

_SECONDS = {
    "ms": 0.001,
    "s": 1.0,
    "sec": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
}
_BYTES = {
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "tb": 1000**4,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
    "tib": 1024**4,
}
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z%]+)\s*")


def _scaled(text: str, factors: dict[str, float] | dict[str, int], what: str, example: str) -> float:
    match = _QUANTITY.fullmatch(text)
    factor = factors.get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise ValueError(
            f"{text!r} is not a {what}; expected a number and one of {', '.join(factors)}, as in {example}"
        )
    return float(match[1]) * factor


def seconds(text: str) -> float:
    """Return the seconds of a duration such as ``200ms``, ``30s``, ``5 min``, ``24h``; raises `ValueError`."""
    return _scaled(text, _SECONDS, "duration", "30s")


def size_in_bytes(text: str) -> int:
    """Return the bytes of a size such as ``500MB`` (powers of 1000) or ``2 GiB`` (of 1024); raises `ValueError`."""
    return int(_scaled(text, _BYTES, "size", "2 GiB"))


def share(text: str) -> float:
    """Return the fraction of a percentage such as ``20%``; raises `ValueError`."""
    return _scaled(text, {"%": 0.01}, "percentage", "20%")


def show_seconds(value: float) -> str:
    """Return a duration as a person reads it: ``200 ms``, ``3.2 s``, ``5 min 10 s``, ``2 h 5 min``."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def show_bytes(value: float) -> str:
    """Return a size as a person reads it, in powers of 1000: ``12 B``, ``4.2 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def milliseconds(duration: float) -> int:
    """Return seconds as PostgreSQL's settings take them; at least 1, since 0 would mean no limit."""
    return max(1, round(duration * 1000))
