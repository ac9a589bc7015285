"""What Prometheus answers, as values; everything else that may come instead, as trouble in words."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

Printable = Callable[[str], str]
"""Makes a stranger's words fit to be told: one line, short, without secrets."""


class Trouble(Exception):
    """No answer that counts, in words without secrets.  ``again``: another attempt may help, ``wait_s`` seconds later
    if the other side said so."""

    def __init__(self, message: str, *, again: bool = False, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.again, self.wait_s = again, wait_s


@dataclass(frozen=True, slots=True)
class Series:
    """Samples of one series by their time, in milliseconds since 1970."""

    labels: dict[str, str]
    samples: dict[int, float]


@dataclass(frozen=True, slots=True)
class Number:
    """One value, at the time of Prometheus's own clock."""

    labels: dict[str, str]
    time_ms: int
    value: float


class _Entry(msgspec.Struct):
    metric: dict[str, str]
    value: tuple[float, str] | None = None
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
        for entry in self._entries(body, "vector"):
            if entry.value is None:
                raise Trouble(f"{self.place} answered a histogram where a number was asked for")
            time, value = entry.value
            found.append(Number(entry.metric, _milliseconds(time), self._value(entry.metric, value)))
        return found

    def series(self, body: bytes) -> list[Series]:
        """A matrix: range vectors, or the answer of a range query.  Raises `Trouble`."""
        found = []
        for entry in self._entries(body, "matrix"):
            if entry.histograms:
                name = entry.metric.get("__name__", "a series")
                raise Trouble(
                    f"{self.place} keeps {name} as a native histogram; classic buckets (_bucket series) are needed"
                )
            samples = {_milliseconds(time): self._value(entry.metric, value) for time, value in entry.values}
            found.append(Series(entry.metric, samples))
        return found

    def refusal(self, body: bytes) -> str:
        """What an answer that is not a success says of itself, empty if it does not speak Prometheus's language."""
        try:
            answer = msgspec.json.decode(body, type=_Answer)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return ""
        return self.printable(": ".join(filter(None, (answer.error_type, answer.error))))

    def _entries(self, body: bytes, wanted: str) -> list[_Entry]:
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
            kind = self.printable(answer.data.result_type)
            raise Trouble(f"{self.place} answered a {kind} where a {wanted} was asked for")
        try:
            return msgspec.json.decode(answer.data.result, type=list[_Entry])
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Trouble(f"{self.place} answered a {wanted} that cannot be read") from None

    def _value(self, labels: dict[str, str], text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value >= 0.0):
            name = labels.get("__name__", "a series")
            raise Trouble(f"{self.place} says that {name} is {self.printable(text)}, which no counter can be")
        return value


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
