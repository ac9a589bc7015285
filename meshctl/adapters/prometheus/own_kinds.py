"""How the samples of each kind of metric become counts, scrape by scrape or window by window.

A counter-ratio and a histogram grow, each series by itself.  A gauge says how things stand: of each series the mean of
a window is one value.  Values are counted between bounds that stay the same for a run: a histogram's own, and for a
gauge steps of a fixed factor around what the baseline has shown (design: statistics.md section 5, raw samples).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from meshctl.adapters.prometheus.answers import Series, Trouble
from meshctl.adapters.prometheus.differencing import Arm, Counter, Grid, Growth, Outcome, Proxy, growths_of, proxies_of
from meshctl.adapters.prometheus.telemetry import Buckets, Histograms, Sources, bound_of
from meshctl.core.metricrules import allowed
from meshctl.core.model import ArmCounts, CustomMetric, MetricKind

TOTAL, BAD = Outcome.GOOD, Outcome.BAD
"""How the two counters of a ratio are told apart, the total holding the bad ones too; everything else is `TOTAL`."""

STEPS_MOST = 40
"""Most bounds of a gauge."""
SPARE = 3
"""So many bounds beyond the largest value that the baseline has shown."""

SMALLEST = 1e-9
"""What is less, or less than so large a part of the largest value, is told apart no further."""

Found = tuple[Arm, Outcome, Series]


@dataclass(frozen=True, slots=True)
class Grown:
    """Who was scraped, what grew when (a gauge's values grow from window to window), and between which bounds values
    are counted."""

    proxies: Sequence[Proxy]
    growths: Sequence[Growth]
    bounds: tuple[float, ...] = ()


def grown(
    metric: CustomMetric, found: Sequence[Found], sources: Sources, grid: Grid, after_ms: int, bounds: tuple[float, ...]
) -> Grown:
    """What the series of a metric say from ``after_ms`` on.  ``bounds`` are those of the run, if they are known.

    Raises `Trouble` where they do not fit any more.
    """
    if metric.kind is MetricKind.GAUGE:
        return _of_gauge(metric, found, sources, grid, after_ms, bounds)
    if metric.kind is MetricKind.COUNTER_RATIO:
        counters = _counters(found, sources)
    else:
        known = Histograms(_families(found, sources), f"the buckets of {metric.name}", "")
        bounds = bounds or known.bounds_ms()
        if known.found and not bounds:
            raise Trouble("its histograms have no finite bucket in common: name the series that end in _bucket")
        counters = known.counters(bounds)
    return Grown(proxies_of(counters), growths_of(counters, grid, after_ms=after_ms), bounds)


def counted(metric: CustomMetric, growths: Sequence[Growth], arm: Arm, bounds: tuple[float, ...]) -> ArmCounts:
    """What one version did.  Where the bad ones are counted first, there may be more of them for a moment."""
    if metric.kind is MetricKind.COUNTER_RATIO:
        total, bad = (
            round(sum(growth.values[0] for growth in growths if growth.tag == (arm, outcome)))
            for outcome in (TOTAL, BAD)
        )
        return ArmCounts(max(total, bad), bad)
    below = [0.0] * (len(bounds) + 1)
    for growth in growths:
        if growth.tag == (arm, TOTAL):
            below = [a + b for a, b in zip(below, growth.values, strict=True)]
    values = tuple(max(round(upper - lower), 0) for lower, upper in zip((0.0, *below), below, strict=False))
    return ArmCounts(sum(values), 0, values)


def _counters(found: Sequence[Found], sources: Sources) -> list[Counter]:
    return [
        Counter(proxy, (arm, outcome), {time: (value,) for time, value in series.samples.items()})
        for arm, outcome, series in found
        if (proxy := sources.listen_to(series)) is not None
    ]


def _families(found: Sequence[Found], sources: Sources) -> tuple[tuple[str, tuple[Arm, Outcome], Buckets], ...]:
    """The histograms: series that differ in their bound only."""
    families: dict[tuple[Arm, frozenset[tuple[str, str]]], list[Series]] = {}
    for arm, _, series in found:
        if not series.bound:
            raise Trouble("has no label le: name the series of a histogram that end in _bucket")
        families.setdefault((arm, frozenset(series.labels.items())), []).append(series)
    return tuple(
        (proxy, (arm, TOTAL), {bound_of(each.bound): each.samples for each in family})
        for (arm, _), family in families.items()
        if (proxy := sources.listen_to(family[0])) is not None
    )


# ------------------------------------------------------------------------------------ gauges


def _of_gauge(
    metric: CustomMetric, found: Sequence[Found], sources: Sources, grid: Grid, after_ms: int, bounds: tuple[float, ...]
) -> Grown:
    heard = [(proxy, arm, series) for arm, _, series in found if (proxy := sources.listen_to(series)) is not None]
    bounds = bounds or _steps(metric, [series for _, arm, series in heard if arm is Arm.BASELINE])
    proxies = proxies_of(
        Counter(proxy, (arm, TOTAL), dict.fromkeys(series.samples, (0.0,))) for proxy, arm, series in heard
    )
    growths = []
    for _, arm, series in heard if bounds else ():
        for end, values in sorted(_windows(series, grid, after_ms).items()):
            mean = fmean(value for _, value in values)
            below = (*(1.0 if mean <= bound else 0.0 for bound in bounds), 1.0)
            growths.append(Growth(end - grid.step_ms, values[-1][0], (arm, TOTAL), below))
    return Grown(proxies, sorted(growths, key=lambda growth: growth.until_ms), bounds)


def _windows(series: Series, grid: Grid, after_ms: int) -> dict[int, list[tuple[int, float]]]:
    """The samples of each window, by its end, in order."""
    found: dict[int, list[tuple[int, float]]] = {}
    for time in sorted(series.samples):
        if time > after_ms:
            found.setdefault(grid.before(time) + grid.step_ms, []).append((time, series.samples[time]))
    return found


def _steps(metric: CustomMetric, baseline: Sequence[Series]) -> tuple[float, ...]:
    """Bounds as far apart as the tolerance, so that what is tolerated is one step, from the smallest to a little above
    the largest value above zero of the baseline; farther apart where that would be too many."""
    values = sorted(value for series in baseline for value in series.samples.values() if value > SMALLEST)
    if not values:
        return ()
    factor = max(allowed(metric).tolerance, 1.02)
    highest = values[-1]
    lowest = max(values[len(values) // 50], highest * SMALLEST)
    # The smallest value in the middle of a step: what wavers around it stays there.
    first = lowest / math.sqrt(factor)
    factor = max(factor, (highest / first) ** (1.0 / (STEPS_MOST - SPARE)))
    count = math.ceil(math.log(highest / first) / math.log(factor)) + SPARE
    return tuple(float(f"{first * factor**step:.6g}") for step in range(count))
