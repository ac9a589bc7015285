"""The abort evidence: is the candidate worse than tolerated?  One e-process for the whole run.

``E = sum over metrics of weight x mean over alternatives of M + capital not yet invested``.  It is carried through all
stages and never reset; the candidate is taken back at ``E >= 1 / (0.8 alpha)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .ageing import aged, ageing_kernel
from .alternatives import LATENCY_ALTERNATIVES, error_ratios, slow_likelihood_ratios
from .capital import ABORT
from .counts import BAD, BASELINE, CANDIDATE, LATENCY, REQUESTS
from .dispersion import assumed
from .evalues import Counts, Floats, error_ratio, slower, wager
from .known import Known
from .policy import Policy


@dataclass(frozen=True, slots=True, eq=False)
class AbortEvidence:
    """Wealth per alternative, of errors and of latency (empty: latency is not measured), and invested capital."""

    errors: Floats
    latency: Floats
    invested: float = 0.0

    def of_metrics(self) -> dict[str, tuple[float, float]]:
        """Per metric its weight in ``E`` and its own e-value (a factor)."""
        metrics = {"errors": self.errors} | ({"latency": self.latency} if len(self.latency) else {})
        waiting = 1.0 - self.invested
        return {name: (1.0 / len(metrics), float(wealth.mean()) + waiting) for name, wealth in metrics.items()}

    @property
    def evidence(self) -> float:
        """``E``, a factor: 1 says nothing."""
        return math.fsum(weight * value for weight, value in self.of_metrics().values())


def no_evidence(buckets: int) -> AbortEvidence:
    """Before the first block."""
    ratios = error_ratios(1.0)
    return AbortEvidence(np.zeros(len(ratios)), np.zeros(LATENCY_ALTERNATIVES if buckets else 0))


def errors_dispersion(policy: Policy, measured: float, counts: Counts, seconds: float) -> float:
    """Phi of the error bets of a block.  The information is that of the block's own total, which is given in E1."""
    candidate, baseline = float(counts[CANDIDATE, REQUESTS]), float(counts[BASELINE, REQUESTS])
    share = candidate / max(candidate + baseline, 1.0)
    information = float(counts[:, BAD].sum()) * share * (1.0 - share)
    return max(measured, float(assumed(policy.noise_errors, information, seconds)))


def with_bets(
    abort: AbortEvidence,
    policy: Policy,
    known: Known,
    bounds_ms: tuple[float, ...],
    counts: Counts,
    new_stage: bool,
    seconds: float,
    dispersions: tuple[float, float],
    betting: tuple[bool, bool],
) -> AbortEvidence:
    """``abort`` after one more block.

    ``counts`` are of both arms, shape ``(2, 2 + buckets)``; ``known`` and ``dispersions`` (errors, latency) come from
    earlier blocks.  ``betting`` says whether errors, and latency, are bet on; resting capital stays.
    """
    capital = ABORT.tranche(abort.invested, new_stage, seconds)
    errors, latency = np.zeros(len(abort.errors)), np.zeros(len(abort.latency))
    phi_errors, phi_latency = dispersions
    if betting[0]:
        tolerance = policy.errors.tolerance
        (baseline, bad_baseline), (candidate, bad_candidate) = counts[:, :LATENCY].astype(float)
        errors = error_ratio(bad_candidate, candidate, bad_baseline, baseline, tolerance, error_ratios(tolerance))
    if betting[1] and len(latency):
        latency = _latency_bets(policy, known.shape, bounds_ms, counts)
    return AbortEvidence(
        wager(abort.errors, capital, errors, phi_errors),
        wager(abort.latency, capital, latency, phi_latency),
        abort.invested + capital,
    )


def _latency_bets(policy: Policy, shape: Floats, bounds_ms: tuple[float, ...], counts: Counts) -> Floats:
    kernel = ageing_kernel(bounds_ms, policy.latency.tolerance)
    slowed = aged(shape, kernel)
    latencies = counts[:, LATENCY:].astype(float)
    baseline = aged(latencies[BASELINE], kernel)
    return slower(latencies[CANDIDATE], baseline, slowed, slow_likelihood_ratios(slowed))
