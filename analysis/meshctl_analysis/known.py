"""What earlier blocks tell about the service: expected error rate, law of the baseline's latency, rate of requests.

These plug-ins steer the bets and never carry evidence.  Whatever they say, a bet stays fair as long as they come
from blocks *before* the block that is bet on; a wrong plug-in only makes the judge slower.  Hence all priors are
weak: the error rate starts at 1 in 1000 with the weight of 500 requests; the law of latency is that of the counts so
far plus 0.03 of a request per bucket, and no latency bet is made before ``ENOUGH_LATENCIES`` of the baseline are known.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .counts import BAD, BASELINE, LATENCY, REQUESTS
from .evalues import Counts, Floats

FORGETTING = 0.97
"""What remains of the weight of a count after 10 s."""

ENOUGH_LATENCIES = 100
RATE_PRIOR_BAD, RATE_PRIOR_REQUESTS = 0.5, 500.0
LONG_RUN_WEIGHT = 50.0
"""The law of all counts so far enters the recent one with the weight of this many requests."""
UNIFORM_WEIGHT = 0.03
"""Pseudo-count per bucket, so that nothing is impossible."""

TAIL_LOWEST, TAIL_HIGHEST = 0.0005, 0.8
HARMLESS = 0.97


@dataclass(frozen=True, eq=False)
class Known:
    """Sums over all earlier blocks.  ``requests`` and ``bad`` are of both arms, ``latencies`` and ``recent`` count
    the baseline's latencies per bucket, ``recent*`` with forgetting (97 % remain after 10 s)."""

    requests: int
    bad: int
    latencies: Counts
    recent: Floats
    recent_requests: float = 0.0
    recent_seconds: float = 0.0

    @property
    def error_rate(self) -> float:
        """Expected share of bad requests."""
        rate = (self.bad + RATE_PRIOR_BAD) / (self.requests + RATE_PRIOR_REQUESTS)
        return min(max(rate, 1e-6), 0.5)

    @property
    def requests_per_second(self) -> float:
        """Recent rate of all requests; 0 before the first block."""
        return self.recent_requests / self.recent_seconds if self.recent_seconds > 0 else 0.0

    @property
    def knows_latency(self) -> bool:
        """Whether enough baseline latencies were seen to bet on a law of them."""
        return int(self.latencies.sum()) >= ENOUGH_LATENCIES

    @cached_property
    def shape(self) -> Floats:
        """Expected law of the baseline's latency over the buckets; positive, sums to 1."""
        law = self.recent + UNIFORM_WEIGHT
        total = self.latencies.sum()
        if total > 0:
            law = law + LONG_RUN_WEIGHT * self.latencies / total
        return np.asarray(law / law.sum())

    @cached_property
    def tails(self) -> Floats:
        """Expected share of requests above each bound; empty where latency is not measured."""
        return 1.0 - np.cumsum(self.shape)[:-1]

    @cached_property
    def informative(self) -> Counts:
        """Indices of the bounds that 0.05 % to 80 % of the baseline's requests exceed."""
        return np.flatnonzero(_exceeded(self.tails)).astype(np.int64)


def nothing_known(buckets: int) -> Known:
    """Before the first block."""
    return Known(0, 0, np.zeros(buckets, np.int64), np.zeros(buckets))


def learnt(known: Known, counts: Counts, seconds: float) -> Known:
    """``known`` and one more block; ``counts`` of both arms, shape ``(2, 2 + buckets)``."""
    remaining = FORGETTING ** (seconds / 10.0)
    requests = int(counts[:, REQUESTS].sum())
    latency = counts[BASELINE, LATENCY:]
    return Known(
        requests=known.requests + requests,
        bad=known.bad + int(counts[:, BAD].sum()),
        latencies=known.latencies + latency,
        recent=remaining * known.recent + latency,
        recent_requests=remaining * known.recent_requests + requests,
        recent_seconds=remaining * known.recent_seconds + seconds,
    )


def informative_bounds(tails: Floats, margin: float, harm: float) -> Counts:
    """Indices of the bounds at which a gate must be passed, for the tail shares known so far.

    Those that are exceeded by 0.05 % to 80 % of the baseline's requests, and the first one beyond: every slow request
    of the candidate lies above one of them, also where the baseline has not been that slow yet.  Bounds at which the
    margin allows nearly every request to be slow are left out.

    The set is fixed, from blocks before, when a stage's latency gate makes its first bet.  It is therefore known before
    any evidence that it selects, and for each bound in it the probability of passing at or beyond the margin stays at
    most beta, given everything up to that moment; a gate needs all of them, so no correction for their number.
    """
    chosen = _exceeded(tails)
    chosen[np.flatnonzero(tails < TAIL_LOWEST)[:1]] = True
    return np.flatnonzero(chosen & (margin * tails + harm < HARMLESS)).astype(np.int64)


def _exceeded(tails: Floats) -> NDArray[np.bool_]:
    return (tails >= TAIL_LOWEST) & (tails <= TAIL_HIGHEST)
