"""How much worse: an interval for the ratio of error rates that is right at all times at once.

Keep ``L(theta) = sum [k_C ln theta - K ln(theta n_C + n_B)]`` on a grid of ratios.  The ratios theta whose likelihood
is not beaten by a prior-weighted average with a factor of ``1 / alpha`` form a confidence sequence: the true ratio is
inside it after *every* block with probability at least ``1 - alpha``, provided it is constant (design notes
``statistics.md`` section 4).
"""

from __future__ import annotations

import math

import numpy as np

from .dispersion import Singles

GRID = np.arange(-100, 141) * 0.05
"""Logarithms of the ratios, -5 to 7."""
RATIOS = np.exp(GRID)
_PRIOR = np.exp(-0.5 * (GRID / 1.5) ** 2)
_LOG_PRIOR = np.log(_PRIOR / _PRIOR.sum())


def no_likelihood() -> Singles:
    """Before the first block."""
    return np.zeros(len(GRID), np.float32)


def with_block(
    likelihood: Singles, bad_candidate: float, candidate: float, bad_baseline: float, baseline: float
) -> Singles:
    """Log likelihood of the grid after one more block; the largest value is 0.

    Single precision on purpose: it halves the stored state, and near the limits it errs by less than a millionth.
    """
    total = bad_candidate + bad_baseline
    if total == 0 or candidate <= 0 or baseline <= 0:
        return likelihood
    raised = likelihood.astype(np.float64) + bad_candidate * GRID - total * np.log(RATIOS * candidate + baseline)
    return np.asarray(raised - raised.max(), dtype=np.float32)


def ratio_interval(likelihood: Singles, alpha: float) -> tuple[float | None, float | None, float | None]:
    """Most likely ratio, lower and upper limit (grid points).  ``None``: no errors so far, or no limit on the grid."""
    if not likelihood.any():
        return None, None, None
    weighted = likelihood.astype(np.float64) + _LOG_PRIOR
    top = weighted.max()
    average = top + math.log(np.exp(weighted - top).sum())
    inside = np.flatnonzero(average - likelihood < -math.log(alpha))
    best, lower, upper = int(likelihood.argmax()), int(inside[0]), int(inside[-1])

    def limit(index: int) -> float | None:
        return None if index in (0, len(GRID) - 1) else float(RATIOS[index])

    return limit(best), limit(lower), limit(upper)
