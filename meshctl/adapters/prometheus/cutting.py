"""Cuts growth into blocks on the scrape grid, so that every reader cuts at the same places.

A block ends at an instant of the grid at which both arms are fresh: of every version that a living proxy knows, some
counter was scraped since the block began.  Where one is not (a lost scrape, proxies that are scraped in turn), the
block goes on to the next instant: one longer block for both, never zeros for one of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from meshctl.adapters.prometheus.differencing import Arm, Grid, Growth, Proxy, Tag, Values, Version

ALIVE = 3
"""A proxy is taken for gone when it was not scraped for so many of its own intervals."""


JITTER_MS = 100
"""Scrapes come a little early or late."""


@dataclass(frozen=True, slots=True)
class Span:
    """A block as it comes from the counters: the sums of what they grew by, per tag."""

    start_ms: int
    end_ms: int
    sums: dict[Tag, Values] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Line:
    """Nothing before it counts: only growth since a scrape after the line, in blocks that begin at ``at_ms``."""

    at_ms: int
    cut_ms: int


def accepted(growths: Iterable[Growth], line: Line) -> list[Growth]:
    """What counts."""
    return [each for each in growths if each.until_ms > line.at_ms and each.since_ms >= line.cut_ms]


def ends_of(proxies: Sequence[Proxy], growths: Sequence[Growth], grid: Grid, line: Line, until_ms: int) -> list[int]:
    """Where blocks end, in order; the first begins at ``line.at_ms``.  ``growths`` are accepted ones, by time."""
    ends: list[int] = []
    fresh: set[Version] = set()
    position = 0
    for end in range(line.at_ms + grid.step_ms, until_ms + 1, grid.step_ms):
        while position < len(growths) and growths[position].until_ms <= end:
            fresh.add(growths[position].tag[0])
            position += 1
        judged = fresh - {Arm.STRAY}
        if judged and present(proxies, grid, end) - {Arm.STRAY} <= judged:
            ends.append(end)
            fresh = set()
    return ends


def present(proxies: Sequence[Proxy], grid: Grid, at_ms: int) -> set[Version]:
    """The arms that proxies knew which live at this instant."""
    return {arm for proxy in proxies for arm in _known(proxy, grid, at_ms)}


def _known(proxy: Proxy, grid: Grid, at_ms: int) -> set[Version]:
    life = _life(proxy, grid, at_ms)
    if life is None:
        return set()
    last, spacing = life
    first = at_ms - ALIVE * spacing
    return {arm for time in proxy.times[: last + 1] if time >= first for arm in proxy.arms[time]}


def _life(proxy: Proxy, grid: Grid, at_ms: int) -> tuple[int, int] | None:
    """The last scrape of a proxy that lives, by index, and the interval of its scrapes; else ``None``."""
    oldest = at_ms - grid.lookback_ms
    last = proxy.last(at_ms)
    if last < 0 or proxy.times[last] <= oldest:
        return None
    spacing = proxy.spacing_ms(last, oldest, grid.step_ms)
    return (last, spacing) if at_ms - proxy.times[last] <= ALIVE * spacing else None


def overdue(proxies: Sequence[Proxy], grid: Grid, at_ms: int) -> bool:
    """Whether some living proxy should have been scraped by this instant and is not known to have been: the scrape
    may still be under way.  A later scrape shows that it is not."""
    for proxy in proxies:
        life = _life(proxy, grid, at_ms)
        if life is None or life[0] + 1 < len(proxy.times):
            continue
        last, spacing = life
        if at_ms - proxy.times[last] >= spacing - JITTER_MS:
            return True
    return False


def interval_ms(proxies: Sequence[Proxy], grid: Grid, at_ms: int) -> int:
    """How far apart the scrapes of the slowest living proxy are."""
    lives = [life for proxy in proxies if (life := _life(proxy, grid, at_ms)) is not None]
    return max((spacing for _, spacing in lives), default=grid.step_ms)


def spans_of(growths: Sequence[Growth], start_ms: int, ends: Sequence[int]) -> list[Span]:
    """The blocks.  ``growths`` are accepted ones, by time."""
    spans: list[Span] = []
    position = 0
    for end in ends:
        sums: dict[Tag, Values] = {}
        while position < len(growths) and growths[position].until_ms <= end:
            growth = growths[position]
            position += 1
            if any(growth.values):
                known = sums.get(growth.tag)
                sums[growth.tag] = growth.values if known is None else _added(known, growth.values)
        spans.append(Span(start_ms, end, sums))
        start_ms = end
    return spans


def _added(one: Values, other: Values) -> Values:
    return tuple(a + b for a, b in zip(one, other, strict=True))


def fingerprint(proxies: Sequence[Proxy], grid: Grid, at_ms: int) -> str:
    """Which scrapes the counting stood on at this instant.

    Two Prometheus servers behind one address scrape at different times.  When the other one answers, this differs,
    and what was counted up to here is cut off before the counting goes on.
    """
    lines = []
    for proxy in proxies:
        last = proxy.last(at_ms)
        if last >= 0 and proxy.times[last] > at_ms - grid.lookback_ms:
            lines.append(f"{proxy.name} {proxy.times[last]}")
    return hashlib.sha256("\n".join(lines).encode("utf-8", "replace")).hexdigest()[:12] if lines else ""
