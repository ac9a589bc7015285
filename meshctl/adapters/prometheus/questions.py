"""What is asked of Prometheus for one reading, with one budget of time for all of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from meshctl.adapters.prometheus.answers import Number, Reader, Series, Trouble
from meshctl.adapters.prometheus.selectors import Selector
from meshctl.adapters.prometheus.settings import PrometheusSettings
from meshctl.adapters.prometheus.transport import QUERY, Budget

QUERY_RANGE = "/api/v1/query_range"

_WHOLE = {"partial_response": "false"}
"""Thanos then refuses rather than leave out what it cannot reach; others do not mind."""

_MORE_MS = 1000
"""Asked for beyond what is needed: whether a range includes its beginning differs between versions."""


@dataclass(frozen=True, slots=True)
class Present:
    """What time it is for Prometheus, and how many series there are now."""

    now_ms: int
    series: int


class Asked(Protocol):
    """Whoever answers: `meshctl.adapters.prometheus.transport.Transport`."""

    settings: PrometheusSettings
    reader: Reader

    def ask(self, path: str, parameters: Mapping[str, str], budget: Budget) -> bytes:
        """The body of a good answer.  Raises `Trouble`."""
        ...

    def time_ms(self, budget: Budget) -> int:
        """What time it is for it.  Raises `Trouble`."""
        ...


class Questions:
    """One reading's questions; all of them raise `Trouble`."""

    def __init__(self, prometheus: Asked) -> None:
        self._prometheus = prometheus
        self._budget = Budget(prometheus.settings.budget_s)

    @property
    def left_s(self) -> float:
        """What is left of the time for this reading."""
        return self._budget.left_s

    def now_ms(self) -> int:
        """What time it is for Prometheus."""
        return self._prometheus.time_ms(self._budget)

    def present(self, selector: Selector) -> Present:
        """The time, from Prometheus's own clock at this very moment, and the number of series."""
        numbers = self.numbers(f"count({selector}) or vector(0)")
        if len(numbers) != 1:
            raise Trouble(f"{self._prometheus.reader.place} answered {len(numbers)} numbers where one was asked for")
        return Present(numbers[0].time_ms, int(numbers[0].value))

    def numbers(self, query: str, at_ms: int | None = None) -> list[Number]:
        """An instant vector, now or at an instant."""
        parameters = {"query": query} | ({} if at_ms is None else {"time": _seconds(at_ms)})
        return self._prometheus.reader.numbers(self._prometheus.ask(QUERY, _WHOLE | parameters, self._budget))

    def samples(self, selector: Selector, after_ms: int, until_ms: int, *, signed: bool = False) -> list[Series]:
        """Every sample of these series after the one instant and until the other, as it was scraped; ``signed`` as in
        `Reader.series`."""
        query = selector.over(until_ms - after_ms + _MORE_MS)
        parameters = _WHOLE | {"query": query, "time": _seconds(until_ms)}
        body = self._prometheus.ask(QUERY, parameters, self._budget)
        return self._prometheus.reader.series(body, after_ms, until_ms, signed=signed)

    def sums(self, query: str, first_ms: int, last_ms: int, step_ms: int) -> list[Series]:
        """A query at every step from the first instant to the last."""
        times = {"start": _seconds(first_ms), "end": _seconds(last_ms), "step": f"{step_ms}ms"}
        body = self._prometheus.ask(QUERY_RANGE, _WHOLE | {"query": query} | times, self._budget)
        return self._prometheus.reader.series(body, first_ms - 1, last_ms)


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d}"
