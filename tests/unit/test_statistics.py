from __future__ import annotations

import math
import random
from itertools import combinations, pairwise
from statistics import mean, pstdev

import pytest
from scipy.stats import binomtest, mannwhitneyu

from tasks.domain.statistics import percentile, rate_at_most, runs_z, slower_p, summarise, thinned, wilson_lower


def test_percentiles_agree_with_numpy():
    import numpy as np

    draw = random.Random(1)
    for size in (1, 2, 3, 30, 241):
        values = [draw.lognormvariate(-3, 0.5) for _ in range(size)]
        for share in (0, 0.5, 0.95, 0.99, 1):
            assert percentile(values, share) == pytest.approx(float(np.percentile(values, 100 * share)))


def test_a_percentile_of_nothing_is_nan_and_null_in_json():
    assert math.isnan(percentile([], 0.5))
    assert summarise([]).as_json() == {"count": 0, "p50": None, "p95": None, "p99": None}


def test_wilsons_lower_bound_agrees_with_scipy():
    for failures, total in ((0, 1), (0, 30), (1, 1), (9, 30), (10, 30), (30, 30), (45, 180), (3, 1000)):
        # A one-sided 95 % bound is the lower end of the two-sided 90 % interval.
        expected = binomtest(failures, total).proportion_ci(0.90, method="wilson").low
        assert wilson_lower(failures, total) == pytest.approx(expected, abs=1e-12)


def test_thirty_probes_need_ten_failures_to_lie_above_a_fifth():
    assert wilson_lower(9, 30) < 0.2 < wilson_lower(10, 30)
    assert wilson_lower(44, 180) < 0.2 < wilson_lower(45, 180)


def test_nothing_counted_bounds_nothing():
    assert wilson_lower(0, 0) == 0.0
    assert rate_at_most(0, 0) == 1.0


def test_a_day_of_clean_hourly_probes_says_little_about_the_error_rate():
    assert rate_at_most(0, 24) == pytest.approx(0.117, abs=0.001)
    assert rate_at_most(0, 720) == pytest.approx(0.004, abs=0.001)


def test_twice_as_slow_is_told_from_noise():
    draw = random.Random(2)
    baseline = [draw.lognormvariate(-3, 0.5) for _ in range(240)]
    same = [draw.lognormvariate(-3, 0.5) for _ in range(30)]
    assert slower_p([2.5 * value for value in same], baseline, 1.5) < 0.02
    assert slower_p(same, baseline, 1.5) > 0.5


def test_the_p_value_is_that_of_scipy_with_ties_and_in_the_tails():
    draw = random.Random(4)
    for digits, factor in ((1, 1.0), (2, 1.5), (6, 0.2), (6, 3.0)):
        current = [round(draw.lognormvariate(0, 0.5), digits) for _ in range(60)]
        baseline = [round(draw.lognormvariate(0, 0.5), digits) for _ in range(240)]
        by_scipy = mannwhitneyu(current, [factor * v for v in baseline], alternative="greater", method="asymptotic")
        assert slower_p(current, baseline, factor) == pytest.approx(by_scipy.pvalue, rel=1e-6)


def test_equal_values_are_not_slower():
    assert slower_p([1.0] * 30, [1.0] * 240) >= 0.5


def test_an_empty_sample_cannot_be_compared():
    with pytest.raises(ValueError, match="two samples"):
        slower_p([], [1.0])


def test_evidence_is_thinned_to_a_few_hundred_values():
    values = [i / 1000 for i in range(1001)]
    assert len(thinned(values)) <= 300
    assert thinned([0.123456789]) == [0.12346]


def test_rows_of_equal_outcomes_are_counted_against_every_order_that_they_could_come_in():
    orders = [[at in chosen for at in range(9)] for chosen in map(set, combinations(range(9), 4))]
    rows = [1 + sum(a != b for a, b in pairwise(flags)) for flags in orders]
    for flags, count in zip(orders, rows, strict=True):
        assert runs_z(flags) == pytest.approx((count - mean(rows)) / pstdev(rows), abs=1e-12)
    assert runs_z([True] * 9) == runs_z([False] * 9) == runs_z([]) == 0.0
