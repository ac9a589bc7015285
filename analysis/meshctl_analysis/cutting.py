"""Two whole files as blocks for the sequential judge.

The lines of a file carry no time that can be trusted: exports are sorted, merged from pods, or cover other hours.
So order is not used at all.  Every request is dealt to one of `BLOCKS` blocks of ten seconds, as by a shuffle; the
shuffle is fixed, so the same files give the same verdict.  Dealing makes the blocks exchangeable: equal arms stay
equal in each of them, which is all that the evidence needs.

A tenth of the baseline (more of a short file) is dealt to the *history* instead: from it come the latency bounds and
what the judge expects, and it is no part of the evidence.  Bounds chosen on requests that are judged later would
be fitted to them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import grid
from .blocks import Arm, Block
from .measured import Measured

BLOCKS = 60
BLOCK_S = 10.0
SHUFFLE = 20240601
"""Seed of the fixed shuffle."""
HISTORY_SHARE = 0.1
HISTORY_LEAST, HISTORY_MOST_SHARE = 150, 0.5
HISTORY_BLOCKS = 6
BOUND_SHARES = (*np.linspace(0.02, 0.95, 18).tolist(), 0.97, 0.98, 0.99, 0.995, 0.998, 0.999)
"""Quantiles of the baseline at which raw latencies are cut: 24 bounds, dense in the tail."""
NARROWEST = 1.002
"""Bounds closer than this factor are one bound."""

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Cut:
    """Blocks of both arms after ``history``, blocks in which only the baseline did anything."""

    bounds_ms: tuple[float, ...]
    history: tuple[Block, ...]
    blocks: tuple[Block, ...]


def cut(baseline: Measured, candidate: Measured) -> Cut:
    """Deal two files into history and blocks.  All counts together are those of the files."""
    shuffle = np.random.Generator(np.random.PCG64(SHUFFLE))
    share = min(max(HISTORY_SHARE, HISTORY_LEAST / max(baseline.requests, 1)), HISTORY_MOST_SHARE)
    cells, slow_cells = _cells(baseline), _cells(candidate)
    past_cells, past_bad = shuffle.binomial(cells, share), int(shuffle.binomial(baseline.bad, share))
    bounds = baseline.histogram.bounds_ms if baseline.histogram else bounds_of(past_cells)
    past = _arms(_summed(past_cells, baseline, bounds), past_bad, HISTORY_BLOCKS, shuffle)
    base = _arms(_summed(cells - past_cells, baseline, bounds), baseline.bad - past_bad, BLOCKS, shuffle)
    slow = _arms(_summed(slow_cells, candidate, bounds), candidate.bad, BLOCKS, shuffle)
    requests = [sum(arm.requests for arm in arms) for arms in (slow, base)]
    split = requests[0] / max(sum(requests), 1)
    start = -BLOCK_S * HISTORY_BLOCKS
    nothing = Arm(0, 0, (0,) * (len(bounds) + 1) if bounds else ())
    history = [_block(start, place, 0.0, arm, nothing, bounds) for place, arm in enumerate(past)]
    blocks = [_block(0.0, place, split, *arms, bounds) for place, arms in enumerate(zip(base, slow, strict=True))]
    return Cut(bounds, tuple(history), tuple(blocks))


def bounds_of(cells: Counts) -> tuple[float, ...]:
    """Latency bounds in milliseconds at the `BOUND_SHARES` of grid counts; none without counts."""
    total = int(cells.sum())
    if total == 0:
        return ()
    places = np.searchsorted(np.cumsum(cells), np.array(BOUND_SHARES) * total)
    bounds: list[float] = []
    for bound in grid.UPPER_MS[places].tolist():
        if not bounds or bound > bounds[-1] * NARROWEST:
            bounds.append(bound)
    return tuple(bounds)


def _cells(measured: Measured) -> Counts:
    """The finest counts there are: of the histogram's buckets, or of the grid."""
    if measured.histogram is not None:
        return np.array(measured.histogram.counts, dtype=np.int64)
    return measured.latency.astype(np.int64)


def _summed(cells: Counts, measured: Measured, bounds: tuple[float, ...]) -> Counts:
    if measured.histogram is not None:
        return cells
    if not bounds:
        return np.array([cells.sum()])
    return grid.bucketed(cells.astype(np.float64), bounds).astype(np.int64)


def _arms(latency: Counts, bad: int, blocks: int, shuffle: np.random.Generator) -> list[Arm]:
    """Deal the requests of one arm to ``blocks`` blocks; each request goes anywhere with equal chance."""
    even = np.full(blocks, 1 / blocks)
    dealt = np.stack([shuffle.multinomial(count, even) for count in latency])
    dealt_bad = shuffle.multinomial(bad, even)
    arms = []
    for place in range(blocks):
        counts = dealt[:, place]
        failed = int(dealt_bad[place])
        histogram = tuple(int(count) for count in counts) if len(latency) > 1 else ()
        arms.append(Arm(int(counts.sum()) + failed, failed, histogram))
    return arms


def _block(start_s: float, place: int, share: float, baseline: Arm, candidate: Arm, bounds: tuple[float, ...]) -> Block:
    begin = start_s + place * BLOCK_S
    return Block(begin, begin + BLOCK_S, share, baseline, candidate, bounds)
