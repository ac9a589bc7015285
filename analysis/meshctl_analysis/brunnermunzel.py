"""Brunner-Munzel: the rank test for arms whose spreads differ.

Mann-Whitney's p-value assumes equal laws under the null; when the candidate is as fast but more (or less) spread,
this one keeps its level.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from .checks import Counts, InvalidSample, checked_counts, checked_sample, same_buckets
from .mannwhitney import RankTest, Values


def brunner_munzel(candidate: Values, baseline: Values, *, two_sided: bool = False) -> RankTest:
    """Brunner-Munzel test on raw samples; one-sided "the candidate is slower" unless ``two_sided``.

    ``z`` of the result is the statistic (t-distributed, Satterthwaite's degrees of freedom), ``u`` and ``auc`` are as
    in `mann_whitney`.  When the arms do not overlap the variance is zero: p is then 0 or 1.

    Raises `InvalidSample` for a sample with fewer than two values or with a value that is not finite.
    Source: Brunner & Munzel, *The nonparametric Behrens-Fisher problem*, Biometrical Journal 42 (2000).
    """
    slow, base = checked_sample(candidate, "candidate"), checked_sample(baseline, "baseline")
    values, place = np.unique(np.concatenate([slow, base]), return_inverse=True)
    counted = [
        np.bincount(part, minlength=len(values)).astype(np.float64) for part in (place[: len(slow)], place[len(slow) :])
    ]
    return brunner_munzel_counts(counted[0], counted[1], two_sided=two_sided)


def brunner_munzel_counts(candidate: Counts, baseline: Counts, *, two_sided: bool = False) -> RankTest:
    """The same test on counts per ordered value or bucket, the same in both; a bucket's values are ties."""
    slow, base = checked_counts(candidate, "candidate"), checked_counts(baseline, "baseline")
    same_buckets(slow, base)
    m, n = float(slow.sum()), float(base.sum())
    if min(m, n) < 2:
        raise InvalidSample("`candidate` and `baseline` must each hold at least two values")
    joint = _mid_ranks(slow + base)
    auc = (float(slow @ joint) / m - (m + 1) / 2) / n
    part_slow = _variance(joint - _mid_ranks(slow), slow) / (n * n * m)
    part_base = _variance(joint - _mid_ranks(base), base) / (m * m * n)
    distance = auc - 0.5
    variance = part_slow + part_base
    if variance <= 0:
        upper = 0.5 if distance == 0 else float(distance < 0)
        statistic = 0.0 if distance == 0 else math.copysign(math.inf, distance)
    else:
        statistic = distance / math.sqrt(variance)
        freedom = variance**2 / (part_slow**2 / (m - 1) + part_base**2 / (n - 1))
        upper = float(stdtr(freedom, -statistic))
    p_value = 2 * min(upper, 1 - upper) if two_sided else upper
    return RankTest(auc * m * n, auc, statistic, p_value)


def _mid_ranks(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank of each value, from 1; ties get the mean of their places."""
    ranks: NDArray[np.float64] = np.cumsum(counts) - (counts - 1) / 2
    return ranks


def _variance(values: NDArray[np.float64], counts: NDArray[np.float64]) -> float:
    """Sample variance of ``values``, each taken ``counts`` times."""
    total = float(counts.sum())
    mean = float(counts @ values) / total
    return float(counts @ (values - mean) ** 2) / (total - 1)
