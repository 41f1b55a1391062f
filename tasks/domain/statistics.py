"""The statistics by which probes are judged: percentiles, bounds on an error rate, whether one sample is slower."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist

Z_95 = NormalDist().inv_cdf(0.95)
"""The standard normal quantile of a one-sided 95 % bound."""


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` (0 to 1) of the sample lies, by linear interpolation between neighbours.

    NaN if the sample is empty, so that a reading made from it becomes unknown. The definition is the default of
    `numpy.percentile`, type 7 of Hyndman and Fan (1996).
    """
    if not values:
        return math.nan
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


@dataclass(frozen=True)
class Summary:
    """A sample of latencies in short: how many, and its percentiles in seconds (NaN if there are none)."""

    count: int
    p50: float
    p95: float
    p99: float

    def as_json(self) -> dict[str, float | None]:
        """Return the summary for JSON, which knows no NaN."""
        return {key: value if math.isfinite(value) else None for key, value in asdict(self).items()}


def summarise(latencies: Sequence[float]) -> Summary:
    """Return how many latencies there are and their percentiles."""
    return Summary(len(latencies), *(percentile(latencies, share) for share in (0.50, 0.95, 0.99)))


def wilson_lower(failures: int, total: int, z: float = Z_95) -> float:
    """Return the lower bound of an error rate, below which it lies with 5 % probability; 0 if nothing was counted.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927), 209-212.
    """
    if total <= 0:
        return 0.0
    share = failures / total
    centre = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return max(0.0, (centre - spread) / (1 + z * z / total))


def runs_z(flags: Sequence[bool]) -> float:
    """Return by how many standard deviations the rows of equal flags are more than chance would have; 0 if all agree.

    A. Wald and J. Wolfowitz, "On a test whether two samples are from the same population", AMS 11 (1940), 147-162.
    """
    count, total = sum(flags), len(flags)
    if count in (0, total):
        return 0.0
    rows = 1 + sum(a != b for a, b in itertools.pairwise(flags))
    expected = 1 + 2 * count * (total - count) / total
    variance = (expected - 1) * (expected - 2) / (total - 1)
    return (rows - expected) / math.sqrt(variance) if variance > 0 else 0.0


def rate_at_most(failures: int, total: int) -> float:
    """Return the upper bound of an error rate, above which it lies with 5 % probability; 1 if nothing was counted.

    Exact (C. Clopper and E. S. Pearson, Biometrika 26 (1934), 404-413), because it is asked of very few failures.
    """
    if failures >= total:
        return 1.0
    from scipy.stats import beta

    return float(beta.ppf(0.95, failures + 1, total - failures))


def slower_p(current: Sequence[float], baseline: Sequence[float], factor: float = 1.0) -> float:
    """Return the one-sided Mann-Whitney p-value for "current is slower than ``factor`` times the baseline".

    The normal approximation is used, which holds from about ten values on each side. Raises `ValueError` if a sample
    is empty.
    """
    if not current or not baseline:
        raise ValueError("two samples are needed")
    # As scipy's mannwhitneyu has it, in a tenth of its time, and without the second that importing scipy.stats takes.
    here, there = len(current), len(baseline)
    against = sorted(factor * value for value in baseline)
    above = sum(bisect_left(against, value) + bisect_right(against, value) for value in current) / 2
    values, every = [*current, *against], here + there
    ties = sum(count**3 - count for count in Counter(values).values()) if len(set(values)) < every else 0
    spread = math.sqrt(max(0.0, here * there / 12 * (every + 1 - ties / (every * (every - 1)))))
    # When all values are one and the same there is no order between the samples.
    return math.erfc((above - here * there / 2 - 0.5) / spread / math.sqrt(2)) / 2 if spread else 1.0


def thinned(values: Sequence[float], most: int = 300) -> list[float]:
    """Return at most ``most`` of the values, evenly taken and rounded to 10 µs, to be kept as evidence."""
    step = max(1, math.ceil(len(values) / most))
    return [round(value, 5) for value in values[::step]]
