"""How large a difference is: shift, ratio, odds, always with an interval.  Fixed-sample report figures."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtri

from .checks import (
    Counts,
    InvalidSample,
    checked_counts,
    checked_failures,
    checked_sample,
    checked_share,
    same_buckets,
)
from .mannwhitney import Values

MOST_PAIRS = 20_000_000
"""Pairs of raw values up to which all differences are formed at once (160 MB)."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """An effect with its two-sided interval, both in the effect's own unit; an open end is infinite."""

    value: float
    lower: float
    upper: float


def hodges_lehmann(candidate: Values, baseline: Values, alpha: float = 0.05) -> Estimate:
    """Median of all pairwise differences candidate - baseline, with its 1 - alpha interval, in the values' unit.

    The interval ends are order statistics of the differences at Mann-Whitney's critical values (normal
    approximation).  Raises `InvalidSample` for samples that are empty, not finite, or form more than `MOST_PAIRS`
    pairs.  Source: Hodges & Lehmann 1963; Hollander & Wolfe, section 4.2.
    """
    slow, base = checked_sample(candidate, "candidate"), checked_sample(baseline, "baseline")
    if len(slow) * len(base) > MOST_PAIRS:
        raise InvalidSample(f"more than {MOST_PAIRS} pairs: count into buckets and use `hodges_lehmann_counts`")
    differences = np.sort(np.subtract.outer(slow, base), axis=None)
    return _median_of(differences, np.ones(len(differences)), len(slow), len(base), alpha)


def hodges_lehmann_counts(candidate: Counts, baseline: Counts, midpoints: Values, alpha: float = 0.05) -> Estimate:
    """Hodges-Lehmann shift when only bucket counts are known: every value counts as its bucket's midpoint.

    ``midpoints`` holds one value per bucket, the +Inf bucket included, in the unit of the result.  As coarse as the
    buckets are.  Raises `InvalidSample` for bad counts or midpoints that do not increase.
    """
    slow, base = checked_counts(candidate, "candidate"), checked_counts(baseline, "baseline")
    same_buckets(slow, base)
    middle = checked_sample(midpoints, "midpoints")
    if len(middle) != len(slow) or np.any(np.diff(middle) <= 0):
        raise InvalidSample("`midpoints` must hold one increasing value per bucket")
    differences = np.subtract.outer(middle, middle).ravel()
    weights = np.multiply.outer(slow, base).ravel()
    order = np.argsort(differences, kind="stable")
    return _median_of(differences[order], weights[order], float(slow.sum()), float(base.sum()), alpha)


def shift_on_grid(candidate: Counts, baseline: Counts, step: float, alpha: float = 0.05) -> Estimate:
    """Hodges-Lehmann shift of counts on an even grid, in the unit of ``step``, by one convolution.

    With a grid of log latencies the result's exponential is the *time factor* candidate / baseline.  Exact up to the
    grid: fine for grids of tens of thousands of cells and any number of requests.
    """
    slow, base = checked_counts(candidate, "candidate"), checked_counts(baseline, "baseline")
    same_buckets(slow, base)
    pairs = _cross_correlation(slow, base)
    differences = step * np.arange(-(len(base) - 1), len(slow), dtype=np.float64)
    return _median_of(differences, pairs, float(slow.sum()), float(base.sum()), alpha)


def odds_ratio(
    bad_candidate: int, requests_candidate: int, bad_baseline: int, requests_baseline: int, alpha: float = 0.05
) -> Estimate:
    """Odds ratio of failing, candidate / baseline, one half added to each cell (Haldane-Anscombe), Woolf's interval.

    Raises `InvalidSample` for impossible counts.
    """
    checked_failures(bad_candidate, requests_candidate, "candidate")
    checked_failures(bad_baseline, requests_baseline, "baseline")
    cells = np.array(
        [bad_candidate, requests_candidate - bad_candidate, bad_baseline, requests_baseline - bad_baseline]
    )
    a, b, c, d = cells + 0.5
    log_ratio = math.log(a * d / (b * c))
    reach = _quantile(alpha) * math.sqrt(1 / a + 1 / b + 1 / c + 1 / d)
    return Estimate(math.exp(log_ratio), math.exp(log_ratio - reach), math.exp(log_ratio + reach))


def _quantile(alpha: float) -> float:
    """The two-sided standard normal critical value."""
    return -float(ndtri(checked_share(alpha, "alpha") / 2))


def _cross_correlation(slow: NDArray[np.float64], base: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weight of every difference i - j; by Fourier transform, tiny negative noise removed."""
    length = len(slow) + len(base) - 1
    size = 1 << (length - 1).bit_length()
    product = np.fft.rfft(slow, size) * np.fft.rfft(base[::-1], size)
    weights: NDArray[np.float64] = np.fft.irfft(product, size)[:length]
    weights[weights < 1e-9 * max(float(slow.sum() * base.sum()), 1.0) * 1e-6] = 0.0
    return weights


def _median_of(
    differences: NDArray[np.float64], weights: NDArray[np.float64], m: float, n: float, alpha: float
) -> Estimate:
    """Median and interval of weighted, sorted pairwise differences of samples of sizes m and n."""
    reached = np.cumsum(weights)
    pairs = float(reached[-1])
    reach = _quantile(alpha) * math.sqrt(m * n * (m + n + 1) / 12)

    def order_statistic(rank: float) -> float:
        return float(differences[min(int(np.searchsorted(reached, rank)), len(differences) - 1)])

    middle = (order_statistic(pairs / 2 * (1 - 1e-12)) + order_statistic(pairs / 2 * (1 + 1e-12))) / 2
    low, high = pairs / 2 - reach, pairs / 2 + reach
    lower = order_statistic(low) if low >= 1 else -math.inf
    upper = order_statistic(high) if pairs - high >= 1 else math.inf
    return Estimate(middle, lower, upper)


def rate_ratio(
    bad_candidate: int, requests_candidate: int, bad_baseline: int, requests_baseline: int, alpha: float = 0.05
) -> Estimate:
    """Ratio of the shares of failed requests, candidate / baseline, with its exact 1 - alpha interval.

    Given the total number of failures the candidate's are binomial; its Clopper-Pearson interval is turned into one
    for the ratio.  Exact for rare failures, conservative otherwise.  Without any failure the ratio is unknown (NaN)
    and its interval has no ends: 0 to infinity.  Raises `InvalidSample` for impossible counts or an empty arm.
    """
    checked_failures(bad_candidate, requests_candidate, "candidate")
    checked_failures(bad_baseline, requests_baseline, "baseline")
    if requests_candidate == 0 or requests_baseline == 0:
        raise InvalidSample("both arms must have at least one request")
    tail = checked_share(alpha, "alpha") / 2
    total, scale = bad_candidate + bad_baseline, requests_baseline / requests_candidate
    if total == 0:
        return Estimate(math.nan, 0.0, math.inf)
    low = float(betaincinv(bad_candidate, bad_baseline + 1, tail)) if bad_candidate else 0.0
    high = float(betaincinv(bad_candidate + 1, bad_baseline, 1 - tail)) if bad_baseline else 1.0
    value = bad_candidate / bad_baseline * scale if bad_baseline else math.inf
    return Estimate(value, low / (1 - low) * scale, high / (1 - high) * scale if high < 1 else math.inf)
