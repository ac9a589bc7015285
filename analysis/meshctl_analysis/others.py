"""Other metrics beside errors and latency, judged by the same statistics: a bad share as errors are, a law of values as
latency is.

    state = start(policy)
    state = learn(state, policy, history, metrics, others)
    state, judgement = fold(state, policy, stage, blocks, metrics, others)

Each metric is an e-process of its own with blocks of its own, so that its counts may come at other instants than the
requests.  Those that decide share the run's evidence with errors and latency in equal parts, and a gate opens only
when theirs have; the others are told only.  All guarantees are those of the sequential judge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from . import sequential
from .blocks import Block
from .counts import BASELINE, CANDIDATE
from .gates import Gate
from .intervals import ratio_interval
from .judgement import GatePart, Judgement, MetricEvidence, Verdict
from .policy import Policy, Tolerance
from .state import SequentialState, Stage
from .storage import dumps, loads
from .totals import arm_totals, time_factor
from .verdicts import Other, judgement_of, nats, remaining_of

__all__ = ["Metric", "OthersState", "dump", "fold", "learn", "load", "start"]


@dataclass(frozen=True, slots=True)
class Metric:
    """What is asked of one metric.

    ``measures="share"``: bad events among all, in ``requests`` and ``bad`` of its blocks; ``"values"``: a law of
    values, larger ones being worse, in ``latency`` of its blocks, whatever their unit.  One that does not decide
    changes nothing.
    """

    name: str
    measures: Literal["share", "values"]
    tolerance: Tolerance
    decides: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class OthersState:
    """``main``: errors and latency.  ``parts``: one state for each of ``names``."""

    main: SequentialState
    names: tuple[str, ...]
    parts: tuple[SequentialState, ...]


def start(policy: Policy) -> OthersState:
    """Before anything was seen."""
    return OthersState(sequential.start(policy), (), ())


def dump(state: OthersState) -> str:
    """``state`` as compact JSON text; ``load`` gives it back bit by bit."""
    return dumps(state)


def load(text: str) -> OthersState:
    """The state that ``dump`` wrote.  Raises ``StateError`` (a ``ValueError``) for anything else."""
    return loads(OthersState, text)


def learn(
    state: OthersState,
    policy: Policy,
    blocks: Sequence[Block],
    metrics: Sequence[Metric],
    others: Mapping[str, Sequence[Block]],
) -> OthersState:
    """As `sequential.learn`; ``others`` are blocks of the baseline of each of ``metrics``, by name."""
    known = dict(zip(state.names, state.parts, strict=True))
    parts = tuple(
        sequential.learn(known.get(each.name) or sequential.start(own), own, others.get(each.name, ()))
        for each, own in ((each, _policy(policy, each)) for each in metrics)
    )
    return OthersState(sequential.learn(state.main, policy, blocks), tuple(each.name for each in metrics), parts)


def fold(
    state: OthersState,
    policy: Policy,
    stage: Stage,
    blocks: Sequence[Block],
    metrics: Sequence[Metric],
    others: Mapping[str, Sequence[Block]],
) -> tuple[OthersState, Judgement]:
    """As `sequential.fold`; ``others`` are the new blocks of each of ``metrics``, by name."""
    known = dict(zip(state.names, state.parts, strict=True))
    main = sequential.advanced(state.main, policy, stage, blocks)
    policies = [_policy(policy, metric) for metric in metrics]
    parts = tuple(
        sequential.advanced(known.get(each.name) or sequential.start(own), own, stage, others.get(each.name, ()))
        for each, own in zip(metrics, policies, strict=True)
    )
    words = [_other(each, own, stage, part) for each, own, part in zip(metrics, policies, parts, strict=True)]
    after = OthersState(main, tuple(each.name for each in metrics), parts)
    return after, judgement_of(main, policy, stage, words)


def _policy(policy: Policy, metric: Metric) -> Policy:
    """The promise is one for the whole run; what is tolerated is the metric's own."""
    if metric.measures == "share":
        return replace(policy, errors=metric.tolerance, max_error_rate=None)
    return replace(policy, latency=metric.tolerance, max_error_rate=None)


def _other(metric: Metric, policy: Policy, stage: Stage, state: SequentialState) -> Other:
    share = metric.measures == "share"
    of_metrics = state.abort.of_metrics()
    _, value = of_metrics.get("errors" if share else "latency", (1.0, 1.0))
    bounds = state.bounds_ms or ()
    ratio, lower, upper = (
        ratio_interval(state.likelihood, policy.alpha)
        if share
        else (time_factor(state.totals, bounds) if bounds else None, None, None)
    )
    gate = () if stage.beta is None else _share_gate(metric, state.gate) if share else _values_gate(metric, state)
    opened = stage.beta is not None and bool(gate) and all(part.log >= nats(1.0 / stage.beta) for part in gate)
    evidence = MetricEvidence(
        nats(value),
        0.0,
        ratio,
        lower,
        upper,
        interval=share,
        decides=metric.decides,
        verdict=_alone(policy, stage, value, opened, state.seen_in_entry > 0),
        gate_log=min((part.log for part in gate), default=None),
        baseline=arm_totals(state.totals, BASELINE, bounds),
        candidate=arm_totals(state.totals, CANDIDATE, bounds),
    )
    return Other(
        name=metric.name,
        policy=policy,
        value=value,
        evidence=evidence,
        gate=gate,
        opened=opened,
        seen=state.seen_in_entry > 0,
        step_down=stage.bake and state.suspicion.step_down,
        remaining_s=remaining_of(state, policy, stage, gate) if share else None,
    )


def _alone(policy: Policy, stage: Stage, value: float, opened: bool, seen: bool) -> Verdict:
    """What a metric would say if there were no other one."""
    if value >= policy.abort_threshold:
        return "fail"
    if not seen or value >= policy.doubt:
        return "undecided"
    return "pass" if opened or stage.bake or not stage.comparable else "undecided"


def _share_gate(metric: Metric, gate: Gate) -> tuple[GatePart, ...]:
    return (GatePart(metric.name, None, nats(gate.errors_evidence) if gate.errors_invested else 0.0),)


def _values_gate(metric: Metric, state: SequentialState) -> tuple[GatePart, ...]:
    """A part for each informative bound.  Where there is none nothing can be shown, so nothing is."""
    gate, bounds = state.gate, state.bounds_ms or ()
    if gate.bounds is None or gate.latency is None or not len(gate.bounds):
        return (GatePart(metric.name, None, 0.0),)
    return tuple(
        GatePart(f"{metric.name} above {bounds[bound]:g}", bounds[bound], nats(wealth))
        for bound, wealth in zip(gate.bounds.tolist(), gate.latency.tolist(), strict=True)
    )
