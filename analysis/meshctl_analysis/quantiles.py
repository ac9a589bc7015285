"""Quantiles with bands that hold for every sample size at once (Howard & Ramdas)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .checks import Counts, InvalidSample, checked_counts, checked_share
from .effects import Estimate

BAND_FROM = 100
"""Sample size m from which on the band holds."""


def band_half_width(n: int, m: int = BAND_FROM, alpha: float = 0.05) -> float:
    """Half width of the band around an empirical distribution function, valid for all n >= m simultaneously.

    ``sup |F_n - F| <= 0.85 sqrt((ln(1 + ln(n / m)) + 0.8 ln(1612 / alpha)) / n)`` with probability 1 - alpha.
    Raises `InvalidSample` unless 1 <= m <= n and 0 < alpha < 1.
    Source: Howard & Ramdas, *Sequential estimation of quantiles*, Bernoulli 2022, corollary 2.
    """
    checked_share(alpha, "alpha")
    if not 1 <= m <= n:
        raise InvalidSample(f"`m` must lie between 1 and `n`, found m = {m}, n = {n}")
    return 0.85 * math.sqrt((math.log1p(math.log(n / m)) + 0.8 * math.log(1612 / alpha)) / n)


def quantile_of_counts(counts: Counts, upper_edges: NDArray[np.float64], share: float) -> float:
    """Smallest upper edge below which at least ``share`` (0 to 1) of the counts lie; the edges' unit."""
    reached = np.cumsum(checked_counts(counts, "counts"))
    place = int(np.searchsorted(reached, share * reached[-1] * (1 - 1e-12)))
    return float(upper_edges[min(place, len(upper_edges) - 1)])


def quantile_band(counts: Counts, upper_edges: NDArray[np.float64], share: float, alpha: float = 0.05) -> Estimate:
    """A quantile with its anytime-valid interval, in the edges' unit; an end the sample cannot place is infinite.

    ``counts`` has one entry per bucket, ``upper_edges`` the buckets' upper ends.  Samples below `BAND_FROM` get an
    interval without ends.  Raises `InvalidSample` for bad counts or a share outside (0, 1).
    """
    checked_share(share, "share")
    value = quantile_of_counts(counts, upper_edges, share)
    n = int(checked_counts(counts, "counts").sum())
    if n < BAND_FROM:
        return Estimate(value, -math.inf, math.inf)
    half = band_half_width(n, BAND_FROM, alpha)
    lower = quantile_of_counts(counts, upper_edges, share - half) if share > half else -math.inf
    upper = quantile_of_counts(counts, upper_edges, share + half) if share + half < 1 else math.inf
    return Estimate(value, lower, upper)
