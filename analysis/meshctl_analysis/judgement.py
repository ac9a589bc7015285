"""The judge's word after the newest block, with everything that explains it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .totals import ArmTotals

ENGINE = "sequential"
VERSION = "1"

Verdict = Literal["pass", "fail", "undecided"]
Wait = Literal["NoTraffic", "ShareMismatch"]


@dataclass(frozen=True, slots=True)
class MetricEvidence:
    """Evidence that one metric is worse than tolerated.

    ``log`` is the logarithm of the metric's own e-value, ``weight`` its part in the run's evidence.  ``ratio`` compares
    candidate with baseline: for errors the ratio of error rates with an always-valid interval (``interval=True``; a
    limit of ``None`` is unbounded), for latency an estimate of the time factor without limits.

    The rest is told of metrics beside errors and latency only (``others.py``): whether it ``decides``, what it would
    say alone, the weakest part of its gate (``None``: no gate) and what was counted.
    """

    log: float
    weight: float
    ratio: float | None
    lower: float | None
    upper: float | None
    interval: bool
    decides: bool = True
    verdict: Verdict | None = None
    gate_log: float | None = None
    baseline: ArmTotals | None = None
    candidate: ArmTotals | None = None


@dataclass(frozen=True, slots=True)
class GatePart:
    """Evidence (nats) that one part is inside its margin: errors, or latency at ``bound_ms``."""

    name: str
    bound_ms: float | None
    log: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """``verdict`` and the numbers behind it; all evidence is in nats.

    ``fail`` when the abort evidence ``evidence_log`` reaches ``threshold_log`` or the guard reaches its own.
    ``blamed`` names the metrics that crossed the threshold alone; empty after a fail: only jointly (or the guard).
    ``pass`` when every part of ``gate`` reaches ``gate_threshold_log``; in a bake and at 100 % when nothing speaks
    against it (how long that lasts is not the judge's business).  ``wait`` names why time should stand still; it
    never decides.  ``step_down`` asks for an informative share during a bake.  ``remaining_s`` is the median time
    until the gate passes for a candidate equal to the baseline; ``None`` where there is no gate or nothing to go by.
    """

    verdict: Verdict
    message: str
    reasons: tuple[str, ...]
    evidence_log: float
    threshold_log: float
    metrics: dict[str, MetricEvidence]
    blamed: tuple[str, ...]
    gate: tuple[GatePart, ...]
    weakest: str | None
    gate_log: float | None
    gate_threshold_log: float | None
    guard: bool
    guard_log: float
    guard_threshold_log: float
    wait: Wait | None
    step_down: bool
    baseline: ArmTotals
    candidate: ArmTotals
    remaining_s: float | None
    engine: str = ENGINE
    version: str = VERSION
