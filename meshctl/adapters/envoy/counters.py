"""What Envoy's stats text says each version did: pure parsing, cumulative counters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from meshctl.adapters.envoy.bootstrap import BOUNDS_MS, DURATION, REQUESTS, STATS_PREFIX
from meshctl.adapters.envoy.routes import SHARED
from meshctl.core.model import ArmCounts

BROKEN = frozenset({"UF", "UH", "UC", "UT", "URX", "UR", "LR", "UO", "NC", "NR", "UPE", "UMSDR", "SI", "DPE", "DT"})
"""Response flags of requests that the mesh or the version failed, whatever their status says."""

GONE = frozenset({"DC", "DR"})
"""Response flags of requests that the client gave up: neither good nor bad, left out."""

_LINE = re.compile(r"^envoy_meshctl_(requests|duration_bucket)\{([^}]*)\} (\d+)", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_BUCKET_OF = {round(bound * 1000): number for number, bound in enumerate(BOUNDS_MS)}


@dataclass(slots=True)
class Counts:
    """Cumulative counters of one version; ``latency`` per bucket (not cumulated), the last one +Inf."""

    requests: int = 0
    bad: int = 0
    latency: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_MS) + 1))

    def since(self, before: Counts) -> ArmCounts:
        """The difference; a counter that went down has started anew, its value is the difference."""
        requests, bad = _grown(self.requests, before.requests), _grown(self.bad, before.bad)
        fallen = any(new < old for new, old in zip(self.latency, before.latency, strict=True))
        old_latency = [0] * len(self.latency) if fallen else before.latency
        latency = tuple(new - old for new, old in zip(self.latency, old_latency, strict=True))
        return ArmCounts(max(requests, bad), bad, latency)


def _grown(new: int, old: int) -> int:
    return new if new < old else new - old


def _samples(text: str) -> Iterator[tuple[str, dict[str, str], int]]:
    for name, labels, value in _LINE.findall(text):
        yield name, dict(_LABEL.findall(labels)), int(value)


def parse_counters(text: str, service: str) -> dict[str, Counts]:
    """Envoy's text as counters per subset."""
    counts: dict[str, Counts] = {}
    below: dict[tuple[str, str], list[int]] = {}
    for name, labels, value in _samples(text):
        owner, _, subset = labels.get("cluster", "").partition(".")
        flags = frozenset(labels.get("flags", "").split(","))
        if owner != service or labels.get("traffic") != SHARED:
            continue
        if name == REQUESTS:
            entry = counts.setdefault(subset, Counts())
            outcome = outcome_of(labels.get("code", "0"), flags)
            entry.requests += value if outcome != "left out" else 0
            entry.bad += value if outcome == "bad" else 0
        elif not flags & (BROKEN | GONE):
            cumulated = below.setdefault((subset, labels["flags"]), [0] * (len(BOUNDS_MS) + 1))
            cumulated[_bucket(labels["le"])] = value
    for (subset, _), cumulated in below.items():
        latency = counts.setdefault(subset, Counts()).latency
        for number, value in enumerate(cumulated):
            latency[number] += value - (cumulated[number - 1] if number else 0)
    return counts


def _bucket(bound_us: str) -> int:
    if bound_us == "+Inf":
        return len(BOUNDS_MS)
    number = _BUCKET_OF.get(round(float(bound_us)))
    if number is None:
        raise ValueError(
            f"Envoy's {STATS_PREFIX}.{DURATION} has a bucket at {bound_us} us that meshctl did not ask for"
        )
    return number


def outcome_of(code: str, flags: frozenset[str]) -> str:
    status = int(code) if code.isdigit() else 0
    if status >= 500:
        return "bad"
    if flags & GONE:
        return "left out"
    return "bad" if status == 0 or flags & BROKEN else "good"
