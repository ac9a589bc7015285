"""Which regressions the abort evidence looks for.

Every alternative is a bet of its own and all have equal weight: an average of e-values is an e-value, so looking
for many kinds of regression costs a little speed and no validity (design notes ``statistics.md`` sections 4 and 5,
far tails: ``statistics-2.md`` section 1, row 3).
"""

from __future__ import annotations

import numpy as np

from .evalues import Floats

EXCESS = np.array([1.35, 1.7, 2.5, 4.0, 8.0, 20.0, 60.0, 300.0])
"""Error ratios candidate / baseline, as multiples of the tolerated one."""

SHIFTS = np.array([0.25, 0.5, 1.0, 2.0, 4.0])
"""Everything is slower: exp(x rank), Wilcoxon's scores."""

STRETCHES = np.array([0.15, 0.3, 0.6])
"""The slower, the more so: (share above)^-x, Savage's scores."""

TAILS = np.array([(0.05, 2.0), (0.02, 3.0), (0.02, 8.0), (0.005, 4.0), (0.005, 12.0), (0.0005, 8.0), (0.0005, 60.0)])
"""Only the slowest share x is more frequent, by the factor w."""

LATENCY_ALTERNATIVES = len(SHIFTS) + len(STRETCHES) + len(TAILS)


def error_ratios(tolerance: float) -> Floats:
    """The alternative error ratios for a tolerated ratio."""
    return EXCESS * tolerance


def slow_likelihood_ratios(shape: Floats) -> Floats:
    """Likelihood ratios ``(alternatives, buckets)`` of slower laws against ``shape``, increasing along the buckets.

    ``shape`` is the law of the aged baseline over the buckets.  They depend on ranks only: for each bucket the
    share of requests below its middle.
    """
    rank = np.cumsum(shape) - shape / 2.0
    above = np.clip(1.0 - rank, 1e-6, 1.0)
    shifts = np.exp(SHIFTS[:, None] * rank)
    stretches = above ** -STRETCHES[:, None]
    tails = np.where(above < TAILS[:, :1], TAILS[:, 1:], 1.0)
    return np.concatenate([shifts, stretches, tails])
