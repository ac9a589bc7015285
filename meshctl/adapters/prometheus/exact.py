"""One stretch of time from raw samples: every series followed by itself, cut into blocks.

Requests and durations come in one answer, hence from the same scrapes.  Requests say where blocks end; durations are
cut at the same places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from meshctl.adapters.prometheus.answers import Series, TooMuch, Trouble
from meshctl.adapters.prometheus.cursor import Cursor, instant_of
from meshctl.adapters.prometheus.cutting import (
    Line,
    Span,
    accepted,
    ends_of,
    fingerprint,
    interval_ms,
    overdue,
    present,
    spans_of,
)
from meshctl.adapters.prometheus.differencing import Arm, Grid, Outcome, Proxy, growths_of, proxies_of
from meshctl.adapters.prometheus.own import OwnMetrics, read_own
from meshctl.adapters.prometheus.questions import Questions
from meshctl.adapters.prometheus.settings import PrometheusSettings
from meshctl.adapters.prometheus.telemetry import Histograms, Subject, histograms, request_counters
from meshctl.core.model import CustomCounts

SLICE_S = 120.0
"""So much time is read at once, which bounds an answer however long nobody asked."""

FEW = 20
"""Good requests from which on it is no chance that there is no histogram at all."""


@dataclass(frozen=True, slots=True)
class Counted:
    """A block: what was counted, and the latencies of good requests, cumulative over the bounds and +Inf."""

    requests: Span
    latencies: Span
    custom: tuple[CustomCounts, ...] = ()


@dataclass(frozen=True, slots=True)
class Stretch:
    """What came of a stretch of time: blocks, where to go on, why there are no more (empty: nothing is wrong), and what
    is to be told beside."""

    blocks: tuple[Counted, ...]
    cursor: Cursor
    why: str = ""
    notes: tuple[str, ...] = ()


def grid_of(settings: PrometheusSettings) -> Grid:
    """The grid that blocks end on."""
    return Grid(round(settings.scrape_interval_s * 1000), round(settings.lookback_s * 1000))


def slice_ms(grid: Grid) -> int:
    """How much is read at once, in whole steps of the grid."""
    return max(round(SLICE_S * 1000) // grid.step_ms, 4) * grid.step_ms


def read_exactly(subject: Subject, questions: Questions, cursor: Cursor, now_ms: int) -> Stretch:
    """All blocks of the stretch after ``cursor``, as far as they can be told now.  Raises `Trouble`."""
    settings, grid = subject.settings, grid_of(subject.settings)
    until = min(now_ms, cursor.at_ms + slice_ms(grid))
    series = questions.samples(subject.everything(), cursor.at_ms - grid.lookback_ms, until)
    if len(series) > settings.series_max:
        raise TooMuch(f"there are {len(series)} series now, too many to follow each")
    requests, durations = _apart(settings, series)
    counters = request_counters(subject, requests, cursor.at_ms)
    proxies = proxies_of(counters)
    if not any(counter.tag[0] is not Arm.STRAY for counter in counters):
        return Stretch((), cursor, "no series" if not counters else "no version")
    line = _line(cursor, fingerprint(proxies, grid, cursor.at_ms))
    growths = accepted(growths_of(counters, grid, after_ms=cursor.at_ms), line)
    own = read_own(subject, questions, cursor.at_ms, until, cursor.own)
    last = _last_end(settings, grid, [*proxies, *own.proxies], cursor.at_ms, until, now_ms)
    ends = ends_of(proxies, growths, grid, line, last)
    if not ends:
        return Stretch((), cursor, _why_not(settings, grid, proxies, cursor.at_ms, now_ms))
    spans = spans_of(growths, cursor.at_ms, ends)
    following = replace(
        cursor,
        at_ms=ends[-1],
        cut_ms=line.cut_ms,
        mark=fingerprint(proxies, grid, ends[-1]),
        interval_ms=interval_ms(proxies, grid, ends[-1]),
        own=own.bounds,
    )
    if not settings.latency_metric:
        slow = [Span(span.start_ms, span.end_ms) for span in spans]
        return Stretch(with_own(spans, slow, own, line.cut_ms), following, notes=own.notes)
    found = histograms(subject, durations, cursor.at_ms)
    bounds = cursor.bounds_ms or found.bounds_ms()
    if not bounds or (not found.found and _good(spans) >= FEW):
        raise Trouble(f"there are requests, but no {settings.latency_metric} with finite buckets of the two versions")
    slow = _durations(settings, found, bounds, line, ends)
    return Stretch(with_own(spans, slow, own, line.cut_ms), replace(following, bounds_ms=bounds), notes=own.notes)


def with_own(requests: Sequence[Span], slow: Sequence[Span], own: OwnMetrics, cut_ms: int) -> tuple[Counted, ...]:
    """Blocks of requests, their durations, and what belongs to them of the release's own metrics."""
    return tuple(
        Counted(span, latencies, own.between(span.start_ms, span.end_ms, cut_ms))
        for span, latencies in zip(requests, slow, strict=True)
    )


