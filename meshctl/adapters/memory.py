"""A whole world in memory: store, mesh, workloads, metrics and clock, without chance and without waiting.

For tests, examples and dry runs.  Each piece keeps the promises of its port and has faults to switch on; time
passes only when somebody moves the `FakeClock`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from meshctl.adapters.mesh_memory import FakeMesh, FakeRenderer
from meshctl.adapters.store_memory import MemoryStore
from meshctl.core.errors import InvalidInput, MeshctlError
from meshctl.core.model import FULL, ArmCounts, Block, Reading, ReadyReplicas, Release

__all__ = [
    "Behaviour",
    "FakeClock",
    "FakeMesh",
    "FakeMetrics",
    "FakeRenderer",
    "FakeWorkloads",
    "FakeWorld",
    "MemoryStore",
]

START = datetime(2026, 1, 1, tzinfo=UTC)

BOUNDS_MS = (
    1.0,
    2.0,
    5.0,
    10.0,
    15.0,
    20.0,
    25.0,
    30.0,
    40.0,
    50.0,
    60.0,
    80.0,
    100.0,
    150.0,
    200.0,
    300.0,
    500.0,
    1000.0,
)


class FakeClock:
    """A clock that stands until it is moved."""

    def __init__(self, start: datetime = START) -> None:
        self._now = start

    def now(self) -> datetime:
        return self._now

    def advance(self, seconds: float) -> datetime:
        """Let time pass."""
        assert seconds >= 0, "time does not run back"
        self._now += timedelta(seconds=seconds)
        return self._now


class FakeWorkloads:
    """Replicas that become ready ``start_s`` seconds after they were asked for.

    ``versions`` maps each known version to its number of replicas.  Versions in ``broken`` never become ready,
    what those in ``unknown`` do cannot be found out, and while there is a ``problem`` nothing can, and it says so.
    """

    def __init__(self, clock: FakeClock, versions: dict[str, int], start_s: float = 0.0) -> None:
        self.versions = versions
        self.start_s = start_s
        self.broken: set[str] = set()
        self.unknown: set[str] = set()
        self.problem: MeshctlError | None = None
        self._clock = clock
        self._since: dict[tuple[str, str], datetime] = {}
        self._needed_by: dict[tuple[str, str], int] = {}

    def ready(self, release: Release, version: str) -> ReadyReplicas | None:
        if self.problem is not None:
            raise self.problem
        if version in self.unknown:
            return None
        wished = self.versions.get(version, 0)
        since = self._since.get((release.metadata.name, version))
        if since is None:
            return ReadyReplicas(0, wished, "not started")
        if version in self.broken:
            return ReadyReplicas(0, wished, "replica 0 does not become ready")
        if self._clock.now() - since < timedelta(seconds=self.start_s):
            return ReadyReplicas(0, wished, "starting")
        return ReadyReplicas(wished, wished)

    def ensure(self, release: Release, version: str, *, run: int = 0) -> None:
        if version not in self.versions:
            known = ", ".join(sorted(self.versions)) or "none"
            raise InvalidInput(f"{release.spec.service} has no version {version!r}", hint=f"Known versions: {known}.")
        key = release.metadata.name, version
        self._since.setdefault(key, self._clock.now())
        self._needed_by[key] = max(run, self._needed_by.get(key, 0))

    def retire(self, release: Release, keep: Sequence[str], *, run: int = 0) -> None:
        for name, version in list(self._since):
            if name == release.metadata.name and version not in keep and self._needed_by[name, version] <= run:
                del self._since[name, version]

    def running(self, release: Release) -> set[str]:
        """The versions that were asked for and not retired."""
        return {version for name, version in self._since if name == release.metadata.name}


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a version answers: the share of bad answers, and good ones lognormal around ``median_ms``."""

    bad: float = 0.0
    median_ms: float = 40.0
    sigma: float = 0.5

    def below(self, bound_ms: float) -> float:
        """The share of good answers that take no longer than ``bound_ms``."""
        return 0.5 * (1.0 + math.erf(math.log(bound_ms / self.median_ms) / (self.sigma * math.sqrt(2.0))))


