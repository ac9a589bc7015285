"""Alpha spending: looking several times at a fixed-sample test without breaking its promise."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy.special import ndtr, ndtri

from .checks import InvalidSample, checked_share

STAGES_WITH_EQUAL_PART = 4
"""The first four stage entries (1, 10, 50 and 80 %) get a fifth each; all later ones share the last fifth."""


def spent(alpha: float, elapsed: float) -> float:
    """Error probability that may have been spent when the share ``elapsed`` of the stage is over (0 to 1).

    ``A(t) = 2 - 2 Phi(z_{alpha/2} / sqrt(t))``: next to nothing early, all of ``alpha`` at the end.  Beyond the end
    nothing more is given.  Raises `InvalidSample` unless 0 < alpha < 1 and ``elapsed`` >= 0.
    Source: Lan & DeMets 1983, the O'Brien-Fleming type spending function.
    """
    checked_share(alpha, "alpha")
    if not elapsed >= 0:
        raise InvalidSample(f"`elapsed` must not be negative, found {elapsed}")
    if elapsed == 0:
        return 0.0
    quantile = float(ndtri(alpha / 2))
    return 2 * float(ndtr(quantile / math.sqrt(min(elapsed, 1.0))))


def part_of_look(alpha: float, before: float, now: float) -> float:
    """What the look at share ``now`` may spend when the last one was at ``before``.

    Rejecting at p < A(now) - A(before) keeps the whole stage at ``alpha`` by the union bound: exact for any
    dependence between looks, without numerical integration, at the price of some power.
    """
    return max(spent(alpha, now) - spent(alpha, before), 0.0)


def looks_passed(schedule: Sequence[float], before: float, now: float) -> bool:
    """Whether a look of the ``schedule`` (shares of the stage, 0 to 1) lies in (before, now]."""
    return any(before < look <= now + 1e-9 for look in schedule)


def part_of_stage(alpha: float, entry: int) -> float:
    """The part of a run's ``alpha`` that belongs to stage entry ``entry`` (from 0).

    A fifth for each of the first four entries; later ones get 1/10, 1/20, 1/40 ... of it, so that however many
    entries a run has (step-downs, re-entries) the parts never add up to more than ``alpha``.
    """
    checked_share(alpha, "alpha")
    if entry < 0:
        raise InvalidSample(f"`entry` must not be negative, found {entry}")
    if entry < STAGES_WITH_EQUAL_PART:
        return alpha / (STAGES_WITH_EQUAL_PART + 1)
    return float(alpha / (STAGES_WITH_EQUAL_PART + 1) * math.ldexp(1.0, STAGES_WITH_EQUAL_PART - 1 - entry))
