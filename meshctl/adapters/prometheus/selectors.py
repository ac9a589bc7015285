"""PromQL of our own making: names that were checked, values that are quoted.  No text of a user gets in otherwise."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

UNKNOWN = "unknown"
"""What Istio writes where a request reached nobody."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """``label OPERATOR value``; the operator is one of ``= != =~ !~``."""

    label: str
    operator: str
    value: str

    def __str__(self) -> str:
        return f"{self.label}{self.operator}{quoted(self.value)}"


@dataclass(frozen=True, slots=True)
class Selector:
    """Series of one metric, or of several."""

    metrics: tuple[str, ...]
    matchers: tuple[Matcher, ...]

    def __str__(self) -> str:
        if len(self.metrics) == 1:
            return f"{self.metrics[0]}{{{','.join(map(str, self.matchers))}}}"
        named = Matcher("__name__", "=~", one_of(self.metrics))
        return f"{{{','.join(map(str, (named, *self.matchers)))}}}"

    def over(self, milliseconds: int) -> str:
        """All samples of so long a time."""
        return f"{self}[{milliseconds}ms]"


def quoted(text: str) -> str:
    """A string literal; JSON's escapes are a part of those of PromQL, which are Go's."""
    return json.dumps(text, ensure_ascii=False)


def one_of(values: Sequence[str]) -> str:
    """A regular expression for exactly these texts; Prometheus anchors it at both ends."""
    return "|".join(re.escape(value) for value in values)


def host_of(service: str, namespace: str) -> str:
    """A regular expression for the full name of a Kubernetes Service, whatever the domain of the cluster."""
    return f"{re.escape(service)}[.]{re.escape(namespace)}[.]svc([.].+)?"
