"""How the requests of a service really split up, for whoever must see that a weight is in effect."""

from __future__ import annotations

from collections import Counter as Tally

from meshctl.adapters.prometheus.differencing import Counter, growths_of
from meshctl.adapters.prometheus.exact import grid_of, slice_ms
from meshctl.adapters.prometheus.questions import Questions
from meshctl.adapters.prometheus.telemetry import Sources, Subject, outcome, version_of


def observe(subject: Subject, questions: Questions, since_ms: int, now_ms: int) -> dict[str, int]:
    """Requests by the version that answered, ``unknown`` where none was reached.

    Counts only what grew between two scrapes that both came after ``since_ms``, an instant of Prometheus's clock; at
    most the last two minutes.  Raises `Trouble`.
    """
    settings, grid = subject.settings, grid_of(subject.settings)
    since_ms = max(since_ms, now_ms - slice_ms(grid))
    series = questions.samples(subject.any_version(), since_ms - grid.lookback_ms, now_ms)
    sources = Sources(settings, series, since_ms)
    counters = [
        Counter(
            proxy,
            (version_of(settings, each.labels), outcome(each.labels)),
            {time: (value,) for time, value in each.samples.items()},
        )
        for each in series
        if (proxy := sources.listen_to(each)) is not None
    ]
    requests: Tally[str] = Tally()
    for growth in growths_of(counters, grid, after_ms=since_ms):
        if growth.since_ms >= since_ms:
            requests[str(growth.tag[0])] += round(growth.values[0])
    return dict(requests)
