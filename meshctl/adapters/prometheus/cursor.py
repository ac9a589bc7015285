"""Where the counting goes on, as text that the store keeps: instants, never values of counters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

FORMAT = 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Cursor:
    """``at_ms``: the end of the last block, an instant on the grid.  ``cut_ms``: no growth since a scrape before this
    counts.  ``bounds_ms``: of the latency buckets of this run, empty until they are known.  ``mark``: on which scrapes
    the counting stood at ``at_ms``; empty where it has just begun.
    ``interval_ms`` and ``behind_ms``: of the scrapes, and of Prometheus's clock, when it was last asked.  ``summed``:
    there were too many series to follow each.  ``own``: the bounds of the release's own metrics, by name, as far as
    they are known."""

    baseline: str
    candidate: str
    at_ms: int
    cut_ms: int
    bounds_ms: tuple[float, ...] = ()
    mark: str = ""
    interval_ms: int = 0
    behind_ms: int = 0
    summed: bool = False
    own: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


def write(cursor: Cursor) -> str:
    """One line of JSON."""
    fields: dict[str, Any] = {
        "format": FORMAT,
        "versions": [cursor.baseline, cursor.candidate],
        "at": cursor.at_ms,
        "cut": cursor.cut_ms,
        "bounds": list(cursor.bounds_ms),
        "mark": cursor.mark,
        "interval": cursor.interval_ms,
        "behind": cursor.behind_ms,
        "summed": cursor.summed,
    } | ({"own": {name: list(bounds) for name, bounds in cursor.own.items()}} if cursor.own else {})
    return json.dumps(fields, separators=(",", ":"))


def read(text: str) -> Cursor | None:
    """The cursor that `write` wrote; ``None`` for anything else."""
    try:
        found = json.loads(text)
        if found["format"] != FORMAT:
            return None
        baseline, candidate = found["versions"]
        return Cursor(
            str(baseline),
            str(candidate),
            int(found["at"]),
            int(found["cut"]),
            tuple(float(bound) for bound in found["bounds"]),
            str(found["mark"]),
            int(found["interval"]),
            int(found["behind"]),
            bool(found["summed"]),
            {str(name): tuple(float(each) for each in bounds) for name, bounds in found.get("own", {}).items()},
        )
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None


def instant_of(milliseconds: int) -> datetime:
    """An instant of Prometheus's clock."""
    return _EPOCH + timedelta(milliseconds=milliseconds)
