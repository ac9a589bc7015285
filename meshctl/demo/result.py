"""What came out of a scenario: the ``DemoResult`` that scripts read, the exit code, the noise between equal arms.

Pure: run and load go in, JSON data comes out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from meshctl.core.model import Phase, Run
from meshctl.demo.scenarios import SCENARIOS
from meshctl.demo.tally import Arm, LoadCounts

EXIT_CODES: Mapping[Phase, int] = {Phase.PROMOTED: 0, Phase.ROLLED_BACK: 10}
HELD_EXIT_CODE = 11
ON_THEIR_WAY = timedelta(seconds=0.5)
"""Answers that come this long after the last stage's end were requests of that stage."""


@dataclass(frozen=True, slots=True)
class StageEntry:
    """A weight of the candidate, in percent, and when the data plane was seen to have taken it."""

    weight: float
    confirmed_at: datetime


@dataclass(frozen=True, slots=True)
class LoadPoint:
    """The load generator's counts at an instant."""

    at: datetime
    counts: LoadCounts


@dataclass(frozen=True, slots=True)
class StageResult:
    """One stay at one weight: how long, and what each version answered meanwhile."""

    weight: float
    seconds: float
    baseline: Arm
    candidate: Arm

    def as_json(self) -> dict[str, Any]:
        """The shape in ``DemoResult.stages``."""
        return {
            "weight": self.weight,
            "seconds": round(self.seconds, 1),
            "requests": {"baseline": self.baseline.requests, "candidate": self.candidate.requests},
            "failed": {"baseline": self.baseline.failed, "candidate": self.candidate.failed},
        }


@dataclass(frozen=True, slots=True)
class Difference:
    """Candidate minus baseline in mean latency, in milliseconds, with its standard error and both means."""

    ms: float
    error_ms: float
    baseline_ms: float
    candidate_ms: float

    def __str__(self) -> str:
        return (
            f"candidate minus baseline {self.ms:+.2f} ms (standard error {self.error_ms:.2f} ms)"
            f" at means of {self.candidate_ms:.1f} and {self.baseline_ms:.1f} ms"
        )


@dataclass(frozen=True, slots=True)
class DemoResult:
    """The outcome of one scenario."""

    scenario: str
    run: Run
    stages: tuple[StageResult, ...]
    load: LoadCounts

    @property
    def seconds_to_verdict(self) -> float | None:
        """From the confirmation of the first candidate weight to the decision that ended the run."""
        if self.run.first_traffic_at is None or self.run.ended_at is None:
            return None
        return (self.run.ended_at - self.run.first_traffic_at).total_seconds()

    @property
    def exit_code(self) -> int:
        """0 promoted, 10 rolled back, 11 held or undecided."""
        return EXIT_CODES.get(self.run.phase, HELD_EXIT_CODE)

    @property
    def as_expected(self) -> bool:
        return self.run.phase is SCENARIOS[self.scenario].expected

    def as_json(self) -> dict[str, Any]:
        """The object that ``meshctl demo -o json`` ends with."""
        seconds = self.seconds_to_verdict
        return {
            "kind": "DemoResult",
            "scenario": self.scenario,
            "phase": self.run.phase.value,
            "reason": self.run.reason.value if self.run.reason else None,
            "secondsToVerdict": None if seconds is None else round(seconds, 1),
            "stages": [stage.as_json() for stage in self.stages],
            "load": {
                "requests": self.load.requests,
                "failed": self.load.failed,
                "failedByMesh": self.load.failed_by_mesh,
                "failedByWorkload": self.load.failed_by_workload,
            },
        }


def demo_result(
    scenario: str, run: Run, entries: Sequence[StageEntry], points: Sequence[LoadPoint], losses: int | None
) -> DemoResult:
    """Put a scenario's outcome together.

    ``points`` are the counts as they were read, oldest first, the final ones last.  ``losses`` is how many replicas
    ended by another hand (``None``: not known): when none did, no failure can be blamed on one.
    """
    load = points[-1].counts if points else LoadCounts()
    return DemoResult(scenario, run, stage_results(run, entries, points), blamed(load, losses))


def blamed(load: LoadCounts, losses: int | None) -> LoadCounts:
    """The counts with failures inside a dying replica blamed on the mesh when no replica died by another hand."""
    if losses != 0 or not load.failed_by_workload:
        return load
    return replace(load, failed_by_mesh=load.failed_by_mesh + load.failed_by_workload, failed_by_workload=0)


def stage_results(run: Run, entries: Sequence[StageEntry], points: Sequence[LoadPoint]) -> tuple[StageResult, ...]:
    """Cut the load's counts where the data plane took a new weight."""
    if not points:
        return ()
    end = run.ended_at or points[-1].at
    results = []
    for position, entry in enumerate(entries):
        last = position + 1 == len(entries)
        until = end if last else entries[position + 1].confirmed_at
        first = _counts_at(points, entry.confirmed_at)
        then = _counts_at(points, until + ON_THEIR_WAY if last else until)
        results.append(
            StageResult(
                entry.weight,
                max((until - entry.confirmed_at).total_seconds(), 0.0),
                then.version(run.baseline).plus(first.version(run.baseline), -1),
                then.version(run.candidate).plus(first.version(run.candidate), -1),
            )
        )
    return tuple(results)


def _counts_at(points: Sequence[LoadPoint], instant: datetime) -> LoadCounts:
    """The newest counts that are not younger than ``instant``; before the first snapshot nothing was counted."""
    best = LoadCounts()
    for point in points:
        if point.at > instant:
            break
        best = point.counts
    return best


def difference(stages: Sequence[StageResult]) -> Difference | None:
    """What two arms that are meant to be equal really differ by.

    Compared within each stage, where both saw the same minute of the machine, and pooled by precision.
    ``None`` when no stage had at least two good answers of both.
    """
    precision = sum_baseline = sum_candidate = 0.0
    for stage in stages:
        baseline, candidate = stage.baseline, stage.candidate
        if not (baseline.variance and candidate.variance):
            continue
        weight = 1 / (baseline.variance / baseline.good + candidate.variance / candidate.good)
        precision += weight
        sum_baseline += weight * baseline.sum_ms / baseline.good
        sum_candidate += weight * candidate.sum_ms / candidate.good
    if not precision:
        return None
    mean_baseline, mean_candidate = sum_baseline / precision, sum_candidate / precision
    return Difference(mean_candidate - mean_baseline, math.sqrt(1 / precision), mean_baseline, mean_candidate)


def exit_code(results: Sequence[DemoResult], *, once: bool) -> int:
    """With ``--once`` the run's own code; without it 0 when every scenario ended as it should, else 1."""
    if once:
        return results[0].exit_code if results else 1
    return 0 if results and all(result.as_expected for result in results) else 1
