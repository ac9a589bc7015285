"""A fine, even grid of log latencies: any number of requests in fixed memory, a thousandth apart.

Cell i holds latencies from ``FIRST_MS e^(i STEP)`` (exclusive) to ``FIRST_MS e^((i + 1) STEP)`` (inclusive).  Lower
values fall into the first cell, higher ones into the last.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
STEP = 0.001
"""Width of a cell in log latency: 0.1 %."""
FIRST_MS = 1e-3
LAST_MS = 1e8
CELLS = math.ceil(math.log(LAST_MS / FIRST_MS) / STEP)
UPPER_MS: Array = FIRST_MS * np.exp(STEP * np.arange(1, CELLS + 1))
"""Upper edge of each cell in milliseconds."""
ASSUMED_SPREAD = 4.0
"""A bucket without a lower (or upper) end is taken to reach this factor below (or above) its other end."""


def counted(latency_ms: Array) -> NDArray[np.int64]:
    """How many latencies (milliseconds, not negative) lie in each cell; shape ``(CELLS,)``."""
    places = np.ceil(np.log(np.maximum(latency_ms, FIRST_MS) / FIRST_MS) / STEP - 1e-9) - 1
    return np.bincount(np.clip(places, 0, CELLS - 1).astype(np.int64), minlength=CELLS)


def spread(counts: Array, bounds_ms: tuple[float, ...]) -> Array:
    """Bucket counts on the grid, log-uniform inside each bucket; fractions, shape ``(CELLS,)``.

    ``counts`` has one entry more than ``bounds_ms``.  The first bucket is taken to begin at a quarter of its bound,
    +Inf to end at four times the last.
    """
    edges = np.array([bounds_ms[0] / ASSUMED_SPREAD, *bounds_ms, bounds_ms[-1] * ASSUMED_SPREAD])
    reached = np.concatenate([[0.0], np.cumsum(counts)])
    grid_edges = np.log(np.concatenate([[FIRST_MS], UPPER_MS]))
    below = np.interp(grid_edges, np.log(edges), reached)
    below[0], below[-1] = 0.0, reached[-1]
    return np.diff(below)


def slowed(counts: Array, factor: float) -> Array:
    """Grid counts after every latency was multiplied by ``factor`` >= 1; shares between two cells are split."""
    cells, part = divmod(math.log(factor) / STEP, 1.0)
    moved = (1 - part) * _pushed(counts, int(cells)) + part * _pushed(counts, int(cells) + 1)
    return np.asarray(moved, dtype=np.float64)


def bucketed(counts: Array, bounds_ms: tuple[float, ...]) -> Array:
    """Grid counts summed into buckets; shape ``(len(bounds_ms) + 1,)``.  Bounds should be edges of the grid."""
    place = np.searchsorted(np.asarray(bounds_ms), UPPER_MS * (1 - 1e-9), side="left")
    return np.bincount(place, weights=counts, minlength=len(bounds_ms) + 1).astype(np.float64)


def _pushed(counts: Array, cells: int) -> Array:
    if cells == 0:
        return counts
    cells = min(cells, CELLS - 1)
    moved = np.concatenate([np.zeros(cells), counts[:-cells]])
    moved[-1] += counts[-cells:].sum()
    return moved
