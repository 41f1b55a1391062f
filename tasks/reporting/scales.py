"""Maps values to places on a plot, and finds round values for its ticks."""

from __future__ import annotations

import math
from collections.abc import Callable


def linear(low: float, high: float, left: float, right: float) -> Callable[[float], float]:
    """Return what maps ``low`` to ``left`` and ``high`` to ``right``."""
    return lambda value: left + (right - left) * (value - low) / (high - low)


def logarithmic(low: float, high: float, left: float, right: float) -> Callable[[float], float]:
    """Return what maps positive values on a logarithmic scale, ``low`` to ``left`` and ``high`` to ``right``."""
    place = linear(math.log10(low), math.log10(high), left, right)
    return lambda value: place(math.log10(value))


def nice(most: float, about: int = 5) -> list[float]:
    """Return round values from 0 to at most ``most``, ``about`` of them or fewer."""
    step = 10 ** math.floor(math.log10(most / about))
    step *= next(m for m in (1, 2, 5, 10) if most / (step * m) <= about)
    return [step * i for i in range(int(most / step) + 1)]


def decades(low: float, high: float) -> list[float]:
    """Return the powers of ten from ``low`` to ``high``."""
    return [10.0**e for e in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
