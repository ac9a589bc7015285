"""One stretch of time as Prometheus sums it up: for more series than can be fetched and followed one by one.

It takes the last sample of every series at the beginning and at the end of each block and differences them itself; a
counter that fell, and a series that is new on a proxy that is not, have grown from zero.  Unlike the function
`increase` this neither guesses what lies between scrapes nor loses the first event of a series.  Yet it is
approximate: of several restarts within a block one is seen, and late scrapes and changes of the server go unnoticed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from meshctl.adapters.prometheus.answers import Series, Trouble
from meshctl.adapters.prometheus.cursor import Cursor
from meshctl.adapters.prometheus.cutting import Span
from meshctl.adapters.prometheus.differencing import Arm, Outcome, Tag, Values, Version
from meshctl.adapters.prometheus.exact import Stretch, grid_of, slice_ms, with_own
from meshctl.adapters.prometheus.own import read_own
from meshctl.adapters.prometheus.questions import Questions
from meshctl.adapters.prometheus.selectors import Matcher, Selector
from meshctl.adapters.prometheus.settings import PrometheusSettings
from meshctl.adapters.prometheus.telemetry import Subject, bound_of, outcome

_TOLD_APART = (
    "destination_canonical_revision",
    "destination_canonical_service",
    "response_code",
    "response_flags",
    "grpc_response_status",
)


@dataclass(frozen=True, slots=True)
class _Window:
    """The instants of one stretch at which blocks may end."""

    start_ms: int
    ends: range
    step_ms: int
    lookback_ms: int

    def last_of(self, selector: Selector) -> str:
        return f"last_over_time({selector.over(self.lookback_ms)})"

    def grown(self, selector: Selector, labels: Sequence[str]) -> str:
        """Growth during one step, summed up by labels."""
        last = self.last_of(selector)
        known = f"({last} - {last[:-1]} offset {self.step_ms}ms))"
        anew = f"({last} and on (job, instance) {known})"
        return f"sum by ({', '.join(labels)}) (({known} >= 0) or {anew})"


def read_summed(subject: Subject, questions: Questions, cursor: Cursor, now_ms: int) -> Stretch:
    """All blocks of the stretch after ``cursor``, as far as they can be told now.  Raises `Trouble`."""
    settings, grid = subject.settings, grid_of(subject.settings)
    waited = now_ms - round(max(settings.settle_s, settings.lateness_s) * 1000)
    last = min(grid.floor(waited), cursor.at_ms + slice_ms(grid))
    ends = range(cursor.at_ms + grid.step_ms, last + 1, grid.step_ms)
    window = _Window(cursor.at_ms, ends, grid.step_ms, grid.lookback_ms)
    if not ends:
        return Stretch((), cursor)
    _refuse_doubles(subject, questions, ends[-1])
    labels = _labels(settings)
    rows = questions.sums(window.grown(subject.requests(), labels), ends[0], ends[-1], window.step_ms)
    blocks = _complete(subject, questions, window)
    if not blocks:
        present = any(subject.arm(row.labels) not in (None, Arm.STRAY) for row in rows)
        return Stretch((), cursor, "" if present else "no series")
    spans = _spans(window, blocks, _by_tag(subject, rows))
    own = read_own(subject, questions, cursor.at_ms, blocks[-1], cursor.own)
    following = replace(cursor, at_ms=blocks[-1], interval_ms=grid.step_ms, own=own.bounds)
    if not settings.latency_metric:
        slow = [Span(span.start_ms, span.end_ms) for span in spans]
        return Stretch(with_own(spans, slow, own, cursor.cut_ms), following, notes=own.notes)
    bounds = _bounds(subject, questions, cursor, ends[-1])
    rows = questions.sums(window.grown(subject.latencies(), [*labels, "le"]), ends[0], ends[-1], window.step_ms)
    slow = _spans(window, blocks, _by_bounds(subject, rows, bounds))
    counted = with_own(spans, slow, own, cursor.cut_ms)
    return Stretch(counted, replace(following, bounds_ms=bounds), notes=own.notes)


def _labels(settings: PrometheusSettings) -> list[str]:
    return [settings.version_label, *filter(None, [settings.subset_label]), *_TOLD_APART]


def _complete(subject: Subject, questions: Questions, window: _Window) -> list[int]:
    """The instants at which blocks end: some counter of each version that is there was scraped since the last one."""
    settings, selector = subject.settings, subject.requests()
    labels = ", ".join(_labels(settings)[: 1 + bool(settings.subset_label)])
    ends, step = window.ends, window.step_ms
    asked = [f"count by ({labels}) (count_over_time({selector.over(width)}))" for width in (step, 3 * step)]
    fresh, present = (
        [_arms_at(subject, row) for row in questions.sums(query, ends[0], ends[-1], step)] for query in asked
    )
    found: list[int] = []
    seen: set[Version] = set()
    for end in ends:
        seen |= {arm for arm, times in fresh if end in times}
        if seen and {arm for arm, times in present if end in times} <= seen:
            found.append(end)
            seen = set()
    return found


def _arms_at(subject: Subject, row: Series) -> tuple[Version, frozenset[int]]:
    arm = subject.arm(row.labels)
    known = arm is not None and arm is not Arm.STRAY
    return (arm or Arm.STRAY, frozenset(row.samples) if known else frozenset())


def _by_tag(subject: Subject, rows: Sequence[Series]) -> dict[tuple[Tag, int], Values]:
    found: dict[tuple[Tag, int], Values] = {}
    for row in rows:
        arm = subject.arm(row.labels)
        if arm is None:
            continue
        tag = (arm, outcome(row.labels))
        for time, value in row.samples.items():
            found[tag, time] = (found.get((tag, time), (0.0,))[0] + value,)
    return found


def _by_bounds(subject: Subject, rows: Sequence[Series], bounds_ms: Sequence[float]) -> dict[tuple[Tag, int], Values]:
    place = {bound: index for index, bound in enumerate((*bounds_ms, math.inf))}
    found: dict[tuple[Tag, int], list[float]] = {}
    for row in rows:
        arm, index = subject.arm(row.labels), place.get(bound_of(row.bound))
        if arm is None or arm is Arm.STRAY or index is None or outcome(row.labels) is not Outcome.GOOD:
            continue
        for time, value in row.samples.items():
            found.setdefault(((arm, Outcome.GOOD), time), [0.0] * len(place))[index] += value
    return {key: tuple(values) for key, values in found.items()}


def _spans(window: _Window, blocks: Sequence[int], grown: dict[tuple[Tag, int], Values]) -> list[Span]:
    spans, start = [], window.start_ms
    for end in blocks:
        sums: dict[Tag, Values] = {}
        for (tag, time), values in grown.items():
            if start < time <= end and any(values):
                known = sums.get(tag, (0.0,) * len(values))
                sums[tag] = tuple(a + b for a, b in zip(known, values, strict=True))
        spans.append(Span(start, end, sums))
        start = end
    return spans


def _bounds(subject: Subject, questions: Questions, cursor: Cursor, at_ms: int) -> tuple[float, ...]:
    """The bounds that every histogram has.  Raises `Trouble` where one of this run is not among them any more."""
    numbers = questions.numbers(f"count by (le) ({subject.latencies()})", at_ms)
    most = max((number.value for number in numbers), default=0.0)
    common = {bound_of(number.labels.get("le", "")) for number in numbers if number.value == most}
    bounds = cursor.bounds_ms or tuple(sorted(bound for bound in common if 0 < bound < math.inf))
    missing = [bound for bound in (*bounds, math.inf) if bound not in common]
    if not bounds:
        raise Trouble(f"there are requests, but no {subject.settings.latency_metric} with finite buckets")
    if missing:
        raise Trouble(f"the buckets of the latency are not the same everywhere: some have none at {missing[0]:g} ms")
    return bounds


def _refuse_doubles(subject: Subject, questions: Questions, at_ms: int) -> None:
    """Who scrapes a proxy twice would count it twice, and there are too many series to sort that out here."""
    settings = subject.settings
    selector = subject.requests()
    selector = replace(selector, matchers=(*selector.matchers, Matcher("pod", "!=", "")))
    proxy = ", ".join(settings.proxy_labels)
    scraped = f"group by ({proxy}, {', '.join(settings.scraper_labels)}) ({selector})"
    numbers = questions.numbers(f"max(count by ({proxy}) ({scraped}))", at_ms)
    if numbers and numbers[0].value > 1:
        raise Trouble(
            f"the same proxies are scraped {numbers[0].value:.0f} times over, and there are more than"
            f" {settings.series_max} series: narrow them by matchers, for instance to one job"
        )
