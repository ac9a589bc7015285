"""Failed requests of two arms: Fisher, its binomial approximation, Barnard, Boschloo, and a report by Bayes.

One-sided throughout: small p-values say that the candidate fails more often.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaincc, betaln, gammaln

from .checks import InvalidSample, checked_failures

SMALL_TABLE = 200
"""Requests of both arms up to which the unconditional exact tests are worth their time."""


def binomial_test(
    bad_candidate: float, requests_candidate: float, bad_baseline: float, requests_baseline: float, ratio: float = 1.0
) -> float:
    """P-value of "the candidate fails at most ``ratio`` times as often", given the number of failures of both.

    Given their total K, the candidate's failures are binomial with share ``a nC / (a nC + nB)``, a = ``ratio``.  For
    a = 1 that is Fisher's test for rare failures, and conservative for any rate (drawing without replacement is
    less spread than binomial: Hoeffding 1963).  Counts may be fractions (incomplete beta function).
    Raises `InvalidSample` for impossible counts or a ratio that is not positive.
    """
    if not ratio > 0:
        raise InvalidSample(f"`ratio` must be positive, found {ratio}")
    for bad, requests, name in (
        (bad_candidate, requests_candidate, "candidate"),
        (bad_baseline, requests_baseline, "baseline"),
    ):
        if not 0 <= bad <= requests:
            raise InvalidSample(f"`{name}` must have 0 <= bad <= requests, found {bad} bad of {requests}")
    if requests_candidate == 0 or requests_baseline == 0:
        return 1.0
    share = ratio * requests_candidate / (ratio * requests_candidate + requests_baseline)
    return float(binomial_upper_tail(np.array([bad_candidate]), np.array([bad_candidate + bad_baseline]), share)[0])


def binomial_upper_tail(count: NDArray[np.float64], total: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """P(X >= count) for X binomial(total, share), elementwise; real arguments by the incomplete beta function."""
    known = count > 0
    tail: NDArray[np.float64] = np.ones(np.shape(count))
    tail[known] = betainc(count[known], total[known] - count[known] + 1, share)
    return tail


def fisher_exact(bad_candidate: int, requests_candidate: int, bad_baseline: int, requests_baseline: int) -> float:
    """One-sided p-value of Fisher's exact test: the hypergeometric upper tail.

    Raises `InvalidSample` unless 0 <= bad <= requests in both arms.  Source: Fisher 1935.
    """
    checked_failures(bad_candidate, requests_candidate, "candidate")
    checked_failures(bad_baseline, requests_baseline, "baseline")
    total = bad_candidate + bad_baseline
    counts = _counts_that_matter(bad_candidate, requests_candidate, total, requests_candidate + requests_baseline)
    log_probability = (
        _log_choose(requests_candidate, counts)
        + _log_choose(requests_baseline, total - counts)
        - _log_choose(requests_candidate + requests_baseline, np.float64(total))
    )
    return min(1.0, float(np.exp(log_probability).sum()))


def barnard_exact(bad_candidate: int, requests_candidate: int, bad_baseline: int, requests_baseline: int) -> float:
    """One-sided p-value of Barnard's unconditional exact test (pooled Wald statistic), for small tables.

    Raises `InvalidSample` for impossible counts or more than `SMALL_TABLE` requests.  Source: Barnard 1945.
    """
    table = _small_table(bad_candidate, requests_candidate, bad_baseline, requests_baseline)
    from scipy.stats import barnard_exact as barnard

    return float(barnard(table, alternative="greater").pvalue)


def boschloo_exact(bad_candidate: int, requests_candidate: int, bad_baseline: int, requests_baseline: int) -> float:
    """One-sided p-value of Boschloo's unconditional exact test, for small tables.

    Uniformly more powerful than Fisher's.  Raises `InvalidSample` for impossible counts or more than `SMALL_TABLE`
    requests.  Source: Boschloo 1970.
    """
    table = _small_table(bad_candidate, requests_candidate, bad_baseline, requests_baseline)
    from scipy.stats import boschloo_exact as boschloo

    return float(boschloo(table, alternative="greater").pvalue)


def probability_worse(bad_candidate: int, requests_candidate: int, bad_baseline: int, requests_baseline: int) -> float:
    """P(pC > pB) under independent uniform priors: Beta(k + 1, n - k + 1) posteriors.  A report figure only.

    Stopping when it exceeds .99 is *not* a test at 1 %: looked at after every scrape it raised up to 21 % false
    alarms on clean data.  Raises `InvalidSample` for impossible counts.
    """
    checked_failures(bad_candidate, requests_candidate, "candidate")
    checked_failures(bad_baseline, requests_baseline, "baseline")
    a, b = bad_candidate + 1.0, requests_candidate - bad_candidate + 1.0
    c, d = bad_baseline + 1.0, requests_baseline - bad_baseline + 1.0
    # Integrate P(pC > x) over the baseline's posterior, on a grid that follows that posterior's bulk.
    middle = c / (c + d)
    width = 12 * math.sqrt(middle * (1 - middle) / (c + d + 1))
    low, high = max(0.0, middle - width), min(1.0, middle + width)
    x = low + (high - low) * (np.arange(4000) + 0.5) / 4000
    mass = np.exp((c - 1) * np.log(x) + (d - 1) * np.log1p(-x) - betaln(c, d))
    return float(np.clip((mass * betaincc(a, b, x)).sum() / mass.sum(), 0.0, 1.0))


def _counts_that_matter(start: int, candidate: int, total: int, requests: int) -> NDArray[np.float64]:
    """The candidate's failures from ``start`` on, without those further than 40 standard deviations from the mean."""
    share = candidate / max(requests, 1)
    mean, reach = total * share, 40 * math.sqrt(total * share * (1 - share)) + 1000
    first = max(start, math.floor(mean - reach))
    last = min(total, candidate, max(math.ceil(mean), first) + math.ceil(reach))
    return np.arange(first, last + 1, dtype=np.float64)


def _log_choose(n: int, k: NDArray[np.float64] | np.float64) -> NDArray[np.float64]:
    chosen: NDArray[np.float64] = gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0)
    return chosen


def _small_table(
    bad_candidate: int, requests_candidate: int, bad_baseline: int, requests_baseline: int
) -> list[list[int]]:
    """Columns are the arms, rows failed and answered: what scipy's unconditional tests expect."""
    checked_failures(bad_candidate, requests_candidate, "candidate")
    checked_failures(bad_baseline, requests_baseline, "baseline")
    if requests_candidate + requests_baseline > SMALL_TABLE:
        raise InvalidSample(f"unconditional exact tests are for at most {SMALL_TABLE} requests")
    return [
        [bad_candidate, bad_baseline],
        [requests_candidate - bad_candidate, requests_baseline - bad_baseline],
    ]
