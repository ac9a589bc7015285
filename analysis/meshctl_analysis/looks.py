"""The looks of the classic engine: when it tests, how much error probability each look may spend, what it found.

The schedule is fixed beforehand in shares of the stage's longest duration.  A run's alpha (the 0.8 of it that the
guards leave) is split over stage entries, then evenly over metrics, then over looks by O'Brien-Fleming type spending;
a gate's beta is spent over its own looks in the same way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .evalues import Floats
from .fixed import Tally, error_abort_test, error_gate_test, latency_abort_test, latency_gate_tests
from .judgement import GatePart
from .policy import EVIDENCE_SHARE, Policy
from .spending import looks_passed, part_of_look, part_of_stage

ABORT_LOOKS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Shares of the stage's longest duration at which the candidate may be found worse."""
GATE_LOOKS = (0.25, 0.5, 0.75, 1.0)
"""Shares at which it may be proved good.  Fewer, because each look makes the last one a little harder."""
LEAST_P = 1e-300


@dataclass(frozen=True, slots=True)
class AbortLook:
    """P-values of the newest look and what it allowed each metric; ``share`` of the stage at which it was made."""

    share: float
    errors: float
    latency: float | None
    allowed: float

    def rejected(self) -> tuple[str, ...]:
        """The metrics found worse than tolerated."""
        found = (("errors", self.errors), ("latency", self.latency))
        return tuple(name for name, p_value in found if p_value is not None and p_value < self.allowed)

    def suspicious(self, p_value: float) -> bool:
        """Whether a metric is at or below ``p_value``."""
        return min(self.errors, 1.0 if self.latency is None else self.latency) <= p_value


@dataclass(frozen=True, slots=True, eq=False)
class GateLook:
    """P-values of the newest gate look, errors first, then latency at ``bounds_ms`` (same length, NaN: no bound)."""

    share: float
    p_values: Floats
    bounds_ms: Floats
    allowed: float

    def passed(self) -> bool:
        """Whether every part is proved inside its margin."""
        return float(self.p_values.max()) < self.allowed

    def parts(self) -> tuple[GatePart, ...]:
        """The parts as evidence: ``-ln p`` in nats."""
        return tuple(
            GatePart(part_name(place, bound), None if math.isnan(bound) else bound, nats(p_value))
            for place, (p_value, bound) in enumerate(zip(self.p_values.tolist(), self.bounds_ms.tolist(), strict=True))
        )


def part_name(place: int, bound_ms: float) -> str:
    """What a gate's part is called: ``errors``, ``latency`` or ``latency above 100 ms``."""
    if place == 0:
        return "errors"
    return "latency" if math.isnan(bound_ms) else f"latency above {bound_ms:g} ms"


def nats(p_value: float) -> float:
    """``-ln p``; never infinite."""
    return 0.0 - math.log(max(p_value, LEAST_P))


def allowed_abort(policy: Policy, entry: int, metrics: int, before: float, now: float) -> float:
    """Error probability that each of ``metrics`` may spend at share ``now`` of the stage, last look at ``before``."""
    part = part_of_stage(EVIDENCE_SHARE * policy.alpha, entry) / metrics
    return part_of_look(part, before, now)


def abort_look_due(before: float, now: float) -> bool:
    return looks_passed(ABORT_LOOKS, before, now)


def gate_look_due(before: float, now: float) -> bool:
    return looks_passed(GATE_LOOKS, before, now)


def look_for_regression(tally: Tally, policy: Policy, entry: int, before: float, now: float) -> AbortLook:
    """Test errors and, where it is measured, latency.  ``tally`` holds the stage entry so far."""
    measured = len(tally.bounds_ms) > 0
    allowed = allowed_abort(policy, entry, 2 if measured else 1, before, now)
    latency = latency_abort_test(tally, policy) if measured else None
    return AbortLook(now, error_abort_test(tally, policy), latency, allowed)


def look_at_gate(tally: Tally, policy: Policy, beta: float, margin_share: float, before: float, now: float) -> GateLook:
    """Test every part of the gate.  Where latency is not measured errors alone decide."""
    tests = [error_gate_test(tally, policy, margin_share)]
    if tally.bounds_ms:
        tests += latency_gate_tests(tally, policy, margin_share)
    return GateLook(
        now,
        np.array([test.p_value for test in tests]),
        np.array([math.nan if test.bound_ms is None else test.bound_ms for test in tests]),
        part_of_look(beta, before, now),
    )