def _apart(settings: PrometheusSettings, series: Sequence[Series]) -> tuple[list[Series], list[Series]]:
    """Requests, and durations."""
    requests = [each for each in series if each.labels.get("__name__") == settings.requests_metric]
    durations = [each for each in series if each.labels.get("__name__") == settings.latency_metric]
    return requests, durations


def _line(cursor: Cursor, mark: str) -> Line:
    """Where counting begins; anew at the cursor when other scrapes answer than those it stood on."""
    moved = bool(cursor.mark) and cursor.mark != mark
    return Line(cursor.at_ms, max(cursor.cut_ms, cursor.at_ms) if moved else cursor.cut_ms)


def _last_end(
    settings: PrometheusSettings, grid: Grid, proxies: Sequence[Proxy], at_ms: int, until_ms: int, now_ms: int
) -> int:
    """The last instant up to which nothing more is to be waited for."""
    last = at_ms
    for end in range(at_ms + grid.step_ms, until_ms + 1, grid.step_ms):
        young = now_ms - end < settings.lateness_s * 1000
        if now_ms - end < settings.settle_s * 1000 or (young and overdue(proxies, grid, end)):
            break
        last = end
    return last


def _durations(
    settings: PrometheusSettings, found: Histograms, bounds_ms: Sequence[float], line: Line, ends: Sequence[int]
) -> list[Span]:
    """Where requests count from a moment on, durations do so a little later: Envoy may still have shown some of before
    that moment after it."""
    counters = found.counters(bounds_ms)
    late = replace(line, cut_ms=line.cut_ms + round(settings.histogram_lag_s * 1000)) if line.cut_ms else line
    growths = accepted(growths_of(counters, grid_of(settings), after_ms=line.at_ms), late)
    return spans_of(growths, line.at_ms, ends)


def _good(spans: Sequence[Span]) -> float:
    """Good requests of both versions."""
    tags = [(arm, Outcome.GOOD) for arm in (Arm.BASELINE, Arm.CANDIDATE)]
    return sum(span.sums[tag][0] for span in spans for tag in tags if tag in span.sums)


def _why_not(settings: PrometheusSettings, grid: Grid, proxies: Sequence[Proxy], at_ms: int, now_ms: int) -> str:
    """Why no block ends, where one could have been expected to; empty while it is too early to say."""
    newest = max(proxy.times[-1] for proxy in proxies)
    spacings = [later - earlier for proxy in proxies for earlier, later in pairwise(proxy.times)]
    usual = max(min(spacings, default=0), grid.step_ms)
    patience = round(settings.lateness_s * 1000)
    if now_ms - newest > 3 * usual + patience:
        return f"nothing was scraped since {instant_of(newest):%H:%M:%S} UTC: does Prometheus still reach the proxies?"
    if 2 * usual > grid.lookback_ms:
        return (
            f"scrapes are {usual / 1000:.0f} s apart, too far for lookback_s, {settings.lookback_s:g} s:"
            " set scrape_interval_s to the interval of the scrapes, and lookback_s to six times that"
        )
    if now_ms - at_ms <= 4 * usual + patience:
        return ""
    arms = present(proxies, grid, now_ms)
    versions = " and ".join(f"the {arm.value}" for arm in Arm if arm in arms and arm is not Arm.STRAY) or "any version"
    return f"the proxies that count for {versions} are not scraped regularly, so no block is complete"
