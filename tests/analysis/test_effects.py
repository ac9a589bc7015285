"""Effects, bands and the non-inferiority proof."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st

from meshctl_analysis import effects, grid
from meshctl_analysis.checks import InvalidSample
from meshctl_analysis.effects import (
    hodges_lehmann,
    hodges_lehmann_counts,
    odds_ratio,
    rate_ratio,
    shift_on_grid,
)
from meshctl_analysis.noninferiority import noninferiority_test
from meshctl_analysis.quantiles import band_half_width, quantile_band, quantile_of_counts

samples = st.lists(st.integers(0, 50), min_size=1, max_size=25)


@given(samples, samples)
def test_hodges_lehmann_is_the_median_of_all_differences(candidate, baseline):
    naive = np.median([x - y for x, y in itertools.product(candidate, baseline)])
    estimate = hodges_lehmann(candidate, baseline)
    assert estimate.value == pytest.approx(naive)
    assert estimate.lower <= estimate.value <= estimate.upper


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=10))
def test_hodges_lehmann_on_counts_and_on_the_grid_equal_the_one_on_values(buckets):
    candidate, baseline = zip(*buckets, strict=True)
    assume(sum(candidate) and sum(baseline))
    midpoints = np.arange(len(buckets)) * 2.0
    raw = hodges_lehmann(np.repeat(midpoints, candidate), np.repeat(midpoints, baseline))
    assert hodges_lehmann_counts(candidate, baseline, midpoints) == raw
    assert shift_on_grid(candidate, baseline, 2.0) == raw


def test_the_interval_of_the_shift_covers_the_truth_as_often_as_promised():
    draw = np.random.default_rng(5)
    covered = 0
    for _ in range(400):
        estimate = hodges_lehmann(draw.normal(1, 2, 30), draw.normal(0, 2, 40), alpha=0.1)
        covered += estimate.lower <= 1 <= estimate.upper
    low, high = scipy.stats.binomtest(covered, 400).proportion_ci(0.999)
    assert low <= 0.9 <= high


def test_too_many_pairs_are_refused_with_the_way_out(monkeypatch):
    monkeypatch.setattr(effects, "MOST_PAIRS", 10)
    with pytest.raises(InvalidSample, match="use `hodges_lehmann_counts`"):
        hodges_lehmann([1.0] * 4, [1.0] * 4)


@pytest.mark.parametrize("midpoints", [[1.0], [2.0, 1.0]])
def test_midpoints_that_do_not_fit_are_refused(midpoints):
    with pytest.raises(InvalidSample, match="one increasing value per bucket"):
        hodges_lehmann_counts([1, 2], [1, 2], midpoints)


@given(st.integers(0, 40), st.integers(0, 40))
def test_the_rate_ratio_interval_is_scipys_clopper_pearson(bad_candidate, bad_baseline):
    assume(bad_candidate + bad_baseline)
    interval = scipy.stats.binomtest(bad_candidate, bad_candidate + bad_baseline).proportion_ci(0.95, "exact")
    estimate = rate_ratio(bad_candidate, 100, bad_baseline, 300)
    assert estimate.lower == pytest.approx(3 * interval.low / (1 - interval.low))
    assert estimate.upper == (pytest.approx(3 * interval.high / (1 - interval.high)) if bad_baseline else math.inf)
    assert estimate.lower <= estimate.value <= estimate.upper


def test_a_rate_ratio_without_failures_is_unknown():
    estimate = rate_ratio(0, 10, 0, 10)
    assert math.isnan(estimate.value)
    assert (estimate.lower, estimate.upper) == (0.0, math.inf)


def test_a_rate_ratio_of_an_empty_arm_is_refused():
    with pytest.raises(InvalidSample, match="at least one request"):
        rate_ratio(0, 0, 1, 10)


def test_the_odds_ratio_is_woolfs_with_a_half_in_each_cell():
    estimate = odds_ratio(12, 500, 35, 4500)
    log_odds = math.log(12.5 * 4465.5 / (488.5 * 35.5))
    reach = 1.959963984540054 * math.sqrt(1 / 12.5 + 1 / 488.5 + 1 / 35.5 + 1 / 4465.5)
    assert estimate.value == pytest.approx(math.exp(log_odds))
    assert (estimate.lower, estimate.upper) == pytest.approx((math.exp(log_odds - reach), math.exp(log_odds + reach)))


def test_the_quantile_band_gives_the_published_vector():
    assert band_half_width(1000, 100, 0.05) == pytest.approx(0.0828455, abs=1e-6)


@pytest.mark.parametrize(("n", "m"), [(99, 100), (10, 0)])
def test_a_band_outside_its_range_is_refused(n, m):
    with pytest.raises(InvalidSample, match="`m` must lie"):
        band_half_width(n, m)


def test_quantiles_come_with_a_band_and_without_ends_where_the_sample_is_too_small():
    edges = np.arange(1.0, 1001.0)
    median = quantile_band(np.ones(1000), edges, 0.5)
    assert (median.value, median.lower, median.upper) == (500, 418, 583)
    assert quantile_band(np.ones(1000), edges, 0.99).upper == math.inf
    assert quantile_band(np.ones(1000), edges, 0.01).lower == -math.inf
    assert quantile_band(np.ones(50), edges[:50], 0.5).upper == math.inf


@given(st.lists(st.integers(1, 60), min_size=1, max_size=50), st.floats(0.01, 0.99))
def test_quantiles_of_counts_equal_numpys_inverted_distribution(values, share):
    counts = np.bincount(values, minlength=61)
    expected = np.quantile(values, share, method="inverted_cdf")
    assert quantile_of_counts(counts, np.arange(61.0), share) == expected


# ------------------------------------------------------------------------------------ non-inferiority


def share_that_passes_at_the_margin(requests_candidate, requests_baseline, ratio, harm, base, beta):
    """Exact probability, by enumeration, that a candidate exactly at the margin is called inside it."""
    slow = ratio * base + harm
    weight_slow = scipy.stats.binom.pmf(np.arange(requests_candidate + 1), requests_candidate, slow)
    weight_base = scipy.stats.binom.pmf(np.arange(requests_baseline + 1), requests_baseline, base)
    keep_slow, keep_base = np.flatnonzero(weight_slow > 1e-10), np.flatnonzero(weight_base > 1e-10)
    bad_slow, bad_base = (table.ravel() for table in np.meshgrid(keep_slow, keep_base, indexing="ij"))
    p_values = noninferiority_test(bad_slow, requests_candidate, bad_base, requests_baseline, ratio, harm)
    weights = np.outer(weight_slow[keep_slow], weight_base[keep_base]).ravel()
    return weights[p_values < beta].sum()


@pytest.mark.parametrize("beta", [0.2, 0.1, 0.05])
@pytest.mark.parametrize(
    ("requests_candidate", "requests_baseline", "ratio", "harm", "base"),
    [
        (50, 5000, 1.25, 0.1, 0.001),
        (100, 1000, 1.25, 0.01, 0.01),
        (500, 500, 1.25, 0.001, 0.1),
        (2000, 2000, 1.25, 0.001, 0.001),
        (500, 500, 1.15, 0.01, 0.3),
        (100, 9900, 1.15, 0.1, 0.5),
        (300, 100, 1.25, 0.001, 0.05),
        (4000, 400, 1.25, 0.001, 0.005),
    ],
)
def test_a_candidate_at_the_margin_passes_at_most_as_often_as_promised(
    requests_candidate, requests_baseline, ratio, harm, base, beta
):
    passed = share_that_passes_at_the_margin(requests_candidate, requests_baseline, ratio, harm, base, beta)
    assert passed <= beta


def test_nothing_is_proved_without_requests_or_with_an_impossible_margin():
    assert noninferiority_test(0, 0, 0, 100, 1.25, 0.01) == 1.0
    assert noninferiority_test(0, 100, 0, 0, 1.25, 0.01) == 1.0
    assert noninferiority_test(0, 100, 0, 100, 1.25, 1.0) == 1.0


def test_more_requests_without_a_failure_prove_more():
    few, many = (float(noninferiority_test(0, n, 0, n, 1.25, 0.001)[0]) for n in (1000, 10_000))
    assert few > 0.05 > many


@pytest.mark.parametrize("arguments", [(0, 1, 0, 1, 0, 0.1), (0, 1, 0, 1, 1.1, -1)])
def test_a_margin_that_is_none_is_refused(arguments):
    with pytest.raises(InvalidSample, match="`ratio` must be positive"):
        noninferiority_test(*arguments)


@pytest.mark.parametrize("arguments", [(2, 1, 0, 1), (0, 1, -1, 1)])
def test_impossible_counts_are_refused_by_the_margin_test(arguments):
    with pytest.raises(InvalidSample, match="0 <= bad <= requests"):
        noninferiority_test(*arguments, 1.25, 0.01)


# ------------------------------------------------------------------------------------ the grid


def test_the_grid_places_latencies_within_a_thousandth():
    values = np.array([0.0, 1e-3, 0.5, 12.5, 60_000.0, 1e9])
    counts = grid.counted(values)
    assert counts.sum() == len(values)
    assert counts[0] == 2
    assert counts[-1] == 1
    middle = grid.UPPER_MS[np.flatnonzero(counts)[1:-1]]
    assert middle == pytest.approx([0.5, 12.5, 60_000.0], rel=0.0011)
    assert np.all(middle >= np.array([0.5, 12.5, 60_000.0]) * (1 - 1e-9))


def test_slowing_the_grid_moves_every_latency_by_the_factor():
    counts = grid.counted(np.array([10.0] * 100)).astype(float)
    later = grid.slowed(counts, 1.5)
    assert later.sum() == pytest.approx(100)
    assert np.exp((later @ np.log(grid.UPPER_MS)) / 100) == pytest.approx(15.0, rel=0.0011)
    assert np.array_equal(grid.slowed(counts, 1.0), counts)
    assert grid.slowed(grid.counted(np.array([1e9])).astype(float), 2.0)[-1] == pytest.approx(1)


def test_buckets_spread_over_the_grid_come_back_as_they_were():
    bounds = (1.0, 5.0, 25.0)
    counts = np.array([3.0, 10.0, 4.0, 2.0])
    fine = grid.spread(counts, bounds)
    assert fine.sum() == pytest.approx(19)
    assert grid.bucketed(fine, bounds) == pytest.approx(counts, abs=0.02)
