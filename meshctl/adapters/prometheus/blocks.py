"""What was counted, as blocks for the judge."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from meshctl.adapters.prometheus.cursor import instant_of
from meshctl.adapters.prometheus.differencing import Arm, Outcome, Values
from meshctl.adapters.prometheus.exact import Counted
from meshctl.adapters.prometheus.strays import meant_for
from meshctl.adapters.prometheus.telemetry import Subject
from meshctl.core.model import ArmCounts, Block

STRAYS_TOLD = 5
"""Fewer requests that reached nobody are not worth a word: every restart of a pod makes some."""


class Blocks:
    """Blocks of one stage entry at the candidate's confirmed ``weight`` (percent), and what is to be told of them."""

    def __init__(self, entry: int, weight: float, approximate: bool) -> None:
        self._entry, self._weight, self._approximate = entry, weight, approximate
        self._strays = {Arm.BASELINE: 0, Arm.CANDIDATE: 0, None: 0}

    def of(self, counted: Counted, bounds_ms: tuple[float, ...]) -> Block:
        """One block.  Failures that reached no version count for the one whose share is missing, if one is."""
        tried = {arm: _tried(counted, arm) for arm in Arm}
        bad = {arm: _sum(counted, arm, Outcome.BAD) for arm in Arm}
        strays = bad[Arm.STRAY]
        if strays:
            knows = tried[Arm.STRAY] == strays
            owner = meant_for(tried[Arm.BASELINE], tried[Arm.CANDIDATE], strays, self._weight) if knows else None
            self._strays[owner] += strays
            if owner is not None:
                tried[owner] += strays
                bad[owner] += strays
        baseline, candidate = (
            ArmCounts(tried[arm], bad[arm], _latency(counted, arm, bounds_ms)) for arm in (Arm.BASELINE, Arm.CANDIDATE)
        )
        start, end = instant_of(counted.requests.start_ms), instant_of(counted.requests.end_ms)
        return Block(
            start, end, self._entry, self._weight, baseline, candidate, bounds_ms, self._approximate, counted.custom
        )

    def history(self, parts: Sequence[Counted], bounds_ms: tuple[float, ...], step_ms: int) -> Block:
        """All parts as one block of the baseline alone.  It begins one step before the first end: what lies before
        that may be a time when nobody counted."""
        blocks = [self.of(part, bounds_ms) for part in parts]
        arms = [block.baseline for block in blocks]
        latency = tuple(sum(counts) for counts in zip(*(arm.latency for arm in arms), strict=True))
        baseline = ArmCounts(sum(arm.requests for arm in arms), sum(arm.bad for arm in arms), latency)
        nothing = ArmCounts(0, 0, (0,) * len(latency))
        start = max(blocks[0].start, blocks[0].end - timedelta(milliseconds=step_ms))
        end = blocks[-1].end
        return Block(start, end, self._entry, self._weight, baseline, nothing, bounds_ms, self._approximate)

    def notes(self, subject: Subject) -> list[str]:
        """What people should know of these blocks."""
        notes = []
        if self._approximate:
            notes.append(
                f"more than {subject.settings.series_max} series: Prometheus sums them up, counts are approximate"
            )
        versions = {Arm.BASELINE: subject.baseline, Arm.CANDIDATE: subject.candidate}
        for owner, count in self._strays.items():
            if count >= STRAYS_TOLD:
                whose = "for neither version" if owner is None else f"as failures of {versions[owner]}"
                notes.append(f"some requests reach no endpoint at all; they count {whose}")
        return notes


def _sum(counted: Counted, arm: Arm, outcome: Outcome) -> int:
    values = counted.requests.sums.get((arm, outcome))
    return round(values[0]) if values else 0


def _tried(counted: Counted, arm: Arm) -> int:
    return _sum(counted, arm, Outcome.GOOD) + _sum(counted, arm, Outcome.BAD)


def _latency(counted: Counted, arm: Arm, bounds_ms: tuple[float, ...]) -> tuple[int, ...]:
    """Counts per bucket from counts up to each bound."""
    if not bounds_ms:
        return ()
    below: Values = counted.latencies.sums.get((arm, Outcome.GOOD), (0.0,) * (len(bounds_ms) + 1))
    return tuple(max(round(upper - lower), 0) for lower, upper in zip((0.0, *below), below, strict=False))
