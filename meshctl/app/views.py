"""A release as people look at it: everything that is shown, already looked up, summed and named."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from meshctl.core.model import Gate, Phase, Reason, Release, Request, Run, Stage, Verdict
from meshctl.core.status import Status


class Role(StrEnum):
    """What a version is to the release just now."""

    SERVING = "serving"
    BASELINE = "baseline"
    CANDIDATE = "candidate"
    TAKEN_BACK = "taken back"
    WARM = "kept warm"


class Progress(StrEnum):
    """Where a stage stands in the run."""

    DONE = "done"
    NOW = "now"
    AHEAD = "ahead"
    SKIPPED = "skipped"
    STOPPED = "ended"
    NOT_REACHED = "not run"


@dataclass(frozen=True, slots=True)
class VersionView:
    """One version: ``weight`` is decided, ``in_effect`` is what the data plane was last seen to do (percent)."""

    version: str
    role: Role
    weight: float
    in_effect: float


@dataclass(frozen=True, slots=True)
class ArmView:
    """What one version did; latencies are of its good requests, ``None`` where there were none."""

    requests: int = 0
    bad: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None

    @property
    def error_rate(self) -> float | None:
        """The share of bad requests, ``None`` without requests."""
        return self.bad / self.requests if self.requests else None


@dataclass(frozen=True, slots=True)
class StageView:
    """One stage of the run; ``seconds`` and both arms are the sums of its blocks."""

    number: int
    """Counted from 1."""
    stage: Stage
    progress: Progress
    seconds: float
    baseline: ArmView
    candidate: ArmView

    @property
    def manual(self) -> bool:
        return self.stage.gate is Gate.MANUAL


@dataclass(frozen=True, slots=True)
class EvidenceView:
    """Evidence in nats against the threshold that makes it a proof."""

    log: float
    threshold: float

    @property
    def share(self) -> float:
        """How much of the way to the proof is gone, from 0 to 1."""
        if math.isnan(self.log) or self.threshold <= 0:
            return 0.0
        return max(0.0, min(1.0, self.log / self.threshold))

    @property
    def proved(self) -> bool:
        return self.log >= self.threshold


@dataclass(frozen=True, slots=True)
class DecisionView:
    """One decision of the record."""

    number: int
    time: datetime
    run: str
    stage: int
    phase_from: Phase
    phase_to: Phase
    reason: str
    verdict: str
    message: str
    actor: str
    """``judge``, ``controller`` or the name that a person gave."""
    by_person: bool
    weight_from: float
    weight_to: float
    why: str = ""
    """The reason that a person gave with the request."""


@dataclass(frozen=True, slots=True)
class PastRun:
    """An earlier run of the release, for comparison."""

    name: str
    baseline: str | None
    candidate: str
    phase: Phase
    reason: Reason | None
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class ReleaseView:
    """One release with its present run.

    ``abort`` is the evidence for "worse", ``gate`` the evidence for "not worse than the margin"; ``None`` where
    nothing was judged yet or where the stage has no gate.  ``remaining_s`` estimates how long until the next stage
    may begin for a candidate as good as the baseline: least duration or the judge's planner, whichever is longer.
    ``moment`` is when it was looked at, ``decisions`` are oldest first.
    """

    release: Release
    status: Status
    run: Run | None
    moment: datetime | None
    versions: tuple[VersionView, ...] = ()
    stages: tuple[StageView, ...] = ()
    abort: EvidenceView | None = None
    gate: EvidenceView | None = None
    waits_for: str = ""
    remaining_s: float | None = None
    decisions: tuple[DecisionView, ...] = ()
    pending: tuple[Request, ...] = ()
    warm_until: datetime | None = None
    past: tuple[PastRun, ...] = ()
    rejected: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.release.metadata.name

    @property
    def present(self) -> StageView | None:
        """The stage that the run is in, or ended in."""
        if self.run is None or self.status.stage is None or not self.stages:
            return None
        return self.stages[self.run.stage]

    @property
    def warm(self) -> str | None:
        """The version that a rollback would go back to."""
        return next((each.version for each in self.versions if each.role is Role.WARM), None)

    @property
    def turned_down(self) -> str | None:
        """The wished version, if it was rejected and so is not tried again by itself."""
        wished = self.release.spec.version
        return wished if wished in self.rejected and wished != self.status.baseline else None

    @property
    def verdict(self) -> Verdict:
        return self.status.verdict
