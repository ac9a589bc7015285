"""Log e-values of one block: the four formulas that all verdicts of the sequential judge stand on.

An e-value ``S >= 0`` of a block has expectation at most 1 under every law of its null hypothesis.  The product over
blocks then exceeds ``1 / alpha`` *ever* with probability at most ``alpha`` (Ville's inequality), so it may be looked
at after every block.  Each function returns ``ln S``.  Projections onto a null follow Turner, Ly and Grünwald,
*Generic E-variables for exact sequential k-sample tests* (2024); names E1, G1, G2, L1 are those of the design notes
(``statistics.md`` sections 4 to 6).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

TINY = 1e-15
ALMOST_ONE = 1.0 - 1e-12
WEALTH_MAX = 1e30
_LOG_LOWEST, _LOG_HIGHEST = -700.0, 60.0


def error_ratio(
    bad_candidate: float, candidate: float, bad_baseline: float, baseline: float, tolerance: float, ratios: Floats
) -> Floats:
    """E1: candidate's error rate above ``tolerance`` times the baseline's, for each alternative ratio.

    Binomial likelihood ratio of the candidate's bad requests given the total of both arms.  Whatever moves both arms
    alike cancels.  ``candidate`` and ``baseline`` are requests; ``ratios`` are alternatives, each above
    ``tolerance``.  Exact for rare errors at any tolerance, and at any error rate for tolerance 1.
    """
    if candidate <= 0 or baseline <= 0:
        return np.zeros(len(ratios))
    total = bad_candidate + bad_baseline
    null, alternative = np.log(tolerance * candidate + baseline), np.log(ratios * candidate + baseline)
    return np.asarray(bad_candidate * np.log(ratios / tolerance) + total * (null - alternative))


def error_margin_projection(
    candidate: float, baseline: float, margin: float, harm: float, rate_candidate: Floats, rate_baseline: Floats
) -> tuple[Floats, Floats]:
    """The point of the null ``rate_C >= margin rate_B + harm`` nearest to the alternative, as (rate_B, rate_C).

    Root of a quadratic equation: minimum of the Poisson divergence on the border of the null.
    """
    a, b = margin, harm
    square = a * a * candidate + a * baseline
    linear = candidate * a * (b - rate_candidate) + baseline * (b - a * rate_baseline)
    constant = -baseline * rate_baseline * b
    root = np.sqrt(np.maximum(linear * linear - 4.0 * square * constant, 0.0))
    # The stable one of the two equal forms of the positive root.
    positive = linear > 0
    denominator = np.where(positive, linear + root, 1.0)
    rate = np.where(positive, -2.0 * constant / denominator, (root - linear) / (2.0 * square))
    rate = np.maximum(rate, TINY)
    return rate, a * rate + b


def error_margin(
    bad_candidate: float,
    candidate: float,
    bad_baseline: float,
    baseline: float,
    margin: float,
    harm: float,
    rate_candidate: Floats,
    rate_baseline: Floats,
) -> Floats:
    """G1: the candidate's error rate is *inside* ``margin`` times the baseline's plus ``harm``.

    Poisson likelihood ratio of the alternatives (``rate_candidate``, ``rate_baseline``; same shape, known before the
    block) against the nearest point of the null ``rate_C >= margin rate_B + harm``.
    """
    if candidate + baseline <= 0:
        return np.zeros(len(rate_candidate))
    null_baseline, null_candidate = error_margin_projection(
        candidate, baseline, margin, harm, rate_candidate, rate_baseline
    )
    of_candidate = bad_candidate * np.log(rate_candidate / null_candidate) - candidate * (
        rate_candidate - null_candidate
    )
    of_baseline = bad_baseline * np.log(rate_baseline / null_baseline) - baseline * (rate_baseline - null_baseline)
    return np.asarray(of_candidate + of_baseline)


def tail_margin_projection(
    candidate: float, baseline: float, margin: float, harm: float, tail: Floats
) -> tuple[Floats, Floats]:
    """The point of ``share_C >= margin share_B + harm`` nearest to equal shares ``tail``, as (share_B, share_C).

    The minimum of the Bernoulli divergence on the border solves a cubic equation with one root in
    ``(0, min(tail, (1 - harm) / margin))``; Newton's steps inside a shrinking bracket find it to full precision.
    """
    a, b = margin, harm
    highest = np.minimum(tail, (1.0 - b) / a)
    weight_c, weight_b = candidate / (candidate + baseline), baseline / (candidate + baseline)
    cubic = -a * a
    square = weight_c * a * (a - b + tail) + weight_b * (a * (1.0 - 2.0 * b) + tail * a * a)
    linear = weight_c * a * (b - tail) + weight_b * (b * (1.0 - b) - tail * a * (1.0 - 2.0 * b))
    constant = -weight_b * tail * b * (1.0 - b)
    lower, upper, share = np.zeros_like(tail), highest, highest
    for _ in range(100):
        value = ((cubic * share + square) * share + linear) * share + constant
        slope = (3.0 * cubic * share + 2.0 * square) * share + linear
        step = value / np.where(slope == 0, 1.0, slope)
        below, settled = value < 0, np.abs(step) <= 1e-9 * share
        lower, upper = np.where(below, share, lower), np.where(below, upper, share)
        following = share - step
        newton = settled | ((following > lower) & (following < upper))
        share = np.where(newton, following, 0.5 * (lower + upper))
        if settled.all():
            break
    share = np.maximum(share, TINY)
    return share, np.minimum(a * share + b, ALMOST_ONE)


def tail_margin(
    slow_candidate: Floats,
    candidate: float,
    slow_baseline: Floats,
    baseline: float,
    margin: float,
    harm: float,
    tail: Floats,
) -> Floats:
    """G2: at each bound the candidate's share of slow requests is *inside* ``margin`` x the baseline's plus ``harm``.

    ``slow_*`` count the requests above each bound, ``tail`` is the share expected of both arms (known before the
    block); all of shape ``(bounds,)``.  Bernoulli likelihood ratio against the nearest point of the null.
    """
    if candidate + baseline <= 0 or not len(tail):
        return np.zeros(len(tail))
    null_baseline, null_candidate = tail_margin_projection(candidate, baseline, margin, harm, tail)
    of_candidate = slow_candidate * np.log(tail / null_candidate) + (candidate - slow_candidate) * (
        np.log1p(-tail) - np.log1p(-null_candidate)
    )
    of_baseline = slow_baseline * np.log(tail / null_baseline) + (baseline - slow_baseline) * (
        np.log1p(-tail) - np.log1p(-null_baseline)
    )
    return np.asarray(of_candidate + of_baseline)


def slower(candidate: Floats, baseline: Floats, shape: Floats, likelihood_ratios: Floats) -> Floats:
    """L1: the candidate's latencies are stochastically larger than ``baseline``'s, one value per alternative.

    ``candidate`` and ``baseline`` (already aged; fractions are fine) are counts per bucket, ``shape`` the expected
    law of the aged baseline (positive, sums to 1, known before the block), ``likelihood_ratios`` of shape
    ``(alternatives, buckets)`` increase along the buckets.  A rank test on counts: heavy tails and ties are nothing
    special.
    """
    total_candidate, total_baseline = candidate.sum(), baseline.sum()
    total = total_candidate + total_baseline
    if total <= 0:
        return np.zeros(len(likelihood_ratios))
    alternative = likelihood_ratios * shape
    alternative /= alternative.sum(axis=1, keepdims=True)
    mixed = np.log((total_candidate * alternative + total_baseline * shape) / total)
    evidence = np.einsum("j,aj->a", candidate, np.log(alternative)) - np.einsum("j,aj->a", candidate + baseline, mixed)
    return np.asarray(evidence + np.einsum("j,j->", baseline, np.log(shape)))


def wager(wealth: Floats, capital: float, log_evidence: Floats, dispersion: float | Floats = 1.0) -> Floats:
    """Wealth after a block in which ``capital`` was added and all of it was bet: ``S^(1/phi) (M + capital)``.

    ``dispersion`` phi >= 1 tempers the evidence: by Jensen's inequality ``S^(1/phi)`` is an e-value too, only a
    slower one.  Logarithms are clipped to [-700, 60] and wealth to 1e30.
    """
    tempered = np.clip(log_evidence / dispersion, _LOG_LOWEST, _LOG_HIGHEST)
    return np.minimum(np.exp(tempered) * (wealth + capital), WEALTH_MAX)
