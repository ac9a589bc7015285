"""Noise between the arms that random routing does not remove, measured while the run goes on.

The evidence of a block is divided by a dispersion phi >= 1.  Phi is the larger of two values: one from the assumed
noise (``1 + nu I``, with the information ``I`` of the block's split) and one measured from how much the split of bad
and of slow requests jumps from one 10 s, and one minute, to the next.  Differences do not react to a constant
regression, so that noise is seen and a regression is not hidden (design notes ``statistics.md`` section 8).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .counts import BASELINE, CANDIDATE, events, trials
from .evalues import Counts, Floats

Singles = NDArray[np.float32]

SCALES_S = (10.0, 60.0)
PRIOR = 10.0
"""Weight, in differences, of the prior value 1."""
LARGEST_DIFFERENCE, LARGEST = 9.0, 16.0
_SLACK_S = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """One time scale.  ``counts`` gathers blocks of both arms until ``scale_s`` seconds are together; ``previous`` are
    the residuals of the window before (NaN: none), ``squares`` and ``differences`` sum and number their squared
    differences.  One entry for bad requests and one per bound; single precision is stored on purpose."""

    scale_s: float
    seconds: float
    counts: Counts
    previous: Singles
    squares: Singles
    differences: Counts


@dataclass(frozen=True, slots=True, eq=False)
class Dispersion:
    """Measured dispersion.  ``seen`` and ``expected`` are the candidate's events so far, and what equal arms let
    expect; their ratio takes a constant regression out of the residuals."""

    seen: Counts
    expected: Floats
    short: Window
    long: Window

    def measured(self) -> Floats:
        """Phi per entry (bad requests, then slow ones per bound), within [1, 16]."""
        ratios = [(PRIOR + window.squares) / (PRIOR + window.differences) for window in (self.short, self.long)]
        return np.clip(np.maximum(*ratios), 1.0, LARGEST)


def undispersed(buckets: int) -> Dispersion:
    """Before the first block: phi = 1 everywhere."""
    size = max(buckets, 1)

    def window(scale_s: float) -> Window:
        return Window(
            scale_s=scale_s,
            seconds=0.0,
            counts=np.zeros((2, 2 + buckets), np.int64),
            previous=np.full(size, np.nan, np.float32),
            squares=np.zeros(size, np.float32),
            differences=np.zeros(size, np.int64),
        )

    return Dispersion(np.zeros(size, np.int64), np.zeros(size), *(window(scale_s) for scale_s in SCALES_S))


def cut(dispersion: Dispersion) -> Dispersion:
    """At a new stage: windows that are not full are dropped, since they would mix two shares."""

    def emptied(window: Window) -> Window:
        return replace(window, seconds=0.0, counts=np.zeros_like(window.counts))

    return replace(dispersion, short=emptied(dispersion.short), long=emptied(dispersion.long))


def noted(dispersion: Dispersion, counts: Counts, seconds: float) -> Dispersion:
    """``dispersion`` and one more block of both arms."""
    bad, all_of = events(counts), trials(counts)
    share = all_of[CANDIDATE] / np.maximum(all_of.sum(axis=0), 1)
    seen = dispersion.seen + bad[CANDIDATE]
    expected = dispersion.expected + bad.sum(axis=0) * share
    ratio = (seen + 0.5) / (expected + 0.5)
    return Dispersion(
        seen,
        expected,
        _gathered(dispersion.short, counts, seconds, ratio),
        _gathered(dispersion.long, counts, seconds, ratio),
    )


def _gathered(window: Window, counts: Counts, seconds: float, ratio: Floats) -> Window:
    window = replace(window, counts=window.counts + counts, seconds=window.seconds + seconds)
    if window.seconds < window.scale_s - _SLACK_S:
        return window
    residuals = _residuals(window.counts, ratio)
    usable = np.isfinite(residuals)
    squares = np.minimum((residuals - window.previous) ** 2 / 2.0, LARGEST_DIFFERENCE)
    differs = np.isfinite(squares)
    return Window(
        scale_s=window.scale_s,
        seconds=0.0,
        counts=np.zeros_like(window.counts),
        previous=np.where(usable, residuals, window.previous).astype(np.float32),
        squares=(window.squares + np.where(differs, squares, 0.0)).astype(np.float32),
        differences=window.differences + differs,
    )


def _residuals(counts: Counts, ratio: Floats) -> Floats:
    """Pearson residuals of the split of events between the arms; NaN where the window says too little."""
    happened, all_of = events(counts), trials(counts)
    total, possible = happened.sum(axis=0), np.maximum(all_of.sum(axis=0), 1)
    mean = np.clip(ratio * all_of[CANDIDATE] / possible, 1e-9, 1.0 - 1e-9)
    finite_population = np.clip(1.0 - total / possible, 0.02, 1.0)
    finite_population[0] = 1.0  # bad requests are rare: Poisson
    variance = total * mean * (1.0 - mean) * finite_population
    usable = (variance > 0.5) & (all_of[BASELINE] > 0) & (all_of[CANDIDATE] > 0)
    residuals = (happened[CANDIDATE] - total * mean) / np.sqrt(np.where(usable, variance, 1.0))
    return np.where(usable, residuals, np.nan)


def assumed(noise: float, information: float | Floats, seconds: float) -> float | Floats:
    """Phi of a block of ``seconds`` from assumed noise: ``1 + nu I``, nu = ``noise`` x 10 / seconds.

    ``information`` is ``K w (1 - w)`` for K events and the candidate's share w of the requests.
    """
    return 1.0 + noise * (10.0 / seconds) * information
