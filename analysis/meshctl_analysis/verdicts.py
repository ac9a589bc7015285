"""From evidence to a verdict: the rules, and the numbers that go with them.

In this order: a broken guard or enough abort evidence fails the candidate; missing traffic or a wrong share leave it
undecided; a passed gate (or, without one, nothing that speaks against it) passes it; else it is undecided.

Other metrics that decide count as errors and latency do: the evidence of the run is the average over all metrics, a
gate opens when every metric's has (design notes ``statistics.md`` sections 6 and 7).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

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


@dataclass(frozen=True, slots=True)
class Other:
    """What a metric beside errors and latency says: its e-value (a factor) and its numbers, the parts of its gate,
    whether they all suffice (``opened``), whether the candidate had any of it in this stage entry (``seen``)."""

    name: str
    policy: Policy
    value: float
    evidence: MetricEvidence
    gate: tuple[GatePart, ...]
    opened: bool
    seen: bool
    step_down: bool
    remaining_s: float | None

    @property
    def decides(self) -> bool:
        """Whether it counts; else it is told only."""
        return self.evidence.decides


def judgement_of(state: SequentialState, policy: Policy, stage: Stage, others: Sequence[Other] = ()) -> Judgement:
    """The judge's word on ``stage`` from all blocks in ``state``, and what ``others`` say."""
    deciding = [each for each in others if each.decides]
    values = {name: value for name, (_, value) in state.abort.of_metrics().items()}
    values |= {each.name: each.value for each in deciding}
    weight = 1.0 / len(values)
    evidence = math.fsum(weight * value for value in values.values())
    metrics = _metrics(state, policy, weight) | {
        each.name: replace(each.evidence, weight=weight if each.decides else 0.0) for each in others
    }
    parts = (*_gate_parts(state, stage), *(part for each in deciding for part in each.gate))
    weakest = min(parts, key=lambda part: part.log, default=None)
    guard = state.service_level.evidence >= policy.guard_threshold
    wait = _wait(state, policy)
    verdict, reasons = _decided(state, policy, stage, guard, wait, evidence, deciding)
    blamed = tuple(name for name, value in values.items() if weight * value >= policy.abort_threshold)
    if verdict == "fail" and not guard:
        reasons = blamed or ("jointly",)
    baseline, candidate = (arm_totals(state.totals, arm, state.bounds_ms or ()) for arm in (BASELINE, CANDIDATE))
    threshold = None if stage.beta is None else -math.log(stage.beta)
    gate_log = weakest.log if weakest else None
    findings = Findings(
        verdict,
        reasons,
        policy,
        stage.bake,
        metrics,
        baseline,
        candidate,
        weakest,
        threshold,
        wait,
        stage.share,
        {each.name: each.policy.errors if each.evidence.interval else each.policy.latency for each in deciding},
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
        step_down=stage.bake and _suspicious(state, deciding),
        baseline=baseline,
        candidate=candidate,
        remaining_s=_longest([remaining_of(state, policy, stage, _gate_parts(state, stage))], deciding),
    )


def _suspicious(state: SequentialState, deciding: Sequence[Other]) -> bool:
    return state.suspicion.step_down or any(each.step_down for each in deciding)


def _longest(own: list[float | None], deciding: Sequence[Other]) -> float | None:
    known = [each for each in (*own, *(each.remaining_s for each in deciding)) if each is not None]
    return max(known) if known and own != [None] else None


def _decided(
    state: SequentialState,
    policy: Policy,
    stage: Stage,
    guard: bool,
    wait: Wait | None,
    evidence: float,
    deciding: Sequence[Other],
) -> tuple[Verdict, tuple[str, ...]]:
    if guard:
        return "fail", ("service_level",)
    if evidence >= policy.abort_threshold:
        return "fail", ()
    if wait is not None:
        return "undecided", (wait,)
    if state.seen_in_entry == 0:
        return "undecided", ("no_data",)
    if not stage.comparable:
        return "pass", ("guards",)
    if evidence >= policy.doubt:
        return "undecided", ("doubt",)
    unseen = tuple(each.name for each in deciding if not each.seen)
    if unseen:
        return "undecided", ("no_data_of", *unseen)
    if stage.bake:
        return ("undecided", ("step_down",)) if _suspicious(state, deciding) else ("pass", ("bake",))
    if stage.beta is None:
        return "undecided", ("no_gate",)
    if state.gate.weakest() >= 1.0 / stage.beta and all(each.opened for each in deciding):
        return "pass", ("gate",)
    return "undecided", ("evidence",)


def _wait(state: SequentialState, policy: Policy) -> Wait | None:
    if state.silence.silent(policy):
        return "NoTraffic"
    return "ShareMismatch" if state.share_check.mismatch else None


def _metrics(state: SequentialState, policy: Policy, weight: float) -> dict[str, MetricEvidence]:
    metrics = {}
    for name, (_, value) in state.abort.of_metrics().items():
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


def remaining_of(state: SequentialState, policy: Policy, stage: Stage, parts: tuple[GatePart, ...]) -> float | None:
    """Median time until ``parts`` of a gate suffice for a candidate equal to the baseline, one part for errors and one
    for each bound of the latency."""
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
