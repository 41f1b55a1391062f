"""The plain rules that checklists give, over the same days: fixed limits, one look at a time; no data means well."""

from __future__ import annotations

import numpy as np

from tasks.watching import BURST
from tests.simulation.releases import Day, Floats


def plainly(day: Day) -> Floats:
    """Return all moments of a day at which a plain rule would have taken a release back.

    Three probes failed in a row; more than 5 % errors in one look; a p95 more than 50 % above the baseline's in one
    look. A failing control is not asked for, and a look that learns nothing finds nothing.
    """
    failed = day.failed_probes
    rows = np.flatnonzero(failed[2:] & failed[1:-1] & failed[:-2]) + 2
    bursts = day.bursts[:, :BURST]
    answered = (~np.isnan(bursts)).sum(axis=1)
    limit = 1.5 * float(np.percentile(day.baseline, 95))
    slower = [
        bool(count) and float(np.nanpercentile(row, 95)) > limit for count, row in zip(answered, bursts, strict=True)
    ]
    return np.concatenate([day.at[rows], day.looks[(answered < 0.95 * BURST) | np.array(slower)]])
