"""Wilcoxon-Mann-Whitney: do values of one arm tend to exceed those of the other?

One-sided throughout: small p-values say that the candidate is slower.  A fixed-sample test: look once, or share the
error probability between the looks (`spending`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from .checks import Counts, checked_counts, checked_sample, same_buckets

Values = Sequence[float] | NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RankTest:
    """Outcome of a rank test of candidate against baseline.

    ``u`` counts the pairs in which the candidate's value is the greater one, ties half.  ``auc`` is that as a share
    of all pairs, 0 to 1, one half for equal laws.  ``z`` is the standardised distance from one half after continuity
    correction, ``p_value`` its upper tail.
    """

    u: float
    auc: float
    z: float
    p_value: float


def mann_whitney_counts(candidate: Counts, baseline: Counts) -> RankTest:
    """One-sided Mann-Whitney test on bucket counts; all values of one bucket are ties.

    ``candidate`` and ``baseline`` hold one count per bucket, in increasing order of value, the same buckets in
    both; fractions are allowed (an aged baseline).  With H the sum of both and N its total:
    ``var = nC nB / 12 [(N + 1) - sum(H^3 - H) / (N (N - 1))]``, continuity correction one half.  Equal to
    ``scipy.stats.mannwhitneyu(..., alternative="greater", method="asymptotic")`` on the expanded samples.
    When every value is tied nothing can be said: p = 1.

    Raises `InvalidSample` for counts that are negative, not finite, empty, or of different length.
    Source: Mann & Whitney 1947; Hollander & Wolfe, *Nonparametric Statistical Methods*, section 4.1.
    """
    slow, base = checked_counts(candidate, "candidate"), checked_counts(baseline, "baseline")
    same_buckets(slow, base)
    size_candidate, size_baseline = float(slow.sum()), float(base.sum())
    below = np.concatenate([[0.0], np.cumsum(base)[:-1]])
    u = float(slow @ (below + base / 2))
    both = slow + base
    total = size_candidate + size_baseline
    pairs = size_candidate * size_baseline
    tied = float(np.sum(both**3 - both))
    variance = pairs / 12 * ((total + 1) - tied / (total * (total - 1))) if total > 1 else 0.0
    if variance <= 1e-9 * pairs:
        return RankTest(u, u / pairs, 0.0, 1.0)
    z = (u - pairs / 2 - 0.5) / math.sqrt(variance)
    return RankTest(u, u / pairs, z, float(ndtr(-z)))


def mann_whitney(candidate: Values, baseline: Values) -> RankTest:
    """One-sided Mann-Whitney test on raw samples (one value per request, any unit).

    Raises `InvalidSample` for a sample that is empty or holds a value that is not finite.
    """
    slow, base = checked_sample(candidate, "candidate"), checked_sample(baseline, "baseline")
    values, place = np.unique(np.concatenate([slow, base]), return_inverse=True)
    counts_candidate = np.bincount(place[: len(slow)], minlength=len(values))
    counts_baseline = np.bincount(place[len(slow) :], minlength=len(values))
    return mann_whitney_counts(counts_candidate, counts_baseline)