@dataclass(slots=True)
class _Counters:
    """What a version did since the world began; fractions of a request are kept until they make a whole one."""

    requests: float = 0.0
    bad: float = 0.0
    latency: list[float] = field(default_factory=lambda: [0.0] * (len(BOUNDS_MS) + 1))

    def add(self, requests: float, behaviour: Behaviour) -> None:
        self.requests += requests
        self.bad += requests * behaviour.bad
        good = requests * (1.0 - behaviour.bad)
        below = 0.0
        for index, bound in enumerate((*BOUNDS_MS, math.inf)):
            share = 1.0 if bound == math.inf else behaviour.below(bound)
            self.latency[index] += good * (share - below)
            below = share

    def whole(self) -> list[int]:
        return [math.floor(count + 1e-6) for count in (self.requests, self.bad, *self.latency)]


class FakeMetrics:
    """Counts the requests that a `FakeMesh` in force would send to each version at ``rps`` requests a second.

    The counts are exact expectations, so the same times and weights give the same blocks, and reading twice from
    one cursor gives the same numbers.  ``problem`` is what is wrong with the metrics (``None``: nothing); traffic
    flows on meanwhile.
    """

    def __init__(self, clock: FakeClock, mesh: FakeMesh, rps: float = 100.0) -> None:
        self.problem: str | None = None
        self._clock = clock
        self._mesh = mesh
        self._rps = rps
        self._behaviours: dict[str, Behaviour] = {}
        self._counters: dict[tuple[str, str], _Counters] = {}
        self._began = self._counted_to = clock.now()
        mesh.before_change.append(self.count)

    def behave(self, version: str, behaviour: Behaviour) -> None:
        """From now on ``version`` answers like this."""
        self.count()
        self._behaviours[version] = behaviour

    def load(self, rps: float) -> None:
        """From now on so many requests a second arrive for each release."""
        self.count()
        self._rps = rps

    def count(self) -> None:
        """Add what happened since the last time, at the weights that were in force."""
        seconds = (self._clock.now() - self._counted_to).total_seconds()
        self._counted_to = self._clock.now()
        for name, weights in self._mesh.in_force().items():
            for version, weight in weights.items():
                counters = self._counters.setdefault((name, version), _Counters())
                counters.add(self._rps * seconds * weight / FULL, self._behaviours.get(version, Behaviour()))

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
        if self.problem:
            return Reading((), cursor, self.problem)
        self.count()
        now = self._clock.now()
        totals = [self._whole(release, baseline), self._whole(release, candidate)]
        following = json.dumps({"time": now.isoformat(), "versions": [baseline, candidate], "totals": totals})
        before = json.loads(cursor) if cursor else None
        if not counts:
            return Reading((), following)
        if before is None or before["versions"] != [baseline, candidate]:
            return Reading(self._history(totals[0], now) if entry < 0 else (), following)
        start = datetime.fromisoformat(before["time"])
        if start >= now:
            return Reading((), cursor)
        arms = [_difference(*pair) for pair in zip(totals, before["totals"], strict=True)]
        return Reading((Block(start, now, entry, weight, arms[0], arms[1], BOUNDS_MS),), following)

    def _history(self, baseline: list[int], now: datetime) -> tuple[Block, ...]:
        """What the baseline did since the world began."""
        if not baseline[0]:
            return ()
        nothing = [0] * len(baseline)
        arms = _difference(baseline, nothing), _difference(nothing, nothing)
        return (Block(self._began, now, -1, 0.0, *arms, BOUNDS_MS),)

    def _whole(self, release: Release, version: str) -> list[int]:
        return self._counters.get((release.metadata.name, version), _Counters()).whole()


def _difference(now: list[int], before: list[int]) -> ArmCounts:
    requests, bad, *latency = (a - b for a, b in zip(now, before, strict=True))
    return ArmCounts(requests, bad, tuple(latency))


@dataclass(slots=True)
class FakeWorld:
    """All of it, joined: one clock, and metrics that count what the mesh in force sends."""

    clock: FakeClock
    store: MemoryStore
    mesh: FakeMesh
    workloads: FakeWorkloads
    metrics: FakeMetrics
    renderer: FakeRenderer

    @classmethod
    def of(cls, versions: dict[str, int], *, rps: float = 100.0, start_s: float = 0.0) -> FakeWorld:
        """A world in which these versions exist, with so many replicas each."""
        clock, mesh = FakeClock(), FakeMesh()
        workloads = FakeWorkloads(clock, versions, start_s)
        return cls(clock, MemoryStore(), mesh, workloads, FakeMetrics(clock, mesh, rps), FakeRenderer())
