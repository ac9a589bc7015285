"""How the requests of a service really split up, for whoever must see that a weight is in effect."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from meshctl.adapters.prometheus.blocks import instant
from meshctl.adapters.prometheus.differencing import Counter, growths_of
from meshctl.adapters.prometheus.exact import grid_of, slice_ms
from meshctl.adapters.prometheus.questions import Questions
from meshctl.adapters.prometheus.selectors import UNKNOWN
from meshctl.adapters.prometheus.telemetry import Sources, Subject, named, outcome, version_of


@dataclass(frozen=True, slots=True)
class Observed:
    """Requests by the version that answered, ``unknown`` where none was reached, from a moment after the one that was
    asked for until ``until`` (``None``: nothing is known yet).  ``problem`` says why there are none."""

    requests: Mapping[str, int]
    until: datetime | None
    problem: str = ""

    @property
    def answered(self) -> int:
        """All requests that a version answered."""
        return sum(count for version, count in self.requests.items() if version != UNKNOWN)


def observe(subject: Subject, questions: Questions, since_ms: int, now_ms: int) -> Observed:
    """Counts only what grew between two scrapes that both came after ``since_ms``, an instant of Prometheus's clock;
    at most the last two minutes.  Raises `Trouble`."""
    settings, grid = subject.settings, grid_of(subject.settings)
    since_ms = max(since_ms, now_ms - slice_ms(grid))
    series = questions.samples(subject.any_version(), since_ms - grid.lookback_ms, now_ms)
    sources = Sources.of(settings, series, since_ms)
    counters = [
        Counter(
            named(settings, each.labels),
            (version_of(settings, each.labels), outcome(each.labels)),
            {time: (value,) for time, value in each.samples.items()},
        )
        for each in series
        if sources.listens_to(each.labels)
    ]
    growths = [each for each in growths_of(counters, grid, after_ms=since_ms) if each.since_ms >= since_ms]
    requests: Tally[str] = Tally()
    for growth in growths:
        requests[str(growth.tag[0])] += round(growth.values[0])
    return Observed(dict(requests), instant(growths[-1].until_ms) if growths else None)
