"""The port `Metrics` on Envoy: what each version did between two questions to the admin interface.

A request is counted when it ends, with the status and the flags it ended with.  A slow request therefore belongs
to the block in which it ends, not to the one in which it began: after a change of weight the first requests to
end are those of the old split, on both arms alike, and a candidate that hangs shows nothing until the route's
timeout makes its requests end (as 504 with flag UT, which counts as bad).  Nothing is counted twice or lost.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from meshctl.adapters.envoy.bootstrap import BOUNDS_MS, STATS_PREFIX
from meshctl.adapters.envoy.counters import Counts, parse_counters
from meshctl.adapters.envoy.server import EnvoyServer
from meshctl.core.errors import MeshctlError
from meshctl.core.model import Block, Reading, Release
from meshctl.core.names import subset_name
from meshctl.core.ports import Clock


class EnvoyMetrics:
    """Reads Envoy's counters of the traffic that is split by weight; requests that name their version by a
    header are not part of the comparison."""

    def __init__(self, server: EnvoyServer, clock: Clock) -> None:
        self._server = server
        self._clock = clock

    def read(
        self,
        release: Release,
        baseline: str,
        candidate: str,
        cursor: str,
        *,
        entry: int,
        weight: float,
        counts: bool = True,
    ) -> Reading:
        """One block with everything since ``cursor``; the first reading gives a cursor only, or with ``entry`` -1
        the baseline's history as one block since Envoy's start.  What no block can hold because the clock went
        back is dropped: kept, it would end up in a block of another stage.  Never raises."""
        try:
            identity = self._server.identity
            now, age_s = self._clock.now(), self._server.age_s
            snapshot = self._snapshot(release.spec.service)
            if not identity or identity != self._server.identity:
                return Reading((), cursor, "Envoy was started anew during the reading; the next one counts")
        except (MeshctlError, OSError, ValueError) as error:
            return Reading((), cursor, f"metrics of Release/{release.metadata.name}: {error}")
        following = _write_cursor(now, identity, snapshot)
        old, new = _subset(baseline), _subset(candidate)
        before = _read_cursor(cursor)
        if before is None:
            blocks: tuple[Block, ...] = ()
            if entry < 0 and counts and old in snapshot:
                start = now - timedelta(seconds=age_s)
                arms = (snapshot[old].since(Counts()), Counts().since(Counts()))
                blocks = (Block(start, now, entry, weight, *arms, BOUNDS_MS),)
            problem = "the cursor of the metrics was not readable; counting starts anew" if cursor else None
            return Reading(blocks, following, problem)
        if now < before.at:
            return Reading((), following, "the clock went back since the last reading; counting starts anew")
        if now == before.at or not counts:
            return Reading((), following)
        known = before.counts if before.identity == identity else {}
        baseline_arm, candidate_arm = (
            snapshot.get(subset, Counts()).since(known.get(subset, Counts())) for subset in (old, new)
        )
        return Reading((Block(before.at, now, entry, weight, baseline_arm, candidate_arm, BOUNDS_MS),), following)

    def _snapshot(self, service: str) -> dict[str, Counts]:
        """Counters per subset of the service.  The first question makes Envoy merge its histograms, the second
        reads them: asked once, latencies would lag one reading behind."""
        admin = self._server.admin
        admin.get("/stats?usedonly&filter=%5E%24")
        return parse_counters(
            admin.get(f"/stats?format=prometheus&usedonly&filter={quote(f'^{STATS_PREFIX}')}"), service
        )


def _subset(version: str) -> str:
    return subset_name(version) if version else ""


@dataclass(frozen=True, slots=True)
class _Cursor:
    at: datetime
    identity: str
    counts: dict[str, Counts]


def _read_cursor(text: str) -> _Cursor | None:
    try:
        found = json.loads(text)
        counts = {
            subset: Counts(int(entry["n"]), int(entry["bad"]), _widen(entry["ms"]))
            for subset, entry in found["counts"].items()
        }
        return _Cursor(datetime.fromisoformat(found["at"]), str(found["envoy"]), counts)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _write_cursor(at: datetime, identity: str, counts: Mapping[str, Counts]) -> str:
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
