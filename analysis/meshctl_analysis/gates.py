"""The gate of a stage: is the candidate shown to be no worse than the margin allows?

Evidence starts anew at every stage and must reach ``1 / beta`` for errors *and* at every informative latency bound.
The margin of a stage is ``harm / w'`` wide, w' being the share of all traffic that the next stage risks: small steps
need little proof, the last one needs all of it.  Latency is always compared with the warm baseline as users see it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .capital import gate_schedule
from .counts import BASELINE, CANDIDATE, LATENCY, events
from .dispersion import assumed
from .evalues import Counts, Floats, error_margin, tail_margin, wager
from .known import Known, informative_bounds
from .policy import Policy

RATES = np.array([1.0, 0.5])
RATE_WEIGHTS = np.array([0.8, 0.2])
"""Alternatives: the candidate's error rate is the expected one, or half of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Gate:
    """Evidence of one stage entry.

    ``errors`` is the wealth per alternative rate.  ``bounds`` are the indices of the latency bounds that must be
    passed, ``None`` until enough of the baseline is known to choose them; ``latency`` is the wealth at each.
    """

    errors: Floats
    errors_invested: float = 0.0
    bounds: Counts | None = None
    latency: Floats | None = None
    latency_invested: float = 0.0

    @property
    def errors_evidence(self) -> float:
        """Evidence (a factor) that errors are inside the margin."""
        return float(np.einsum("i,i->", self.errors, RATE_WEIGHTS))

    def weakest(self) -> float:
        """The least evidence of all parts; 0 while the latency bounds are not chosen."""
        if self.latency is None:
            return 0.0
        return float(min([self.errors_evidence, *self.latency.tolist()]))


def closed_gate(buckets: int) -> Gate:
    """At the entry of a stage.  Without histograms there are no bounds to pass."""
    gate = Gate(np.zeros(len(RATES)))
    return gate if buckets else Gate(gate.errors, bounds=np.zeros(0, np.int64), latency=np.zeros(0))


def expected_tails(known: Known, bounds: Counts) -> Floats:
    """Expected share of slow requests at ``bounds`` (indices), as far as bets go: within [1e-4, 0.75]."""
    return np.clip(known.tails[bounds], 1e-4, 0.75)


def with_proof(
    gate: Gate,
    policy: Policy,
    margin_share: float,
    max_duration_s: float,
    known: Known,
    measured: Floats,
    counts: Counts,
    seconds: float,
) -> Gate:
    """``gate`` after one more block.

    ``counts`` are of both arms, shape ``(2, 2 + buckets)``; ``measured`` is the measured dispersion (errors, then
    every bound); it and ``known`` come from earlier blocks.  The assumed dispersion takes the *expected* number of
    events, which is known before the block.
    """
    schedule = gate_schedule(max_duration_s)
    (baseline, bad_baseline), (candidate, bad_candidate) = counts[:, :LATENCY].astype(float)
    split = _split(candidate, baseline)
    rate = known.error_rate
    capital = schedule.tranche(gate.errors_invested, gate.errors_invested == 0.0, seconds)
    evidence = error_margin(
        bad_candidate,
        candidate,
        bad_baseline,
        baseline,
        policy.errors.margin,
        policy.errors.harm / margin_share,
        RATES * rate,
        np.full(len(RATES), rate),
    )
    phi = max(float(measured[0]), float(assumed(policy.noise_errors, (candidate + baseline) * rate * split, seconds)))
    errors = wager(gate.errors, capital, evidence, phi)
    gate = Gate(errors, gate.errors_invested + capital, gate.bounds, gate.latency, gate.latency_invested)
    return _with_latency(gate, policy, margin_share, max_duration_s, known, measured, counts, seconds)


def _with_latency(
    gate: Gate,
    policy: Policy,
    margin_share: float,
    max_duration_s: float,
    known: Known,
    measured: Floats,
    counts: Counts,
    seconds: float,
) -> Gate:
    margin, harm = policy.latency.margin, policy.latency.harm / margin_share
    bounds, wealth = gate.bounds, gate.latency
    if bounds is None or wealth is None:
        if not known.knows_latency:
            return gate
        bounds = informative_bounds(known.tails, margin, harm)
        wealth = np.zeros(len(bounds))
    slow = events(counts)[:, 1:][:, bounds].astype(float)
    baseline, candidate = counts[:, LATENCY:].sum(axis=1).astype(float)
    tails = expected_tails(known, bounds)
    evidence = tail_margin(slow[CANDIDATE], candidate, slow[BASELINE], baseline, margin, harm, tails)
    information = (candidate + baseline) * tails * _split(candidate, baseline)
    phi = np.maximum(measured[1:][bounds], assumed(policy.noise_latency, information, seconds))
    schedule = gate_schedule(max_duration_s)
    capital = schedule.tranche(gate.latency_invested, gate.latency_invested == 0.0, seconds)
    wealth = wager(wealth, capital, evidence, phi)
    return Gate(gate.errors, gate.errors_invested, bounds, wealth, gate.latency_invested + capital)


def _split(candidate: float, baseline: float) -> float:
    """``w (1 - w)`` for the candidate's share w."""
    share = candidate / max(candidate + baseline, 1.0)
    return share * (1.0 - share)
