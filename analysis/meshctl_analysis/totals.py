"""What both arms did in the run so far, for people: counts, percentiles, how much slower.

Nothing here decides.  Percentiles and means are read from histograms, log-uniform inside a bucket: estimates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .counts import BASELINE, CANDIDATE, LATENCY
from .evalues import Counts, Floats

FEWEST = 20
"""Latencies of the candidate below which no time factor is given."""


@dataclass(frozen=True, slots=True)
class ArmTotals:
    """Requests of one arm, the bad ones among them, and the latency of the good ones (``None``: not measured)."""

    requests: int = 0
    bad: int = 0
    mean_ms: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Totals:
    """``counts`` of both arms, shape ``(2, 2 + buckets)``.  ``matched`` is the baseline's latency weighted block by
    block by the candidate's share of latencies: what the candidate would have shown, were it the baseline."""

    counts: Counts
    matched: Floats


def no_totals(buckets: int) -> Totals:
    """Before the first block."""
    return Totals(np.zeros((2, 2 + buckets), np.int64), np.zeros(buckets))


def added(totals: Totals, counts: Counts) -> Totals:
    """``totals`` and one more block of both arms."""
    baseline, candidate = counts[:, LATENCY:]
    answered = int(baseline.sum())
    matched = totals.matched + baseline * (int(candidate.sum()) / answered) if answered else totals.matched
    return Totals(totals.counts + counts, matched)


def quantile_ms(latencies: Counts | Floats, bounds_ms: tuple[float, ...], share: float) -> float | None:
    """Latency not exceeded by ``share`` of the counts, the last bound where +Inf is reached; ``None``: no counts."""
    cumulative = np.cumsum(latencies)
    total = float(cumulative[-1]) if len(cumulative) else 0.0
    if total <= 0:
        return None
    bucket = int(np.searchsorted(cumulative, share * total))
    if bucket >= len(bounds_ms):
        return bounds_ms[-1]
    below = float(cumulative[bucket - 1]) if bucket else 0.0
    inside = (share * total - below) / float(latencies[bucket])
    if bucket == 0:
        return bounds_ms[0] * inside
    return float(bounds_ms[bucket - 1] * (bounds_ms[bucket] / bounds_ms[bucket - 1]) ** inside)


@lru_cache(maxsize=64)
def _middles_ms(bounds_ms: tuple[float, ...]) -> Floats:
    """Mean latency of every bucket."""
    upper, lower = np.array(bounds_ms[1:]), np.array(bounds_ms[:-1])
    return np.array([bounds_ms[0] / 2.0, *((upper - lower) / np.log(upper / lower)), bounds_ms[-1]])


@lru_cache(maxsize=64)
def _middle_logs(bounds_ms: tuple[float, ...]) -> Floats:
    """Mean logarithm of the latency of every bucket."""
    edges = np.log([bounds_ms[0] / 2.0, *bounds_ms, bounds_ms[-1] * 2.0])
    return np.asarray((edges[1:] + edges[:-1]) / 2.0)


def _mean(latencies: Counts | Floats, values: Floats) -> float:
    return float(np.einsum("j,j->", latencies, values) / latencies.sum())


def time_factor(totals: Totals, bounds_ms: tuple[float, ...]) -> float | None:
    """Estimate of how many times longer the candidate takes: ratio of geometric means, like with like.

    ``None`` below 20 latencies of the candidate.  No interval: a constant factor is only one way to be slower.
    """
    candidate = totals.counts[CANDIDATE, LATENCY:]
    if int(candidate.sum()) < FEWEST or totals.matched.sum() <= 0:
        return None
    logs = _middle_logs(bounds_ms)
    return math.exp(_mean(candidate, logs) - _mean(totals.matched, logs))


def arm_totals(totals: Totals, arm: int, bounds_ms: tuple[float, ...]) -> ArmTotals:
    """Totals of ``counts.BASELINE`` or ``counts.CANDIDATE`` in readable numbers."""
    if arm not in (BASELINE, CANDIDATE):
        raise ValueError(f"`arm` must be {BASELINE} or {CANDIDATE}, got {arm!r}")
    requests, bad = totals.counts[arm, :LATENCY]
    if not bounds_ms:
        return ArmTotals(int(requests), int(bad))
    latencies = totals.counts[arm, LATENCY:]
    return ArmTotals(
        int(requests),
        int(bad),
        _mean(latencies, _middles_ms(bounds_ms)) if latencies.any() else None,
        quantile_ms(latencies, bounds_ms, 0.5),
        quantile_ms(latencies, bounds_ms, 0.99),
    )
