"""Reading measurements from CSV files: raw latencies or histograms, in bounded memory, each mistake named.

Raw: one request a line, latency in milliseconds, optionally a status: ``12.5`` or ``12.5,200``, with or without the
header ``latency_ms`` or ``latency_ms,status``.  Status is an HTTP status (100 to 599, bad from 500 on) or a gRPC
code (0 to 16, bad are UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, DATA_LOSS); one file holds one kind.

Histogram: header ``le,count``, then one bucket a line as Prometheus exposes them: upper bound in milliseconds,
strictly increasing, the last ``+Inf``; count *cumulative*, all requests up to that bound.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .textfiles import LONGEST_LINE_BYTES, NOT_FINITE, NUMBER, InvalidFile, fields_of, opened, shown, whole_lines

LATENCY_NAMES = ("latency_ms", "latency", "duration_ms", "ms")
STATUS_NAMES = ("status", "http_status", "grpc_status", "code")
GRPC_BAD = (2, 4, 13, 14, 15)
LATENCY_RULE = "a latency in milliseconds, finite and not negative, such as 12.5"
STATUS_RULE = "an HTTP status from 100 to 599 or a gRPC code from 0 to 16"
LAYOUT_RULE = (
    "allowed are `latency_ms` or `latency_ms,status` (one request a line, header optional) "
    "and `le,count` (cumulative histogram, header required)"
)


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file is written.  ``columns`` are the names in order, ``header`` whether the first line holds them."""

    columns: tuple[str, ...]
    header: bool

    @property
    def histogram(self) -> bool:
        return self.columns == ("le", "count")

    @property
    def has_status(self) -> bool:
        return "status" in self.columns


@dataclass(frozen=True, slots=True)
class Rows:
    """Some requests of a raw file: latency in milliseconds and whether the request failed, same length."""

    latency_ms: NDArray[np.float64]
    bad: NDArray[np.bool_]


def layout_of(path: Path) -> Layout:
    """Find out how a file is written from its first line.

    Raises `InvalidFile` when the file is missing, no regular readable file, empty, no text, or its first line is
    neither numbers nor a known header.
    """
    with opened(path) as file:
        first = file.readline(LONGEST_LINE_BYTES + 1)
    if not first:
        raise InvalidFile(path, f"is empty; {LAYOUT_RULE}")
    fields = fields_of(path, first, 1)
    if not any(fields):
        raise InvalidFile(path, f"the first line is blank; {LAYOUT_RULE}", line=1)
    if all(NUMBER.fullmatch(field) or NOT_FINITE.fullmatch(field) for field in fields):
        if len(fields) > 2:
            raise InvalidFile(path, f"found {len(fields)} columns; {LAYOUT_RULE}", line=1)
        return Layout(("latency_ms", "status")[: len(fields)], header=False)
    return _layout_of_header(path, fields)


def read_rows(path: Path, layout: Layout) -> Iterator[Rows]:
    """All requests of a raw file in the file's order, in chunks of about a megabyte of text.

    Raises `InvalidFile` at the first line that is not as ``layout`` says, and for a file without any request.
    """
    reader = _RowReader(path, layout)
    some = False
    with opened(path) as file:
        line = 1
        if layout.header:
            file.readline()
            line = 2
        for text in whole_lines(path, file):
            rows = reader.parse(text, line)
            line += text.count(b"\n")
            some = some or len(rows.latency_ms) > 0
            yield rows
    if not some:
        raise InvalidFile(path, "has a header but no request below it; expected one request a line")


