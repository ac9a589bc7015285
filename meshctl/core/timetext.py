"""Durations and instants as text: ``1h30m`` and ``2026-11-23T07:40:12.300Z``."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from meshctl.core.errors import InvalidInput

DURATION_HINT = "write a number with its unit, such as 500ms, 60s, 5m or 1h30m"
_UNITS = {"h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000, "ms": 1_000, "us": 1, "µs": 1, "μs": 1}
_DURATION = re.compile(r"[-+]?(?:\d+(?:\.\d+)?(?:h|ms|us|µs|μs|m|s))+", re.ASCII)
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|us|µs|μs|m|s)", re.ASCII)


def parse_duration(text: str) -> timedelta:
    """Read a Go-style duration such as ``90s``, ``1h30m``, ``1.5s``, ``250ms``.  Raises `InvalidInput`."""
    if text in ("0", "+0", "-0"):
        return timedelta(0)
    if not _DURATION.fullmatch(text):
        raise InvalidInput(f"{text[:60]!r} is not a duration", hint=DURATION_HINT)
    microseconds = 0
    for number, unit in _DURATION_PART.findall(text):
        size = _UNITS[unit]
        microseconds += round(float(number) * size) if "." in number else int(number) * size
    try:
        return timedelta(microseconds=-microseconds if text[0] == "-" else microseconds)
    except OverflowError as error:
        raise InvalidInput(f"{text[:60]!r} is too long a duration", hint=DURATION_HINT) from error


@lru_cache(maxsize=4096)
def format_duration(value: timedelta) -> str:
    """Write a duration in the form that `parse_duration` reads: ``1h30m``, ``1m30s``, ``500ms``."""
    rest = value // timedelta(microseconds=1)
    if rest == 0:
        return "0s"
    sign, rest = ("-", -rest) if rest < 0 else ("", rest)
    parts = []
    for unit in ("h", "m", "s", "ms", "us"):
        count, rest = divmod(rest, _UNITS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return sign + "".join(parts)


def format_time(value: datetime) -> str:
    """RFC 3339 in UTC with milliseconds, or with microseconds where there are some."""
    text = value.astimezone(UTC).replace(tzinfo=None)
    return text.isoformat(timespec="microseconds" if value.microsecond % 1000 else "milliseconds") + "Z"
