"""Reading manifests strictly: a field that nobody asked for is an error, never a silence."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from meshctl.core.errors import InvalidInput

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?")


@dataclass(frozen=True, slots=True)
class Place:
    """Where in which object we are, for messages: ``VirtualService/shop``, ``spec.http[0].route``."""

    owner: str
    path: str = ""

    def at(self, name: str) -> Place:
        return Place(self.owner, f"{self.path}.{name}" if self.path else name)

    def index(self, number: int) -> Place:
        return Place(self.owner, f"{self.path}[{number}]")

    def refuse(self, found: str, hint: str = "") -> NoReturn:
        raise InvalidInput(f"{self.owner}: {self.path or 'object'}: {found}", hint=hint)


def mapping(value: object, place: Place, allowed: Sequence[str]) -> Mapping[str, object]:
    """``value`` as a mapping with none but the ``allowed`` keys.  Raises `InvalidInput` naming the stranger."""
    if not isinstance(value, Mapping):
        place.refuse(f"expected a mapping, found {_kind(value)}")
    for key in value:
        if key not in allowed:
            place.at(str(key)).refuse(
                "the embedded mesh does not know this field", f"Allowed here: {', '.join(sorted(allowed))}."
            )
    return value


def items(value: object, place: Place) -> Sequence[object]:
    """``value`` as a list."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        place.refuse(f"expected a list, found {_kind(value)}")
    return value


def text(value: object, place: Place) -> str:
    """``value`` as a text that is not empty."""
    if not isinstance(value, str) or not value:
        place.refuse(f"expected a text, found {_kind(value)}")
    return value


def texts(value: object, place: Place) -> dict[str, str]:
    """``value`` as a mapping of texts, such as labels or headers."""
    if not isinstance(value, Mapping):
        place.refuse(f"expected a mapping, found {_kind(value)}")
    return {str(key): text(entry, place.at(str(key))) for key, entry in value.items()}


def integer(value: object, place: Place, *, least: int = 0, most: int = 2**32 - 1) -> int:
    """``value`` as a whole number within bounds."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        place.refuse(f"expected a whole number from {least} to {most}, found {value!r}")
    return value


def seconds(value: object, place: Place) -> str:
    """An Istio duration (``2s``, ``500ms``, ``1m30s``) as Envoy's JSON wants it, in seconds."""
    found = _DURATION.fullmatch(text(value, place))
    if not found or not any(found.groups()):
        place.refuse(f"expected a duration, found {value!r}", "Write it like 2s, 500ms or 1m30s.")
    hours, minutes, whole, milli = found.groups("0")
    total = int(hours) * 3600 + int(minutes) * 60 + float(whole) + int(milli) / 1000
    return f"{total:.6f}".rstrip("0").rstrip(".") + "s"


def _kind(value: object) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {value!r}"[:80]