class _RowReader:
    """Parses chunks of one raw file; remembers which kind of status the file holds."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path, self.columns = path, layout.columns
        self.latency = layout.columns.index("latency_ms")
        self.status = layout.columns.index("status") if layout.has_status else None
        self.http: bool | None = None

    def parse(self, text: bytes, first_line: int) -> Rows:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                table = np.loadtxt(io.BytesIO(text), delimiter=",", ndmin=2, comments=None)
        except (ValueError, UserWarning, DeprecationWarning):
            table = self._line_by_line(text, first_line)
        if table.shape[1] != len(self.columns):
            table = self._line_by_line(text, first_line)
        latency = table[:, self.latency]
        if not np.all(np.isfinite(table)) or np.any(latency < 0):
            self._line_by_line(text, first_line)
        return Rows(latency, self._bad(table, text, first_line))

    def _bad(self, table: NDArray[np.float64], text: bytes, first_line: int) -> NDArray[np.bool_]:
        if self.status is None or len(table) == 0:
            return np.zeros(len(table), dtype=np.bool_)
        status = table[:, self.status]
        if self.http is None:
            self.http = bool(status[0] >= 100)
        low, high = (100, 599) if self.http else (0, 16)
        if np.any((status < low) | (status > high) | (status != np.floor(status))):
            self._line_by_line(text, first_line)
        bad: NDArray[np.bool_] = status >= 500 if self.http else np.isin(status, GRPC_BAD)
        return bad

    def _line_by_line(self, text: bytes, first_line: int) -> NDArray[np.float64]:
        """The slow way, to name the first bad line; the values when there is none."""
        rows: list[list[float]] = []
        for number, raw in enumerate(text.split(b"\n"), start=first_line):
            fields = fields_of(self.path, raw, number)
            if not any(fields):
                continue
            if len(fields) != len(self.columns):
                found = "one column" if len(fields) == 1 else f"{len(fields)} columns"
                problem = f"found {found}; expected {','.join(self.columns)} on every line of this file"
                raise InvalidFile(self.path, problem, line=number)
            rows.append([self._number(field, name, number) for field, name in zip(fields, self.columns, strict=True)])
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(self.columns))

    def _number(self, field: str, column: str, line: int) -> float:
        rule = LATENCY_RULE if column == "latency_ms" else STATUS_RULE
        if not NUMBER.fullmatch(field):
            what = "is not finite" if NOT_FINITE.fullmatch(field) else "is not a number"
            raise InvalidFile(self.path, f"{shown(field)} {what}; allowed is {rule}", line=line, column=column)
        value = float(field)
        if value < 0 or not math.isfinite(value):
            what = "is negative" if value < 0 else "is not finite"
            raise InvalidFile(self.path, f"{shown(field)} {what}; allowed is {rule}", line=line, column=column)
        if column == "status":
            self._check_status(field, value, line)
        return value

    def _check_status(self, field: str, value: float, line: int) -> None:
        is_http, is_grpc = 100 <= value <= 599, 0 <= value <= 16
        if value != math.floor(value) or not (is_http or is_grpc):
            problem = f"{shown(field)} is no status; allowed is {STATUS_RULE}"
            raise InvalidFile(self.path, problem, line=line, column="status")
        if self.http is None:
            self.http = is_http
        if self.http != is_http:
            first, other = ("HTTP statuses", "gRPC code") if self.http else ("gRPC codes", "HTTP status")
            problem = f"{shown(field)} looks like a {other} in a file of {first}; one file holds one kind"
            raise InvalidFile(self.path, problem, line=line, column="status")


def _layout_of_header(path: Path, fields: list[str]) -> Layout:
    """Known column names, whatever their order.  Raises `InvalidFile`."""
    lower = [field.lower() for field in fields]
    if lower == ["le", "count"]:
        return Layout(("le", "count"), header=True)
    columns: list[str] = []
    for field, name in zip(fields, lower, strict=True):
        known = "latency_ms" if name in LATENCY_NAMES else "status" if name in STATUS_NAMES else None
        if known is None or known in columns:
            what = "appears twice" if known else "is neither a number nor a known column"
            raise InvalidFile(path, f"{shown(field)} {what}; {LAYOUT_RULE}", line=1)
        columns.append(known)
    if "latency_ms" not in columns:
        raise InvalidFile(path, f"the column latency_ms is missing; {LAYOUT_RULE}", line=1)
    return Layout(tuple(columns), header=True)
