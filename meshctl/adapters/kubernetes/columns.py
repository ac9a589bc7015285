"""Packed blocks (`meshctl.core.packing`) column by column, which compresses to little more than half.

A segment holds blocks of one shape: the same buckets, the same number of them.  Of the instants only the differences
are kept: the begin of a block counts from the end of the one before, its end from its begin.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from meshctl.core.packing import canonical

Segment = list[Any]
"""[bounds, further marks, how many counts the baseline has, columns]"""

_HEAD = 4
"""start, end, entry, weight; the counts of both versions follow."""


def columns_of(lines: Sequence[str]) -> list[Segment]:
    """Blocks as columns.  Raises `ValueError` when a line is no packed block."""
    rows = [_row(line) for line in lines]
    segments, end = [], 0
    for (bounds, marks, width, _), group in groupby(rows, key=_shape):
        flat = []
        for start, stop, entry, weight, baseline, candidate, *_ in group:
            flat.append([start - end, stop - start, entry, weight, *baseline, *candidate])
            end = stop
        segments.append(
            [json.loads(bounds), json.loads(marks), width, [list(column) for column in zip(*flat, strict=True)]]
        )
    return segments


def lines_of(segments: Iterable[Segment]) -> Iterator[str]:
    """The same blocks as lines."""
    end = 0
    for bounds, marks, width, columns in segments:
        for start, length, entry, weight, *counts in zip(*columns, strict=True):
            begin, end = end + start, end + start + length
            yield canonical([begin, end, entry, weight, counts[:width], counts[width:], bounds, *marks])


def _row(line: str) -> list[Any]:
    row = json.loads(line)
    if not isinstance(row, list) or len(row) < _HEAD + 3 or not all(isinstance(part, list) for part in row[_HEAD:7]):
        raise ValueError(f"not a packed block: {line[:80]!r}")
    return row


def _shape(row: list[Any]) -> tuple[str, str, int, int]:
    return json.dumps(row[6]), json.dumps(row[7:]), len(row[4]), len(row[5])
