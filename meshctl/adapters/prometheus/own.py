"""Metrics of a release's own: the series that it names, followed one by one and summed up over windows of time.

They come from other targets than the mesh's, scraped at other instants.  So they have windows of their own, as long as
their scrapes are apart and ending at multiples of that; a window belongs to the block that it ends in, and counts only
where every version that is there was scraped in it.  Nothing of this depends on when it is read.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from meshctl.adapters.prometheus.answers import Series, Trouble
from meshctl.adapters.prometheus.cursor import instant_of
from meshctl.adapters.prometheus.cutting import present
from meshctl.adapters.prometheus.differencing import Arm, Counter, Grid, Growth, Outcome, Proxy, growths_of, proxies_of
from meshctl.adapters.prometheus.questions import Questions
from meshctl.adapters.prometheus.selectors import Matcher, Selector
from meshctl.adapters.prometheus.settings import PrometheusSettings
from meshctl.adapters.prometheus.telemetry import Sources, Subject
from meshctl.core.model import ArmCounts, CustomCounts, CustomMetric
from meshctl.core.names import subset_name
from meshctl.core.selectors import read_series

TOTAL, BAD = Outcome.GOOD, Outcome.BAD
"""How the two counters of a ratio are told apart; the total holds the bad ones too."""

LOOKED_BACK = 6
"""So many intervals back the sample before a sample is searched for, at least."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One metric in one stretch of time."""

    metric: CustomMetric
    grid: Grid
    proxies: Sequence[Proxy]
    growths: Sequence[Growth]
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
        growths = [growth for _, found in windows for growth in found]
        start, end = instant_of(windows[0][0] - step), instant_of(windows[-1][0])
        baseline, candidate = (_ratio(growths, arm) for arm in (Arm.BASELINE, Arm.CANDIDATE))
        return CustomCounts(self.metric.name, start, end, baseline, candidate)

    def _window(self, end_ms: int, cut_ms: int) -> list[Growth]:
        first, last = (
            bisect_right(self.growths, time, key=lambda growth: growth.until_ms)
            for time in (end_ms - self.grid.step_ms, end_ms)
        )
        found = [growth for growth in self.growths[first:last] if growth.since_ms >= cut_ms]
        fresh = {growth.tag[0] for growth in found}
        return found if present(self.proxies, self.grid, end_ms) <= fresh else []


@dataclass(frozen=True, slots=True)
class OwnMetrics:
    """All metrics of a release's own in one stretch of time, and what is to be told of them."""

    measured: tuple[Measured, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def proxies(self) -> list[Proxy]:
        """Whoever shows their series."""
        return [proxy for each in self.measured for proxy in each.proxies]

    def between(self, start_ms: int, end_ms: int, cut_ms: int) -> tuple[CustomCounts, ...]:
        """What belongs to a block."""
        found = (each.between(start_ms, end_ms, cut_ms) for each in self.measured)
        return tuple(each for each in found if each is not None)


def read_own(subject: Subject, questions: Questions, at_ms: int, until_ms: int) -> OwnMetrics:
    """The metrics of the release for the blocks after ``at_ms``.

    Raises `Trouble` that names the metric.  A dry run gives no trouble, only a note.
    """
    measured, notes = [], []
    for metric in subject.own:
        try:
            found = _measured(subject, metric, questions, at_ms, until_ms)
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
            notes.append(f"metric {metric.name}: there are no series of {names}: {_named(subject, metric)}")
    return OwnMetrics(tuple(measured), tuple(notes))


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


def _named(subject: Subject, metric: CustomMetric) -> str:
    return str(series_of(subject, metric.total, subject.candidate))


def _measured(subject: Subject, metric: CustomMetric, questions: Questions, at_ms: int, until_ms: int) -> Measured:
    settings = subject.settings
    interval_s = metric.interval.total_seconds() if metric.interval else settings.scrape_interval_s
    lookback_s = max(settings.lookback_s, LOOKED_BACK * interval_s)
    grid = Grid(round(interval_s * 1000), round(lookback_s * 1000))
    after_ms = grid.floor(at_ms)
    found: list[tuple[Arm, Outcome, Series]] = []
    for arm, version in ((Arm.BASELINE, subject.baseline), (Arm.CANDIDATE, subject.candidate)):
        for outcome, text in ((TOTAL, metric.total), (BAD, metric.bad)):
            selector = series_of(subject, text, version)
            series = questions.samples(selector, after_ms - grid.lookback_ms, until_ms)
            found += [(arm, outcome, each) for each in series]
    if len(found) > settings.series_max:
        raise Trouble(f"{len(found)} series, more than the {settings.series_max} that are followed: name fewer")
    _refuse_common(found)
    sources = Sources(settings, (series for _, _, series in found), at_ms)
    counters = [
        Counter(proxy, (arm, outcome), {time: (value,) for time, value in series.samples.items()})
        for arm, outcome, series in found
        if (proxy := sources.listen_to(series)) is not None
    ]
    present_arms = {arm for arm, outcome, _ in found if outcome is TOTAL}
    lacking = tuple(arm for arm in (Arm.BASELINE, Arm.CANDIDATE) if arm not in present_arms)
    return Measured(metric, grid, proxies_of(counters), growths_of(counters, grid, after_ms=after_ms), lacking)


def _refuse_common(found: Sequence[tuple[Arm, Outcome, Series]]) -> None:
    """Series of both versions at once tell nothing of either."""
    labels: dict[tuple[Outcome, frozenset[tuple[str, str]]], Arm] = {}
    for arm, outcome, series in found:
        if labels.setdefault((outcome, frozenset(series.labels.items())), arm) is not arm:
            raise Trouble(f"its selector finds the same series for both versions: {dict(series.labels)}"[:300])


def _ratio(growths: Sequence[Growth], arm: Arm) -> ArmCounts:
    """Where the bad ones are counted first, there may be more of them for a moment."""
    total, bad = (
        round(sum(growth.values[0] for growth in growths if growth.tag == (arm, outcome))) for outcome in (TOTAL, BAD)
    )
    return ArmCounts(max(total, bad), bad)
