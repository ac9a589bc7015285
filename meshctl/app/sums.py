"""What a run's blocks amount to, summed up so that who follows it reads each block once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from meshctl.app.views import ArmView
from meshctl.core.catalog import Archive
from meshctl.core.model import ArmCounts, Block, Run


@dataclass(slots=True)
class _Arm:
    requests: int = 0
    bad: int = 0
    latency: list[int] = field(default_factory=list)

    def add(self, counts: ArmCounts) -> None:
        self.requests += counts.requests
        self.bad += counts.bad
        if len(self.latency) != len(counts.latency):
            self.latency = [0] * len(counts.latency)
        for index, count in enumerate(counts.latency):
            self.latency[index] += count

    def view(self, bounds: Sequence[float]) -> ArmView:
        p50, p99 = (quantile(self.latency, bounds, share) for share in (0.5, 0.99))
        return ArmView(self.requests, self.bad, p50, p99)


@dataclass(slots=True)
class Sums:
    """Both arms over some blocks, and how long these lasted."""

    seconds: float = 0.0
    bounds: tuple[float, ...] = ()
    baseline: _Arm = field(default_factory=_Arm)
    candidate: _Arm = field(default_factory=_Arm)

    def add(self, block: Block) -> None:
        """One more block; of latencies only those by the newest bounds are kept."""
        self.seconds += (block.end - block.start).total_seconds()
        if block.bounds_ms != self.bounds:
            self.bounds = block.bounds_ms
            self.baseline.latency, self.candidate.latency = [], []
        self.baseline.add(block.baseline)
        self.candidate.add(block.candidate)

    def both(self, other: Sums) -> Sums:
        """This and a later one together, by the same rule as `add`."""
        pairs = (self.baseline, other.baseline), (self.candidate, other.candidate)
        same = self.bounds == other.bounds
        arms = [
            _Arm(
                earlier.requests + later.requests,
                earlier.bad + later.bad,
                [sum(counts) for counts in zip(earlier.latency, later.latency, strict=True)] if same else later.latency,
            )
            for earlier, later in pairs
        ]
        return Sums(self.seconds + other.seconds, other.bounds, *arms)


@dataclass(slots=True)
class Follower:
    """What was read of one run so far: ``entries`` has the sums of each stage entry, ``newest`` is the last one."""

    run: tuple[str, datetime] | None = None
    read: int = 0
    entries: dict[int, Sums] = field(default_factory=dict)
    newest: int = -1

    def follow(self, source: Archive, run: Run) -> None:
        """Read on; another run begins anew."""
        if self.run != (run.name, run.started_at):
            self.run = run.name, run.started_at
            self.read, self.entries, self.newest = source.checkpoint(run.name).blocks, {}, -1
        blocks = source.blocks(run.name, after=self.read)
        self.read += len(blocks)
        for block in blocks:
            if block.entry >= 0:
                self.entries.setdefault(block.entry, Sums()).add(block)
                self.newest = block.entry

    def by_weight(self, run: Run) -> Mapping[float, Sums]:
        """Sums per weight of a stage: a stage that was entered twice is told once."""
        found: dict[float, Sums] = {}
        for entry, sums in sorted(self.entries.items()):
            if entry < len(run.entries):
                weight = run.entries[entry].weight
                found[weight] = found[weight].both(sums) if weight in found else sums
        return found


def quantile(counts: Sequence[int], bounds: Sequence[float], share: float) -> float | None:
    """The latency below which ``share`` of the counted requests lie, linear within its bucket.

    What lies beyond the last bound is told as that bound; ``None`` without requests.
    """
    total = sum(counts)
    if not total or not bounds:
        return None
    wanted, below, lower = share * total, 0, 0.0
    for count, upper in zip(counts, bounds, strict=False):
        if count and below + count >= wanted:
            return lower + (upper - lower) * (wanted - below) / count
        below, lower = below + count, upper
    return bounds[-1]
