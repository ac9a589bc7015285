"""Metrics of a release's own: the series that it names, followed one by one and summed up over windows of time.

They come from other targets than the mesh's, scraped at other instants.  So they have windows of their own, as long as
their scrapes are apart and ending at multiples of that; a window belongs to the block that it ends in, and counts only
where every version that is there was scraped in it.  Nothing of this depends on when it is read.
"""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from meshctl.adapters.prometheus.answers import Trouble
from meshctl.adapters.prometheus.cursor import instant_of
from meshctl.adapters.prometheus.cutting import present
from meshctl.adapters.prometheus.differencing import Arm, Grid, Growth, Outcome, Proxy
from meshctl.adapters.prometheus.own_kinds import BAD, TOTAL, Found, Grown, counted, grown
from meshctl.adapters.prometheus.questions import Questions
from meshctl.adapters.prometheus.selectors import Matcher, Selector
from meshctl.adapters.prometheus.settings import PrometheusSettings
from meshctl.adapters.prometheus.telemetry import Sources, Subject
from meshctl.core.metricrules import FIELDS, GAUGE_INTERVAL
from meshctl.core.model import CustomCounts, CustomMetric, MetricKind
from meshctl.core.names import subset_name
from meshctl.core.selectors import read_series

log = logging.getLogger(__name__)

LOOKED_BACK = 6
"""So many intervals back the sample before a sample is searched for, at least."""

GAUGE_PAST_S = 3600.0
"""A gauge has few values, so more of the past is looked at to know what is usual."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One metric in one stretch of time."""

    metric: CustomMetric
    grid: Grid
    grown: Grown
    lacking: tuple[Arm, ...] = ()
    """The versions that it has no series of."""

    def between(self, start_ms: int, end_ms: int, cut_ms: int) -> CustomCounts | None:
        """What was counted in all windows that end in a block; ``None`` where none is whole.  No growth since a scrape
        before ``cut_ms`` counts."""
        step = self.grid.step_ms
        ends = range(self.grid.floor(start_ms) + step, end_ms + 1, step)
        windows = [(end, found) for end in ends if (found := self._window(end, cut_ms))]
        if not windows:
            return None
        return self._counts([each for _, found in windows for each in found], windows[0][0] - step, windows[-1][0])

    def past(self, until_ms: int) -> CustomCounts | None:
        """All that the baseline did up to an instant, for whoever judges to learn from."""
        growths = [each for each in self.grown.growths if each.until_ms <= until_ms and each.tag[0] is Arm.BASELINE]
        if not growths:
            return None
        return self._counts(growths, self.grid.before(growths[0].until_ms), until_ms)

    def _counts(self, growths: Sequence[Growth], start_ms: int, end_ms: int) -> CustomCounts:
        bounds = self.grown.bounds
        baseline, candidate = (counted(self.metric, growths, arm, bounds) for arm in (Arm.BASELINE, Arm.CANDIDATE))
        return CustomCounts(self.metric.name, instant_of(start_ms), instant_of(end_ms), baseline, candidate, bounds)

    def _window(self, end_ms: int, cut_ms: int) -> list[Growth]:
        first, last = (
            bisect_right(self.grown.growths, time, key=lambda growth: growth.until_ms)
            for time in (end_ms - self.grid.step_ms, end_ms)
        )
        found = [growth for growth in self.grown.growths[first:last] if growth.since_ms >= cut_ms]
        fresh = {growth.tag[0] for growth in found}
        return found if present(self.grown.proxies, self.grid, end_ms) <= fresh else []


@dataclass(frozen=True, slots=True)
class OwnMetrics:
    """All metrics of a release's own in one stretch of time, and what is to be told of them."""

    measured: tuple[Measured, ...] = ()
    notes: tuple[str, ...] = ()
    known: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """The bounds that were known before."""

    @property
    def proxies(self) -> list[Proxy]:
        """Whoever shows their series."""
        return [proxy for each in self.measured for proxy in each.grown.proxies]

    @property
    def bounds(self) -> dict[str, tuple[float, ...]]:
        """By name, of the metrics that have any; they stay the same for a run."""
        found = {each.metric.name: each.grown.bounds for each in self.measured if each.grown.bounds}
        return {**self.known, **found}

    def between(self, start_ms: int, end_ms: int, cut_ms: int) -> tuple[CustomCounts, ...]:
        """What belongs to a block."""
        found = (each.between(start_ms, end_ms, cut_ms) for each in self.measured)
        return tuple(each for each in found if each is not None)

    def past(self, until_ms: int) -> tuple[CustomCounts, ...]:
        """What the baseline did before."""
        found = (each.past(each.grid.floor(until_ms)) for each in self.measured)
        return tuple(each for each in found if each is not None)


