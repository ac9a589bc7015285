"""From the looks of the classic engine to a verdict, in the order and the shape of the sequential judge."""

from __future__ import annotations

import math

from .classicstate import ClassicState
from .counts import BASELINE, CANDIDATE, REQUESTS
from .effects import rate_ratio
from .judgement import GatePart, Judgement, MetricEvidence, Verdict, Wait
from .looks import ABORT_LOOKS, GATE_LOOKS, allowed_abort, nats
from .policy import Policy
from .spending import part_of_look
from .state import Stage
from .totals import arm_totals, time_factor
from .wording import Findings, counted, message_of

ENGINE, VERSION = "classic", "1"
DOUBT_P = 0.01
"""A bake is not passed while the newest look finds a metric this suspicious."""


def judgement_of(state: ClassicState, policy: Policy, stage: Stage) -> Judgement:
    """The engine's word.  Evidence is ``-ln p`` of the newest look, its threshold ``-ln`` of what that look allows."""
    metrics = _metrics(state, policy)
    parts = state.gate_look.parts() if state.gate_look else ()
    weakest = min(parts, key=lambda part: part.log, default=None)
    guard = state.service_level.evidence >= policy.guard_threshold
    wait = _wait(state, policy)
    verdict, reasons = _decided(state, stage, guard, wait)
    baseline, candidate = (arm_totals(state.totals, arm, state.bounds_ms or ()) for arm in (BASELINE, CANDIDATE))
    gate_threshold = _gate_threshold(state, stage)
    findings = Findings(
        verdict, reasons, policy, stage.bake, metrics, baseline, candidate, weakest, gate_threshold, wait, stage.share
    )
    return Judgement(
        verdict=verdict,
        message=_message(findings, state, weakest),
        reasons=reasons,
        evidence_log=max(metric.log for metric in metrics.values()),
        threshold_log=_abort_threshold(state, policy, stage),
        metrics=metrics,
        blamed=state.failed,
        gate=parts,
        weakest=weakest.name if weakest else None,
        gate_log=weakest.log if weakest else None,
        gate_threshold_log=gate_threshold,
        guard=guard,
        guard_log=math.log(max(state.service_level.evidence, 1e-300)),
        guard_threshold_log=math.log(policy.guard_threshold),
        wait=wait,
        step_down=False,
        baseline=baseline,
        candidate=candidate,
        remaining_s=_until_next_gate_look(state, stage),
        engine=ENGINE,
        version=VERSION,
    )


def _decided(state: ClassicState, stage: Stage, guard: bool, wait: Wait | None) -> tuple[Verdict, tuple[str, ...]]:
    if guard:
        return "fail", ("service_level",)
    if state.failed:
        return "fail", state.failed
    if wait is not None:
        return "undecided", (wait,)
    if state.stage[CANDIDATE, REQUESTS] == 0:
        return "undecided", ("no_data",)
    if not stage.comparable:
        return "pass", ("guards",)
    if stage.bake:
        if state.abort_look is None:
            return "undecided", ("look",)
        return ("undecided", ("doubt",)) if state.abort_look.suspicious(DOUBT_P) else ("pass", ("bake",))
    if stage.beta is None:
        return "undecided", ("no_gate",)
    return ("pass", ("gate",)) if state.passed else ("undecided", ("look" if state.gate_look is None else "evidence",))


def _wait(state: ClassicState, policy: Policy) -> Wait | None:
    if state.silence.silent(policy):
        return "NoTraffic"
    return "ShareMismatch" if state.share_check.mismatch else None


def _metrics(state: ClassicState, policy: Policy) -> dict[str, MetricEvidence]:
    """Evidence of the newest look; the ratio of error rates in this stage entry, of time in the whole run."""
    look, bounds_ms = state.abort_look, state.bounds_ms or ()
    (base_requests, base_bad), (requests, bad) = state.stage[:, :2].tolist()
    ratio = lower = upper = None
    if base_requests and requests and base_bad + bad:
        estimate = rate_ratio(bad, requests, base_bad, base_requests, policy.alpha)
        ratio, lower, upper = (_finite(value) for value in (estimate.value, estimate.lower, estimate.upper))
    weight = 0.5 if bounds_ms else 1.0
    metrics = {"errors": MetricEvidence(nats(look.errors) if look else 0.0, weight, ratio, lower, upper, True)}
    if bounds_ms:
        log = nats(look.latency) if look and look.latency is not None else 0.0
        metrics["latency"] = MetricEvidence(log, weight, time_factor(state.totals, bounds_ms), None, None, False)
    return metrics


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _abort_threshold(state: ClassicState, policy: Policy, stage: Stage) -> float:
    """Of the newest look; before the first one, of the first."""
    if state.abort_look is not None:
        return nats(state.abort_look.allowed)
    metrics = 2 if state.bounds_ms else 1
    return nats(allowed_abort(policy, stage.entry, metrics, 0.0, ABORT_LOOKS[0]))


def _gate_threshold(state: ClassicState, stage: Stage) -> float | None:
    if stage.beta is None:
        return None
    if state.gate_look is not None:
        return nats(state.gate_look.allowed)
    return nats(part_of_look(stage.beta, 0.0, GATE_LOOKS[0]))


def _until_next_gate_look(state: ClassicState, stage: Stage) -> float | None:
    """Seconds until the gate is tested again; ``None`` without a gate or after its last look."""
    if stage.beta is None:
        return None
    later = [look for look in GATE_LOOKS if look > state.proved + 1e-9]
    return max(later[0] * stage.max_duration_s - state.elapsed_s, 0.0) if later else None


def _message(found: Findings, state: ClassicState, weakest: GatePart | None) -> str:
    if "look" in found.reasons:
        return f"no look has come due yet: {counted(found)}"
    if found.reasons == ("evidence",) and weakest is not None and state.gate_look is not None:
        p_value = math.exp(-weakest.log)
        needed = f"this look needs less than {state.gate_look.allowed:.2g}"
        return f"not proved yet: {weakest.name} has p = {p_value:.2g}, {needed}"
    return message_of(found)
