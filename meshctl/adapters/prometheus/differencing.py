"""What cumulative counters of many proxies grew by, scrape by scrape: exact, and the same for whoever looks.

Each series is followed by itself.  A value below the one before it is a counter that began anew, so the value is the
growth.  A series that was not there before, on a proxy that was scraped before, has grown from zero: Envoy shows a
counter from its first event on.  Of a proxy that was not scraped before nothing is known: its first scrape says only
where it stands.  So it is with a proxy all of whose series are new, since then rather their labels have changed.

What counts as *before* reaches back from the beginning of the block, never from the moment of reading: two readers
with other windows find the same.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise

Values = tuple[float, ...]


class Arm(Enum):
    """Whom a request was answered by; ``STRAY``: it was meant for this service and reached nobody."""

    BASELINE = "baseline"
    CANDIDATE = "candidate"
    STRAY = "stray"


class Outcome(Enum):
    """What became of a request; ``LEFT_OUT``: the client gave up."""

    GOOD = "good"
    BAD = "bad"
    LEFT_OUT = "left out"


Version = Arm | str
"""Whose a counter is: an arm, or the version by its name where all versions are looked at."""

Tag = tuple[Version, Outcome]


@dataclass(frozen=True, slots=True)
class Counter:
    """One counter, or all buckets of one histogram, of one proxy: its values by the time of the scrape, in
    milliseconds since 1970.  Cumulative; the buckets of a histogram are cumulative among each other too."""

    proxy: str
    tag: Tag
    seen: Mapping[int, Values]


@dataclass(frozen=True, slots=True)
class Growth:
    """What a counter grew by after ``since_ms`` and until ``until_ms``, two scrapes of its proxy."""

    since_ms: int
    until_ms: int
    tag: Tag
    values: Values


@dataclass(frozen=True, slots=True)
class Grid:
    """Blocks end at multiples of ``step_ms``; a sample before is searched ``lookback_ms`` before the block."""

    step_ms: int
    lookback_ms: int

    def before(self, time_ms: int) -> int:
        """The instant on the grid before a sample: the beginning of its block."""
        return (time_ms - 1) // self.step_ms * self.step_ms

    def floor(self, time_ms: float) -> int:
        """The last instant on the grid, not after this one."""
        return int(time_ms // self.step_ms) * self.step_ms

    def ceiling(self, time_ms: float) -> int:
        """The first instant on the grid, not before this one."""
        return -(int(-time_ms // self.step_ms)) * self.step_ms


@dataclass(slots=True)
class Proxy:
    """When a proxy was scraped, in order, and which arms it knew then."""

    name: str
    times: list[int] = field(default_factory=list)
    arms: dict[int, set[Version]] = field(default_factory=dict)

    def last(self, until_ms: int) -> int:
        """The index of the last scrape until then; -1: none."""
        return bisect_right(self.times, until_ms) - 1

    def spacing_ms(self, last: int, oldest_ms: int, least_ms: int) -> int:
        """How far apart its scrapes are, after ``oldest_ms`` and up to the one with this index: the least distance,
        which a lost scrape does not change, but not less than ``least_ms``."""
        times = self.times[bisect_right(self.times, oldest_ms) : last + 1]
        return max(min((b - a for a, b in pairwise(times)), default=0), least_ms)


def proxies_of(counters: Iterable[Counter]) -> list[Proxy]:
    """The proxies, by name."""
    found: dict[str, Proxy] = {}
    for counter in counters:
        proxy = found.setdefault(counter.proxy, Proxy(counter.proxy))
        arms, arm = proxy.arms, counter.tag[0]
        for time in counter.seen:
            known = arms.get(time)
            if known is None:
                arms[time] = {arm}
            else:
                known.add(arm)
    for proxy in found.values():
        proxy.times = sorted(proxy.arms)
    return [found[name] for name in sorted(found)]


def growths_of(counters: Sequence[Counter], grid: Grid, *, after_ms: int) -> list[Growth]:
    """Growth of every counter at every scrape after ``after_ms``, by time; also where it is nothing.

    ``counters`` must hold the samples of ``grid.lookback_ms`` before ``after_ms`` too.
    """
    by_name: dict[str, list[Counter]] = {}
    for counter in counters:
        by_name.setdefault(counter.proxy, []).append(counter)
    found: list[Growth] = []
    for proxy in proxies_of(counters):
        found += _growths(proxy, by_name[proxy.name], grid, after_ms)
    return sorted(found, key=lambda growth: growth.until_ms)


def _growths(proxy: Proxy, counters: Sequence[Counter], grid: Grid, after_ms: int) -> list[Growth]:
    found: list[Growth] = []
    times = [sorted(counter.seen) for counter in counters]
    for time in proxy.times[bisect_right(proxy.times, after_ms) :]:
        oldest = grid.before(time) - grid.lookback_ms
        known: list[Growth] = []
        new: list[Counter] = []
        for counter, own in zip(counters, times, strict=True):
            if time not in counter.seen:
                continue
            before = _newest_before(own, time)
            if before is None or before <= oldest:
                new.append(counter)
            else:
                known.append(Growth(before, time, counter.tag, _grown(counter.seen[time], counter.seen[before])))
        scraped = _newest_before(proxy.times, time)
        if known and scraped is not None and scraped > oldest:
            known += [Growth(scraped, time, counter.tag, counter.seen[time]) for counter in new]
        found += known
    return found


def _newest_before(times: Sequence[int], time: int) -> int | None:
    index = bisect_left(times, time)
    return times[index - 1] if index else None


def _grown(new: Values, old: Values) -> Values:
    """The difference.  The buckets of a histogram begin anew together, which shows where one of them fell, or where
    more requests came up to a bound than up to the next one."""
    grown = tuple(now - before for now, before in zip(new, old, strict=True))
    anew = any(upper < lower for lower, upper in pairwise((0.0, *grown)))
    return new if anew else grown
