"""Two pieces of plain data side by side: where they differ, and what remains when the differences are mended."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

TOLERANCE = 1e-9
"""Numbers nearer than this count as equal: another processor may round the last bits in another way."""

MISSING = "nothing"


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where what was recorded is not what it should be."""

    field: str
    recorded: object
    derived: object

    def __str__(self) -> str:
        return f"{self.field} is {_told(self.recorded)}, it should be {_told(self.derived)}"


def differences(recorded: object, derived: object, path: str = "") -> Iterator[Difference]:
    """Every leaf that differs, named as ``judge.evidence.log``."""
    if isinstance(recorded, Mapping) and isinstance(derived, Mapping):
        for key in dict.fromkeys((*derived, *recorded)):
            inner = f"{path}.{key}" if path else str(key)
            yield from differences(recorded.get(key, MISSING), derived.get(key, MISSING), inner)
    elif not _equal(recorded, derived):
        yield Difference(path, recorded, derived)


def mended(record: Mapping[str, Any], found: list[Difference]) -> dict[str, Any]:
    """The record with what it should be at every place that differs."""
    whole: dict[str, Any] = copy.deepcopy(dict(record))
    for each in found:
        *parents, last = each.field.split(".")
        place: Any = whole
        for parent in parents:
            if not isinstance(place.get(parent), dict):
                place[parent] = {}
            place = place[parent]
        if each.derived == MISSING:
            place.pop(last, None)
        else:
            place[last] = each.derived
    return whole


def _equal(one: object, other: object) -> bool:
    if _number(one) and _number(other):
        try:
            return math.isclose(float(one), float(other), rel_tol=TOLERANCE, abs_tol=TOLERANCE)  # type: ignore[arg-type]
        except OverflowError:
            return one == other
    return type(one) is type(other) and one == other


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _told(value: object) -> str:
    text = MISSING if value is None else value if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else text[:79] + "…"
