"""What Prometheus answers, as values; everything else that may come instead, as trouble in words."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

Rows = TypeVar("Rows")

_BOUND = re.compile(rb'"le"\s*:\s*"((?:[^"\\]|\\.)*)"\s*,?')
"""The bound of a bucket in the JSON of its labels; no value of another label can look like it, quotes are escaped."""

Printable = Callable[[str], str]
"""Makes a stranger's words fit to be told: one line, short, without secrets."""


class Trouble(Exception):
    """No answer that counts, in words without secrets.  ``again``: another attempt may help, ``wait_s`` seconds later
    if the other side said so."""

    def __init__(self, message: str, *, again: bool = False, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.again, self.wait_s = again, wait_s


class TooMuch(Trouble):
    """More series than can be followed one by one."""


@dataclass(frozen=True, slots=True)
class Series:
    """Samples of one series by their time, in milliseconds since 1970.

    ``bound`` is the label ``le``, empty where there is none; ``labels`` are all others.  The buckets of a histogram
    share one object of labels.
    """

    labels: Mapping[str, str]
    bound: str
    samples: dict[int, float]


@dataclass(frozen=True, slots=True)
class Number:
    """One value, at the time of Prometheus's own clock."""

    labels: dict[str, str]
    time_ms: int
    value: float


class _Point(msgspec.Struct):
    metric: dict[str, str]
    value: tuple[float, str] | None = None


class _Row(msgspec.Struct):
    metric: msgspec.Raw
    values: list[tuple[float, str]] = msgspec.field(default_factory=list)
    histograms: list[msgspec.Raw] = msgspec.field(default_factory=list)


class _Data(msgspec.Struct, rename="camel"):
    result_type: str
    result: msgspec.Raw


class _Answer(msgspec.Struct, rename="camel"):
    status: str
    data: _Data | None = None
    error_type: str = ""
    error: str = ""
    warnings: list[str] | None = None


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads the answers of one Prometheus, which is named ``place`` in what is told of them."""

    place: str
    printable: Printable = field(default=str)

    def numbers(self, body: bytes) -> list[Number]:
        """An instant vector.  Raises `Trouble`."""
        found = []
        for point in self._result(body, "vector", list[_Point]):
            if point.value is None:
                raise Trouble(f"{self.place} answered a histogram where a number was asked for")
            time, text = point.value
            value = _float(text)
            if not (math.isfinite(value) and value >= 0.0):
                raise self._no_counter(point.metric, text)
            found.append(Number(point.metric, round(time * 1000), value))
        return found

    def series(self, body: bytes, after_ms: int, until_ms: int, *, signed: bool = False) -> list[Series]:
        """A matrix, of the samples after one instant and until another.  Counters unless ``signed``: those of a gauge
        may be below zero.  Raises `Trouble`."""
        known: dict[bytes, Mapping[str, str]] = {}
        shared: dict[frozenset[tuple[str, str]], Mapping[str, str]] = {}
        found = []
        for row in self._result(body, "matrix", list[_Row]):
            name = bytes(row.metric)
            bound = _BOUND.search(name)
            key = name[: bound.start()] + name[bound.end() :] if bound else name
            labels = known.get(key)
            if labels is None:
                # Mostly a bucket is known by its text; where labels come in another order, by what they say.
                labels = self._labels(name)
                labels = known[key] = shared.setdefault(frozenset(labels.items()), labels)
            if row.histograms:
                metric = labels.get("__name__", "a series")
                raise Trouble(
                    f"{self.place} keeps {metric} as a native histogram; classic buckets (_bucket series) are needed"
                )
            samples = self._samples(labels, row.values, after_ms, until_ms, -math.inf if signed else 0.0)
            found.append(Series(labels, bound[1].decode("utf-8", "replace") if bound else "", samples))
        return found

    def _labels(self, name: bytes) -> Mapping[str, str]:
        try:
            labels = msgspec.json.decode(name, type=dict[str, str])
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Trouble(f"{self.place} answered a matrix that cannot be read") from None
        labels.pop("le", None)
        return labels

    def _samples(
        self, labels: Mapping[str, str], values: list[tuple[float, str]], after_ms: int, until_ms: int, least: float
    ) -> dict[int, float]:
        try:
            samples = {time: float(text) for at, text in values if after_ms < (time := round(at * 1000)) <= until_ms}
        except ValueError:
            samples = {0: math.nan}
        if samples and not (sum(samples.values()) < math.inf and min(samples.values()) >= least):
            raise self._no_counter(labels, next(text for _, text in values if not least <= _float(text) < math.inf))
        return samples

    def _no_counter(self, labels: Mapping[str, str], text: str) -> Trouble:
        name = labels.get("__name__", "a series")
        return Trouble(f"{self.place} says that {name} is {self.printable(text)}, which no counter can be")

    def refusal(self, body: bytes) -> str:
        """What an answer that is not a success says of itself, empty if it does not speak Prometheus's language."""
        try:
            answer = msgspec.json.decode(body, type=_Answer)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return ""
        return self.printable(": ".join(filter(None, (answer.error_type, answer.error))))

    def _result(self, body: bytes, wanted: str, kind: type[Rows]) -> Rows:
        try:
            answer = msgspec.json.decode(body, type=_Answer)
        except (msgspec.DecodeError, UnicodeDecodeError):
            if body.lstrip()[:1] == b"<":
                raise Trouble(
                    f"{self.place} answered HTML, not the API of Prometheus: is the address right, or is there a login?"
                ) from None
            raise Trouble(f"{self.place} answered something that is not JSON of the API of Prometheus") from None
        if answer.status != "success" or answer.data is None:
            told = self.printable(": ".join(filter(None, (answer.error_type, answer.error)))) or answer.status
            raise Trouble(f"{self.place} says: {told}")
        if answer.warnings:
            raise Trouble(f"{self.place} gave only part of an answer, and warns: {self.printable(answer.warnings[0])}")
        if answer.data.result_type != wanted:
            found = self.printable(answer.data.result_type)
            raise Trouble(f"{self.place} answered a {found} where a {wanted} was asked for")
        try:
            return msgspec.json.decode(answer.data.result, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Trouble(f"{self.place} answered a {wanted} that cannot be read") from None


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
