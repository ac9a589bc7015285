"""From evidence to a verdict: the rules, and the numbers that go with them.

In this order: a broken guard or enough abort evidence fails the candidate; missing traffic or a wrong share leave it
undecided; a passed gate (or, without one, nothing that speaks against it) passes it; else it is undecided.
"""

from __future__ import annotations

import math

import numpy as np

from .counts import BASELINE, CANDIDATE
from .evalues import Floats
from .gates import expected_tails
from .intervals import ratio_interval
from .judgement import GatePart, Judgement, MetricEvidence, Verdict, Wait
from .planner import remaining_seconds
from .policy import Policy
from .state import SequentialState, Stage
from .totals import arm_totals, time_factor
from .wording import Findings, message_of


def nats(factor: float) -> float:
    """Logarithm of an evidence factor; a factor of 0 becomes 1e-300, so that the result is finite."""
    return math.log(max(factor, 1e-300))


def judgement_of(state: SequentialState, policy: Policy, stage: Stage) -> Judgement:
    """The judge's word on ``stage`` from all blocks in ``state``."""
    evidence = state.abort.evidence
    metrics = _metrics(state, policy)
    parts = _gate_parts(state, stage)
    weakest = min(parts, key=lambda part: part.log, default=None)
    guard = state.service_level.evidence >= policy.guard_threshold
    wait = _wait(state, policy)
    verdict, reasons = _decided(state, policy, stage, guard, wait)
    blamed = tuple(name for name, (w, e) in state.abort.of_metrics().items() if w * e >= policy.abort_threshold)
    if verdict == "fail" and not guard:
        reasons = blamed or ("jointly",)
    baseline, candidate = (arm_totals(state.totals, arm, state.bounds_ms or ()) for arm in (BASELINE, CANDIDATE))
    threshold = None if stage.beta is None else -math.log(stage.beta)
    gate_log = weakest.log if weakest else None
    findings = Findings(
        verdict, reasons, policy, stage.bake, metrics, baseline, candidate, weakest, threshold, wait, stage.share
    )
    return Judgement(
        verdict=verdict,
        message=message_of(findings),
        reasons=reasons,
        evidence_log=nats(evidence),
        threshold_log=math.log(policy.abort_threshold),
        metrics=metrics,
        blamed=blamed,
        gate=parts,
        weakest=weakest.name if weakest else None,
        gate_log=gate_log,
        gate_threshold_log=threshold,
        guard=guard,
        guard_log=nats(state.service_level.evidence),
        guard_threshold_log=math.log(policy.guard_threshold),
        wait=wait,
        step_down=stage.bake and state.suspicion.step_down,
        baseline=baseline,
        candidate=candidate,
        remaining_s=_remaining(state, policy, stage, parts),
    )


def _decided(
    state: SequentialState, policy: Policy, stage: Stage, guard: bool, wait: Wait | None
) -> tuple[Verdict, tuple[str, ...]]:
    if guard:
        return "fail", ("service_level",)
    if state.abort.evidence >= policy.abort_threshold:
        return "fail", ()
    if wait is not None:
        return "undecided", (wait,)
    if state.seen_in_entry == 0:
        return "undecided", ("no_data",)
    if not stage.comparable:
        return "pass", ("guards",)
    if state.abort.evidence >= policy.doubt:
        return "undecided", ("doubt",)
    if stage.bake:
        return ("undecided", ("step_down",)) if state.suspicion.step_down else ("pass", ("bake",))
    if stage.beta is None:
        return "undecided", ("no_gate",)
    if state.gate.weakest() >= 1.0 / stage.beta:
        return "pass", ("gate",)
    return "undecided", ("evidence",)


def _wait(state: SequentialState, policy: Policy) -> Wait | None:
    if state.silence.silent(policy):
        return "NoTraffic"
    return "ShareMismatch" if state.share_check.mismatch else None


def _metrics(state: SequentialState, policy: Policy) -> dict[str, MetricEvidence]:
    metrics = {}
    for name, (weight, value) in state.abort.of_metrics().items():
        if name == "errors":
            ratio, lower, upper = ratio_interval(state.likelihood, policy.alpha)
        else:
            ratio, lower, upper = time_factor(state.totals, state.bounds_ms or ()), None, None
        metrics[name] = MetricEvidence(nats(value), weight, ratio, lower, upper, interval=name == "errors")
    return metrics


def _gate_parts(state: SequentialState, stage: Stage) -> tuple[GatePart, ...]:
    """Every part of the gate; a part that has not begun to bet says nothing (0)."""
    if stage.beta is None:
        return ()
    gate, bounds_ms = state.gate, state.bounds_ms or ()
    errors = GatePart("errors", None, nats(gate.errors_evidence) if gate.errors_invested else 0.0)
    if gate.bounds is None or gate.latency is None:
        return errors, GatePart("latency", None, 0.0)
    latency = (
        GatePart(f"latency above {bounds_ms[bound]:g} ms", bounds_ms[bound], nats(wealth))
        for bound, wealth in zip(gate.bounds.tolist(), gate.latency.tolist(), strict=True)
    )
    return errors, *latency


def _remaining(state: SequentialState, policy: Policy, stage: Stage, parts: tuple[GatePart, ...]) -> float | None:
    bounds = state.gate.bounds
    if stage.beta is None or bounds is None:
        return None
    missing: Floats = -math.log(stage.beta) - np.array([part.log for part in parts])
    if (missing <= 0.0).all():
        return 0.0
    measured = state.dispersion.measured()
    return remaining_seconds(
        policy,
        requests_per_second=state.known.requests_per_second,
        share=stage.share,
        margin_share=stage.margin_share,
        error_rate=state.known.error_rate,
        tails=expected_tails(state.known, bounds) if len(bounds) else np.zeros(0),
        missing_nats=missing,
        dispersions=np.concatenate([measured[:1], measured[1:][bounds]]),
    )
