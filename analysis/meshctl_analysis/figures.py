"""Classic figures beside a verdict: what textbooks would say about the same counts.

For people, not for decisions: each p-value is right for *one* look at data that were fixed beforehand.  Read again
after every scrape it is not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .brunnermunzel import brunner_munzel_counts
from .effects import Estimate, hodges_lehmann_counts, odds_ratio
from .fisher import SMALL_TABLE, boschloo_exact, fisher_exact, probability_worse
from .fixed import Tally
from .mannwhitney import RankTest, mann_whitney_counts


@dataclass(frozen=True, slots=True)
class Figures:
    """One-sided p-values ("the candidate is worse"), effects with 95 % intervals; ``None``: nothing to compute from.

    ``boschloo`` only for small tables.  ``brunner_munzel`` holds its level where the arms are
    spread differently.  ``probability_worse`` is the posterior P(pC > pB) under uniform priors.
    ``shift_ms`` is the Hodges-Lehmann shift on bucket midpoints, as coarse as the buckets.
    """

    fisher: float | None
    boschloo: float | None
    odds_ratio: Estimate | None
    probability_worse: float | None
    mann_whitney: RankTest | None
    brunner_munzel: RankTest | None
    shift_ms: Estimate | None


def figures_of(tally: Tally) -> Figures:
    """Classic figures of everything in ``tally``, without tolerances: against "equal"."""
    slow, base = tally.candidate, tally.baseline
    table = (slow.bad, slow.requests, base.bad, base.requests)
    compared = slow.requests > 0 and base.requests > 0
    small = compared and slow.requests + base.requests <= SMALL_TABLE
    rank, unequal, shift = None, None, None
    if tally.has_latency:
        rank = mann_whitney_counts(slow.latency, base.latency)
        if min(sum(slow.latency), sum(base.latency)) >= 2:
            unequal = brunner_munzel_counts(slow.latency, base.latency)
        shift = hodges_lehmann_counts(slow.latency, base.latency, midpoints_ms(tally.bounds_ms))
    return Figures(
        fisher=fisher_exact(*table) if compared else None,
        boschloo=boschloo_exact(*table) if small else None,
        odds_ratio=odds_ratio(*table) if compared else None,
        probability_worse=probability_worse(*table) if compared else None,
        mann_whitney=rank,
        brunner_munzel=unequal,
        shift_ms=shift,
    )


def midpoints_ms(bounds_ms: tuple[float, ...]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Geometric middle of each bucket; half the first bound, one and a half times the last for +Inf."""
    bounds = np.asarray(bounds_ms, dtype=np.float64)
    return np.concatenate([[bounds[0] / 2], np.sqrt(bounds[1:] * bounds[:-1]), [bounds[-1] * 1.5]])
