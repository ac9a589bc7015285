"""Proof of "not worse than the margin" for shares: the fixed-sample counterpart of the sequential gates.

H: the candidate's share of bad (or slow) requests is at least ``a`` times the baseline's plus ``b``.  A small p-value
refutes that, hence *proves* the candidate inside its margin.  A large one proves nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from .checks import InvalidSample

Array = NDArray[np.float64]
BISECTIONS = 60


def noninferiority_test(
    bad_candidate: Array | float,
    requests_candidate: float,
    bad_baseline: Array | float,
    requests_baseline: float,
    ratio: float,
    harm: float,
) -> Array:
    """P-values of H: pC >= ratio pB + harm against "inside the margin", elementwise over the counts.

    A score test: distance from the margin over its standard error at the null's most likely point, found by
    bisection (design notes ``statistics.md`` section 6), with half a request of the coarser arm as continuity
    correction against the candidate.  Approximate: by enumeration over tables of 30 to 10,000 requests its error at
    the margin is at most beta for beta >= .05, and far below it where few bad requests are to be expected.
    No requests in one arm, or a margin of a share of one or more, prove nothing: p = 1.

    Raises `InvalidSample` unless ratio > 0, harm >= 0 and 0 <= bad <= requests.
    Source: Farrington & Manning, Statistics in Medicine 9 (1990), with a ratio and a difference at once.
    """
    if not ratio > 0 or not harm >= 0:
        raise InvalidSample(f"`ratio` must be positive and `harm` not negative, found {ratio} and {harm}")
    slow, base = np.atleast_1d(np.asarray(bad_candidate, float)), np.atleast_1d(np.asarray(bad_baseline, float))
    if np.any((slow < 0) | (slow > requests_candidate)) or np.any((base < 0) | (base > requests_baseline)):
        raise InvalidSample("0 <= bad <= requests must hold in both arms")
    if requests_candidate == 0 or requests_baseline == 0 or harm >= 1:
        return np.ones(np.broadcast(slow, base).shape)
    share_slow, share_base = slow / requests_candidate, base / requests_baseline
    null_base = _nearest_null_share(share_slow, requests_candidate, share_base, requests_baseline, ratio, harm)
    null_slow = np.minimum(ratio * null_base + harm, 1 - 1e-12)
    variance = null_slow * (1 - null_slow) / requests_candidate
    variance = variance + ratio**2 * null_base * (1 - null_base) / requests_baseline
    correction = 0.5 * max(1 / requests_candidate, ratio / requests_baseline)
    distance = share_slow + correction - ratio * share_base - harm
    p_value: Array = ndtr(distance / np.sqrt(np.maximum(variance, 1e-300)))
    return p_value


def _nearest_null_share(
    share_slow: Array, requests_candidate: float, share_base: Array, requests_baseline: float, ratio: float, harm: float
) -> Array:
    """The baseline's share at the boundary point that explains the counts best (least Kullback-Leibler distance)."""
    low = np.full(np.broadcast(share_slow, share_base).shape, 1e-12)
    high = np.full(low.shape, max((1 - harm) / ratio - 1e-9, 2e-12))
    high = np.minimum(high, 1 - 1e-9)
    for _ in range(BISECTIONS):
        base = (low + high) / 2
        slow = np.minimum(ratio * base + harm, 1 - 1e-12)
        slope = requests_candidate * ratio * (slow - share_slow) / (slow * (1 - slow))
        slope = slope + requests_baseline * (base - share_base) / (base * (1 - base))
        low, high = np.where(slope < 0, base, low), np.where(slope < 0, high, base)
    middle: Array = (low + high) / 2
    return middle
