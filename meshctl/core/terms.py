"""What the verdicts of a run stand on beside its blocks, as one digest that every decision names.

These are the two versions, the snapshot of the spec and the terms of the stages entered so far.  Fields that are
empty (``None``, no text, no items) are left out of the digest and every number counts as a float, so a field that is
added to the spec later, empty where it is not used, leaves the digests of older runs as they were.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from meshctl.core.model import Run
from meshctl.core.packing import canonical, digest


def terms_of(run: Run, entries: int | None = None) -> str:
    """The digest for a run that has entered ``entries`` stages (all that it names when not given)."""
    entered = run.entries if entries is None else run.entries[:entries]
    parts = {"baseline": run.baseline, "candidate": run.candidate, "spec": run.spec, "entries": entered}
    return digest(canonical(_plain(parts)))


def entries_named(run: Run, named: str, least: int) -> int | None:
    """How many stages a run had entered, at least ``least``, when its terms were ``named``; ``None``: it never was
    as named."""
    return next((count for count in range(least, len(run.entries) + 1) if terms_of(run, count) == named), None)


def _plain(value: object) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return float(value) if math.isfinite(value) else str(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, datetime):
        return value.isoformat()
    if is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        parts = {str(key): _plain(part) for key, part in value.items()}
        return {key: part for key, part in parts.items() if part not in (None, "", [], {})}
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    raise TypeError(f"no plain form of {value!r}")