def read_own(
    subject: Subject, questions: Questions, at_ms: int, until_ms: int, known: Mapping[str, tuple[float, ...]]
) -> OwnMetrics:
    """The metrics of the release for the blocks after ``at_ms``; ``known`` are the bounds of those that have any.

    Raises `Trouble` that names the metric.  A dry run gives no trouble, only a note, and is asked for last: what
    decides does not wait for it.
    """
    measured, notes = [], []
    for metric in sorted(subject.own, key=lambda each: each.dry_run):
        try:
            found = _measured(subject, metric, questions, (at_ms, until_ms), known.get(metric.name, ()))
        except Trouble as trouble:
            told = f"metric {metric.name}: {trouble}"
            if not metric.dry_run:
                raise Trouble(told, again=trouble.again, wait_s=trouble.wait_s) from None
            notes.append(f"{told} (a dry run: nothing waits for it)")
            continue
        measured.append(found)
        versions = {Arm.BASELINE: subject.baseline, Arm.CANDIDATE: subject.candidate}
        if found.lacking:
            names = " and ".join(versions[arm] for arm in found.lacking)
            asked = series_of(subject, getattr(metric, FIELDS[metric.kind][-1]), versions[found.lacking[-1]])
            notes.append(f"metric {metric.name}: there are no series of {names}: {asked}")
    return OwnMetrics(tuple(measured), tuple(notes), known)


def read_past(subject: Subject, questions: Questions, now_ms: int) -> OwnMetrics:
    """What the baseline did lately, by each metric as far as it can be had: no trouble, the run has not begun."""
    settings, alone = subject.settings, replace(subject, candidate="")
    found: list[Measured] = []
    for metric in subject.own:
        past_s = GAUGE_PAST_S if metric.kind is MetricKind.GAUGE else settings.history_s
        try:
            found.append(_measured(alone, metric, questions, (now_ms - round(past_s * 1000), now_ms), ()))
        except Trouble as trouble:
            log.info("no past of metric %s: %s", metric.name, trouble)
    return OwnMetrics(tuple(found))


def series_of(subject: Subject, text: str, version: str) -> Selector:
    """What a person's selector means for a version: only series of the release's own namespace, and of what the
    operator's matchers leave.  Raises `Trouble` for text that is none, which validation refuses before."""
    try:
        series = read_series(text)
    except ValueError as error:
        raise Trouble(f"{text[:80]!r} {error}") from None
    metadata, settings = subject.release.metadata, subject.settings
    texts = {
        "version": version,
        "subset": subset_name(version),
        "service": subject.release.spec.service,
        "namespace": metadata.namespace,
        "release": metadata.name,
    }
    filled = (match.filled(texts) for match in series.matches)
    return Selector(
        (series.metric,),
        (
            *(Matcher(each.label, each.operator, each.value) for each in filled),
            *_confined(settings, metadata.namespace),
        ),
    )


def _confined(settings: PrometheusSettings, namespace: str) -> tuple[Matcher, ...]:
    """Matchers that no release can leave out.  Who scraped the proxies is not who scrapes a service's own targets."""
    own = [Matcher(settings.namespace_label, "=", namespace)] if settings.namespace_label else []
    operator = sorted(settings.matchers.items())
    return (*own, *(Matcher(name, "=", value) for name, value in operator if name not in settings.scraper_labels))


def _interval_s(metric: CustomMetric, settings: PrometheusSettings) -> float:
    if metric.interval is not None:
        return metric.interval.total_seconds()
    least = GAUGE_INTERVAL.total_seconds() if metric.kind is MetricKind.GAUGE else 0.0
    return max(settings.scrape_interval_s, least)


def _measured(
    subject: Subject,
    metric: CustomMetric,
    questions: Questions,
    span_ms: tuple[int, int],
    bounds: tuple[float, ...],
) -> Measured:
    settings = subject.settings
    interval_s = _interval_s(metric, settings)
    lookback_s = max(settings.lookback_s, LOOKED_BACK * interval_s)
    grid = Grid(round(interval_s * 1000), round(lookback_s * 1000))
    at_ms, until_ms = span_ms
    after_ms = grid.floor(at_ms)
    found: list[Found] = []
    signed = metric.kind is MetricKind.GAUGE
    versions = {Arm.BASELINE: subject.baseline, Arm.CANDIDATE: subject.candidate}
    arms = [arm for arm, version in versions.items() if version]
    for arm in arms:
        for name in FIELDS[metric.kind]:
            selector = series_of(subject, getattr(metric, name), versions[arm])
            series = questions.samples(selector, after_ms - grid.lookback_ms, until_ms, signed=signed)
            found += [(arm, BAD if name == "bad" else TOTAL, each) for each in series]
    if len(found) > settings.series_max:
        raise Trouble(f"{len(found)} series, more than the {settings.series_max} that are followed: name fewer")
    _refuse_common(found)
    sources = Sources(settings, (series for _, _, series in found), at_ms)
    present_arms = {arm for arm, outcome, _ in found if outcome is TOTAL}
    lacking = tuple(arm for arm in arms if arm not in present_arms)
    return Measured(metric, grid, grown(metric, found, sources, grid, after_ms, bounds), lacking)


def _refuse_common(found: Sequence[Found]) -> None:
    """Series of both versions at once tell nothing of either."""
    labels: dict[tuple[Outcome, str, frozenset[tuple[str, str]]], Arm] = {}
    for arm, outcome, series in found:
        if labels.setdefault((outcome, series.bound, frozenset(series.labels.items())), arm) is not arm:
            raise Trouble(f"its selector finds the same series for both versions: {dict(series.labels)}"[:300])
