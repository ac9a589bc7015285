"""Latency histograms from CSV files, as Prometheus exposes them.

Header ``le,count``, then one bucket a line: upper bound in milliseconds, strictly increasing, the last ``+Inf``; count
*cumulative*, all requests up to that bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .textfiles import LONGEST_LINE_BYTES, NUMBER, InvalidFile, fields_of, opened, shown

MOST_BUCKETS = 2000


@dataclass(frozen=True, slots=True)
class Histogram:
    """Latency counts per bucket (not cumulative); one more than ``bounds_ms``, the last being +Inf."""

    bounds_ms: tuple[float, ...]
    counts: tuple[int, ...]


def read_histogram(path: Path) -> Histogram:
    """A cumulative histogram file as counts per bucket.

    Raises `InvalidFile` for bounds that do not increase, counts that are negative, no whole numbers or fall, and when
    the ``+Inf`` bucket is missing or not the last, or no finite bound is there.
    """
    bounds: list[float] = []
    reached: list[int] = []
    with opened(path) as file:
        file.readline()
        for number, raw in enumerate(iter(lambda: file.readline(LONGEST_LINE_BYTES + 1), b""), start=2):
            fields = fields_of(path, raw, number)
            if not any(fields):
                continue
            if bounds and bounds[-1] == math.inf:
                raise InvalidFile(path, "a line after the `+Inf` bucket; it must be the last", line=number)
            if len(fields) != 2:
                raise InvalidFile(path, f"found {len(fields)} columns; expected le,count", line=number)
            bounds.append(_bound(path, number, fields[0], bounds[-1] if bounds else 0.0))
            reached.append(_cumulative_count(path, number, fields[1], reached[-1] if reached else 0))
            if len(bounds) > MOST_BUCKETS:
                raise InvalidFile(path, f"more than {MOST_BUCKETS} buckets", line=number)
    if not bounds:
        raise InvalidFile(path, "has a header but no bucket below it; expected lines `le,count`, the last `+Inf`")
    if bounds[-1] != math.inf:
        raise InvalidFile(path, "the last bucket must be `+Inf`: without it slower requests would be left out")
    if len(bounds) == 1:
        raise InvalidFile(path, "has only the `+Inf` bucket; at least one finite bound is needed")
    counts = np.diff(np.array([0, *reached]))
    return Histogram(tuple(bounds[:-1]), tuple(int(count) for count in counts))


def _bound(path: Path, line: int, field: str, before: float) -> float:
    if field.lower().lstrip("+") in ("inf", "infinity"):
        return math.inf
    value = float(field) if NUMBER.fullmatch(field) else math.nan
    if not (math.isfinite(value) and value > 0):
        problem = f"{shown(field)} is no bound; allowed is a positive number of milliseconds, or +Inf on the last line"
        raise InvalidFile(path, problem, line=line, column="le")
    if value <= before:
        problem = f"{shown(field)} does not exceed the bound before it; bounds must increase"
        raise InvalidFile(path, problem, line=line, column="le")
    return value


def _cumulative_count(path: Path, line: int, field: str, before: int) -> int:
    value = float(field) if NUMBER.fullmatch(field) else math.nan
    if not 0 <= value < 1e15 or value != math.floor(value):
        problem = f"{shown(field)} is no count; allowed is a whole number that is not negative"
        raise InvalidFile(path, problem, line=line, column="count")
    if value < before:
        problem = f"{shown(field)} is less than the {before} before it; counts are cumulative and never fall"
        raise InvalidFile(path, problem, line=line, column="count")
    return int(value)
