"""What the metrics of a release's own must satisfy, and what they allow where they do not say it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import timedelta

from meshctl.core.model import AnalysisSpec, CustomMetric, Engine, MetricKind, Tolerance
from meshctl.core.selectors import VERSIONED, read_series
from meshctl.core.timetext import format_duration

Found = tuple[tuple[str | int, ...], str]

METRICS_LIMIT = 8
"""Each one dilutes the evidence of the others, and is a part of the record of a run."""
NAME_LIMIT = 40
SERIES_LIMIT = 1000
"""Most characters of a selector."""
RESERVED_NAMES = frozenset({"errors", "latency"})
INTERVAL_LEAST, INTERVAL_MOST = timedelta(seconds=1), timedelta(minutes=5)

NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,38}[a-z0-9])?", re.ASCII)

FIELDS = {
    MetricKind.COUNTER_RATIO: ("bad", "total"),
    MetricKind.HISTOGRAM: ("buckets",),
    MetricKind.GAUGE: ("value",),
}
"""Which selectors belong to which kind."""

GAUGE_INTERVAL = timedelta(seconds=15)
"""One value of a gauge's series counts in so long a time, where nothing else is said: values that follow each other
more closely repeat each other."""

_USUAL = {
    MetricKind.COUNTER_RATIO: Tolerance(1.10, 1.25, 0.001),
    MetricKind.HISTOGRAM: Tolerance(1.05, 1.15, 0.01),
    MetricKind.GAUGE: Tolerance(1.10, 1.50, 0.10),
}
"""As for errors and for latency.  A gauge has a few values a minute, which never show so small a margin."""


def allowed(metric: CustomMetric) -> Tolerance:
    """What a metric allows: as is usual for its kind, where it does not say."""
    usual = _USUAL[metric.kind]
    return Tolerance(
        usual.tolerance if metric.tolerance is None else metric.tolerance,
        usual.margin if metric.margin is None else metric.margin,
        usual.harm if metric.harm is None else metric.harm,
    )


def metric_problems(analysis: AnalysisSpec, *, embedded: bool = False) -> Iterator[Found]:
    """Everything that is wrong with the metrics of an analysis."""
    metrics = analysis.metrics
    if not metrics:
        return
    names = ", ".join(metric.name[:NAME_LIMIT] for metric in metrics[:METRICS_LIMIT])
    if embedded:
        yield (), f"{names}: read from Prometheus, and the embedded mesh has none; leave them out here"
    if analysis.engine is not Engine.SEQUENTIAL:
        yield (), f"{names}: judged by engine: sequential only; engine: {analysis.engine} knows errors and latency"
    if len(metrics) > METRICS_LIMIT:
        yield (), f"must be at most {METRICS_LIMIT} metrics, found {len(metrics)}"
    seen: set[str] = set()
    for position, metric in enumerate(metrics):
        if not NAME.fullmatch(metric.name):
            yield (
                (position, "name"),
                f"must be at most {NAME_LIMIT} lower-case letters, digits and '-', such as failed-orders",
            )
        elif metric.name in RESERVED_NAMES:
            yield (position, "name"), f"{metric.name!r} is what every release is judged by; choose another name"
        elif metric.name in seen:
            yield (position, "name"), f"{metric.name!r} stands here twice; evidence is known by the name of its metric"
        seen.add(metric.name)
        for path, message in (*_series(metric), *_limits(metric)):
            yield (position, *path), message


def _series(metric: CustomMetric) -> Iterator[Found]:
    for kind, names in FIELDS.items():
        for name in names:
            text = getattr(metric, name)
            if kind is not metric.kind:
                if text:
                    mine = " and ".join(FIELDS[metric.kind])
                    yield (name,), f"belongs to kind: {kind}; a {metric.kind} has {mine}"
            elif not text:
                yield (name,), f"is missing: a {metric.kind} has {' and '.join(names)}"
            else:
                yield from _one(name, text)


def _one(name: str, text: str) -> Iterator[Found]:
    if len(text) > SERIES_LIMIT:
        yield (name,), f"must have at most {SERIES_LIMIT} characters, found {len(text)}"
        return
    try:
        series = read_series(text)
    except ValueError as error:
        yield (name,), str(error)
        return
    if not series.places & VERSIONED:
        yield (
            (name,),
            'does not tell the versions apart: some label must have "{{version}}" in its value, or "{{subset}}"',
        )


def _limits(metric: CustomMetric) -> Iterator[Found]:
    values = allowed(metric)
    if not (math.isfinite(values.tolerance) and values.tolerance >= 1):
        yield ("tolerance",), f"is a ratio candidate / baseline, at least 1, found {values.tolerance:g}"
    elif not (math.isfinite(values.margin) and values.margin > values.tolerance):
        yield ("margin",), f"must be greater than tolerance, {values.tolerance:g}, found {values.margin:g}"
    if not 0 < values.harm < 1:
        yield ("harm",), f"is a share of everything counted, between 0 and 1, found {values.harm:g}"
    interval = metric.interval
    if interval is not None and not INTERVAL_LEAST <= interval <= INTERVAL_MOST:
        least, most = format_duration(INTERVAL_LEAST), format_duration(INTERVAL_MOST)
        yield ("interval",), f"must be from {least} to {most}, found {format_duration(interval)}"
