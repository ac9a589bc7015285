"""One file as the judge needs it: totals and latency counts, however long the file is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from . import grid
from .histograms import Histogram, read_histogram
from .quantiles import quantile_of_counts
from .samples import Layout, layout_of, read_rows
from .textfiles import InvalidFile

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What one file says.  ``latency`` counts good requests on the `grid`, fractions where a histogram was spread
    over it; ``histogram`` holds the buckets of a histogram file.  Without a status nothing is known of failures."""

    path: Path
    requests: int
    bad: int
    has_status: bool
    latency: Array
    mean_ms: float | None
    histogram: Histogram | None = None

    @property
    def good(self) -> int:
        return self.requests - self.bad

    def quantile_ms(self, share: float) -> float | None:
        """Latency below which ``share`` of the good requests lie; ``None`` without any."""
        return quantile_of_counts(self.latency, grid.UPPER_MS, share) if self.good else None


def measure_pair(baseline: Path, candidate: Path) -> tuple[Measured, Measured]:
    """Read both files.  Raises `InvalidFile` when one is wrong or they do not fit together.

    They fit when both are raw or both histograms, both have a status or neither, and histograms have equal bounds.
    """
    layouts = layout_of(baseline), layout_of(candidate)
    if layouts[0].histogram != layouts[1].histogram:
        kinds = ["a histogram" if layout.histogram else "raw latencies" for layout in layouts]
        raise InvalidFile(candidate, f"holds {kinds[1]}, but {baseline} {kinds[0]}; both must be of one kind")
    if layouts[0].has_status != layouts[1].has_status:
        without, other = (candidate, baseline) if layouts[0].has_status else (baseline, candidate)
        raise InvalidFile(without, f"has one column where a status was expected, as in {other}", line=1)
    pair = _measure(baseline, layouts[0]), _measure(candidate, layouts[1])
    _require_equal_bounds(*pair)
    return pair


def _measure(path: Path, layout: Layout) -> Measured:
    if layout.histogram:
        return _from_histogram(path, read_histogram(path))
    requests = bad = 0
    total_ms = 0.0
    latency = np.zeros(grid.CELLS, dtype=np.int64)
    for rows in read_rows(path, layout):
        good_ms = rows.latency_ms[~rows.bad]
        requests += len(rows.bad)
        bad += int(rows.bad.sum())
        total_ms += float(good_ms.sum())
        latency += grid.counted(good_ms)
    good = requests - bad
    mean_ms = total_ms / good if good else None
    return Measured(path, requests, bad, layout.has_status, latency.astype(np.float64), mean_ms)


def _from_histogram(path: Path, histogram: Histogram) -> Measured:
    requests = sum(histogram.counts)
    latency = grid.spread(np.array(histogram.counts, dtype=np.float64), histogram.bounds_ms)
    mean_ms = float(latency @ grid.UPPER_MS / requests) if requests else None
    return Measured(path, requests, 0, False, latency, mean_ms, histogram)


def _require_equal_bounds(baseline: Measured, candidate: Measured) -> None:
    if baseline.histogram is None or candidate.histogram is None:
        return
    ours, theirs = baseline.histogram.bounds_ms, candidate.histogram.bounds_ms
    if ours == theirs:
        return
    differing = [pair for pair in zip(ours, theirs, strict=False) if pair[0] != pair[1]]
    problem = (
        f"{differing[0][1]:g} ms where {baseline.path} has {differing[0][0]:g} ms"
        if differing
        else f"{len(theirs)} finite bounds where {baseline.path} has {len(ours)}"
    )
    raise InvalidFile(candidate.path, f"has other bucket bounds: {problem}; both need the same")
