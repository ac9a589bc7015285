"""The port `Metrics` on Envoy: what each version did between two questions to the admin interface.

A request is counted when it ends, with the status and the flags it ended with.  A slow request therefore belongs
to the block in which it ends, not to the one in which it began: after a change of weight the first requests to
end are those of the old split, on both arms alike, and a candidate that hangs shows nothing until the route's
timeout makes its requests end (as 504 with flag UT, which counts as bad).  Nothing is counted twice or lost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote

from meshctl.adapters.envoy.bootstrap import BOUNDS_MS, DURATION, REQUESTS, STATS_PREFIX
from meshctl.adapters.envoy.routes import SHARED
from meshctl.adapters.envoy.server import EnvoyServer
from meshctl.core.errors import MeshctlError
from meshctl.core.model import ArmCounts, Block, Reading, Release
from meshctl.core.names import subset_name
from meshctl.core.ports import Clock

BROKEN = frozenset({"UF", "UH", "UC", "UT", "URX", "UR", "LR", "UO", "NC", "NR", "UPE", "UMSDR", "SI", "DPE", "DT"})
"""Response flags of requests that the mesh or the version failed, whatever their status says."""

GONE = frozenset({"DC", "DR"})
"""Response flags of requests that the client gave up: neither good nor bad, left out."""

_LINE = re.compile(r"^envoy_meshctl_(requests|duration_bucket)\{([^}]*)\} (\d+)", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_BUCKET_OF = {round(bound * 1000): number for number, bound in enumerate(BOUNDS_MS)}


@dataclass(slots=True)
class _Counts:
    """Cumulative counters of one version; ``latency`` per bucket (not cumulated), the last one +Inf."""

    requests: int = 0
    bad: int = 0
    latency: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_MS) + 1))

    def since(self, before: _Counts) -> ArmCounts:
        """The difference; a counter that went down has started anew, its value is the difference."""
        requests, bad = _grown(self.requests, before.requests), _grown(self.bad, before.bad)
        fallen = any(new < old for new, old in zip(self.latency, before.latency, strict=True))
        old_latency = [0] * len(self.latency) if fallen else before.latency
        latency = tuple(new - old for new, old in zip(self.latency, old_latency, strict=True))
        return ArmCounts(max(requests, bad), bad, latency)


class EnvoyMetrics:
    """Reads Envoy's counters of the traffic that is split by weight; requests that name their version by a
    header are not part of the comparison."""

    def __init__(self, server: EnvoyServer, clock: Clock) -> None:
        self._server = server
        self._clock = clock

    def read(
        self, release: Release, baseline: str, candidate: str, cursor: str, *, entry: int, weight: float
    ) -> Reading:
        """One block with everything since ``cursor``; the first reading gives a cursor only.  Never raises."""
        try:
            service = release.spec.service
            identity = self._server.identity
            now = self._clock.now()
            counts = self._snapshot(service)
            if not identity or identity != self._server.identity:
                return Reading(None, cursor, "Envoy was started anew during the reading; the next one counts")
        except (MeshctlError, OSError, ValueError) as error:
            return Reading(None, cursor, f"metrics of Release/{release.metadata.name}: {error}")
        following = _write_cursor(now, identity, counts)
        before = _read_cursor(cursor)
        if before is None:
            problem = "the cursor of the metrics was not readable; counting starts anew" if cursor else None
            return Reading(None, following, problem)
        start, known = before.at, before.counts if before.identity == identity else {}
        if now <= start:
            return Reading(None, cursor, None)

        def arm(version: str) -> ArmCounts:
            subset = subset_name(version) if version else ""
            return counts.get(subset, _Counts()).since(known.get(subset, _Counts()))

        block = Block(start, now, entry, weight, arm(baseline), arm(candidate), BOUNDS_MS)
        return Reading(block, following)

    def _snapshot(self, service: str) -> dict[str, _Counts]:
        """Counters per subset of the service.  The first question makes Envoy merge its histograms, the second
        reads them: asked once, latencies would lag one reading behind."""
        admin = self._server.admin
        admin.get("/stats?usedonly&filter=%5E%24")
        return _parse(admin.get(f"/stats?format=prometheus&usedonly&filter={quote(f'^{STATS_PREFIX}')}"), service)


@dataclass(frozen=True, slots=True)
class _Cursor:
    at: datetime
    identity: str
    counts: dict[str, _Counts]


def _read_cursor(text: str) -> _Cursor | None:
    try:
        found = json.loads(text)
        counts = {
            subset: _Counts(int(entry["n"]), int(entry["bad"]), _widen(entry["ms"]))
            for subset, entry in found["counts"].items()
        }
        return _Cursor(datetime.fromisoformat(found["at"]), str(found["envoy"]), counts)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _write_cursor(at: datetime, identity: str, counts: Mapping[str, _Counts]) -> str:
    kept = {
        subset: {"n": entry.requests, "bad": entry.bad, "ms": _narrow(entry.latency)}
        for subset, entry in sorted(counts.items())
    }
    return json.dumps({"at": at.isoformat(), "envoy": identity, "counts": kept}, separators=(",", ":"))


def _narrow(latency: list[int]) -> dict[str, int]:
    return {str(number): count for number, count in enumerate(latency) if count}


def _widen(latency: Mapping[str, Any]) -> list[int]:
    counts = [0] * (len(BOUNDS_MS) + 1)
    for number, count in latency.items():
        if int(number) >= len(counts):
            raise ValueError("the cursor has other buckets")
        counts[int(number)] = int(count)
    return counts


def _grown(new: int, old: int) -> int:
    return new if new < old else new - old


def _samples(text: str) -> Iterator[tuple[str, dict[str, str], int]]:
    for name, labels, value in _LINE.findall(text):
        yield name, dict(_LABEL.findall(labels)), int(value)


def _parse(text: str, service: str) -> dict[str, _Counts]:
    """Envoy's text as counters per subset."""
    counts: dict[str, _Counts] = {}
    below: dict[tuple[str, str], list[int]] = {}
    for name, labels, value in _samples(text):
        owner, _, subset = labels.get("cluster", "").partition(".")
        flags = frozenset(labels.get("flags", "").split(","))
        if owner != service or labels.get("traffic") != SHARED:
            continue
        if name == REQUESTS:
            entry = counts.setdefault(subset, _Counts())
            outcome = _outcome(labels.get("code", "0"), flags)
            entry.requests += value if outcome != "left out" else 0
            entry.bad += value if outcome == "bad" else 0
        elif not flags & (BROKEN | GONE):
            cumulated = below.setdefault((subset, labels["flags"]), [0] * (len(BOUNDS_MS) + 1))
            cumulated[_bucket(labels["le"])] = value
    for (subset, _), cumulated in below.items():
        latency = counts.setdefault(subset, _Counts()).latency
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


def _outcome(code: str, flags: frozenset[str]) -> str:
    status = int(code) if code.isdigit() else 0
    if status >= 500:
        return "bad"
    if flags & GONE:
        return "left out"
    return "bad" if status == 0 or flags & BROKEN else "good"
