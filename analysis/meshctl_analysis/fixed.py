"""The fixed-sample tests behind the classic engine: p-values of one cumulative comparison.

Two kinds.  *Abort tests*: small means the candidate is worse than its tolerance.  *Gate tests*: small means the
candidate is proved inside its margin; the largest of them decides, so no correction for their number is needed
(intersection-union).  "Not significant" proves nothing in either.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .ageing import aged, ageing_kernel
from .blocks import Arm
from .fisher import binomial_test, binomial_upper_tail
from .known import informative_bounds
from .mannwhitney import mann_whitney_counts
from .noninferiority import noninferiority_test
from .policy import Policy


@dataclass(frozen=True, slots=True)
class Tally:
    """What both arms did so far, summed over blocks; ``bounds_ms`` as in `Block`."""

    baseline: Arm
    candidate: Arm
    bounds_ms: tuple[float, ...]

    @property
    def has_latency(self) -> bool:
        return sum(self.baseline.latency) > 0 and sum(self.candidate.latency) > 0


@dataclass(frozen=True, slots=True)
class GateTest:
    """P-value of "at or beyond the margin" for one metric; ``bound_ms`` is the latency bound it is about."""

    metric: str
    bound_ms: float | None
    p_value: float


def error_abort_test(tally: Tally, policy: Policy) -> float:
    """P-value of "the candidate fails at most `tolerance` times as often as the baseline"."""
    slow, base = tally.candidate, tally.baseline
    return binomial_test(slow.bad, slow.requests, base.bad, base.requests, policy.errors.tolerance)


def latency_abort_test(tally: Tally, policy: Policy) -> float:
    """P-value of "the candidate is nowhere slower than the baseline slowed by `tolerance`".

    Half of the error probability goes to Mann-Whitney (sees shifts), half to the share of requests beyond each
    informative bound (sees tails), the latter split evenly over the bounds.  Without latencies p = 1.
    """
    if not tally.has_latency:
        return 1.0
    slow = np.asarray(tally.candidate.latency, dtype=np.float64)
    base = aged(np.asarray(tally.baseline.latency, float), ageing_kernel(tally.bounds_ms, policy.latency.tolerance))
    shift = mann_whitney_counts(slow, base).p_value
    places = informative_bounds(_tails(base) / base.sum(), 0.0, 0.0)
    if len(places) == 0:
        return shift
    tail_slow, tail_base = _tails(slow)[places], _tails(base)[places]
    tails = binomial_upper_tail(tail_slow, tail_slow + tail_base, float(slow.sum() / (slow.sum() + base.sum())))
    return min(1.0, 2 * min(shift, len(places) * float(tails.min())))


def error_gate_test(tally: Tally, policy: Policy, margin_share: float) -> GateTest:
    """P-value of "the candidate's error rate is at or beyond margin times the baseline's plus harm / share"."""
    slow, base, allowed = tally.candidate, tally.baseline, policy.errors
    p_value = noninferiority_test(
        slow.bad, slow.requests, base.bad, base.requests, allowed.margin, allowed.harm / margin_share
    )
    return GateTest("errors", None, float(p_value[0]))


def latency_gate_tests(tally: Tally, policy: Policy, margin_share: float) -> tuple[GateTest, ...]:
    """The same for the share of requests slower than each informative bound.

    Without latencies, or without any informative bound, one test with p = 1: nothing is proved.
    """
    unproved = (GateTest("latency", None, 1.0),)
    if not tally.has_latency:
        return unproved
    slow, base = (np.asarray(arm.latency, dtype=np.float64) for arm in (tally.candidate, tally.baseline))
    tail_base, harm = _tails(base), policy.latency.harm / margin_share
    places = informative_bounds(tail_base / base.sum(), policy.latency.margin, harm)
    if len(places) == 0:
        return unproved
    p_values = noninferiority_test(
        _tails(slow)[places],
        float(slow.sum()),
        tail_base[places],
        float(base.sum()),
        policy.latency.margin,
        harm,
    )
    return tuple(
        GateTest("latency", tally.bounds_ms[place], float(p_value))
        for place, p_value in zip(places, p_values, strict=True)
    )


def _tails(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Counts beyond each bound; one entry less than ``counts``."""
    beyond: NDArray[np.float64] = counts[::-1].cumsum()[::-1][1:]
    return beyond
