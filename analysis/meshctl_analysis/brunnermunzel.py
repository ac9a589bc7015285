"""Brunner-Munzel: the rank test for arms whose spreads differ.

Mann-Whitney's p-value assumes equal laws under the null; when the candidate is as fast but more (or less) spread,
this one keeps its level.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from .checks import InvalidSample, checked_sample
from .mannwhitney import RankTest, Values


def brunner_munzel(candidate: Values, baseline: Values, *, two_sided: bool = False) -> RankTest:
    """Brunner-Munzel test on raw samples; one-sided "the candidate is slower" unless ``two_sided``.

    ``z`` of the result is the statistic (t-distributed, Satterthwaite's degrees of freedom), ``u`` and ``auc`` are as
    in `mann_whitney`.  When the arms do not overlap the variance is zero: p is then 0 or 1.

    Raises `InvalidSample` for a sample with fewer than two values or with a value that is not finite.
    Source: Brunner & Munzel, *The nonparametric Behrens-Fisher problem*, Biometrical Journal 42 (2000).
    """
    slow, base = checked_sample(candidate, "candidate"), checked_sample(baseline, "baseline")
    m, n = len(slow), len(base)
    if min(m, n) < 2:
        raise InvalidSample("`candidate` and `baseline` must each hold at least two values")
    joint = _mid_ranks(np.concatenate([slow, base]))
    rank_slow, rank_base = joint[:m], joint[m:]
    auc = (float(rank_slow.mean()) - (m + 1) / 2) / n
    placed_slow = rank_slow - _mid_ranks(slow)
    placed_base = rank_base - _mid_ranks(base)
    part_slow = float(np.var(placed_slow, ddof=1)) / (n * n * m)
    part_base = float(np.var(placed_base, ddof=1)) / (m * m * n)
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


def _mid_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1, ties get the mean of their places."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    middle: NDArray[np.float64] = (last - (counts - 1) / 2)[place]
    return middle
