"""One plain sentence for a judgement.  It names no version: the caller knows what the candidate is called."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from .judgement import GatePart, MetricEvidence, Verdict, Wait
from .policy import Policy, Tolerance
from .totals import ArmTotals


@dataclass(frozen=True, slots=True)
class Findings:
    """What a sentence can be made of."""

    verdict: Verdict
    reasons: tuple[str, ...]
    policy: Policy
    bake: bool
    metrics: dict[str, MetricEvidence]
    baseline: ArmTotals
    candidate: ArmTotals
    weakest: GatePart | None
    gate_threshold_log: float | None
    wait: Wait | None
    share: float
    others: Mapping[str, Tolerance] = field(default_factory=dict)
    """Metrics beside errors and latency that decide, and what each allows."""


def message_of(found: Findings) -> str:
    """The verdict and its main reason in one sentence, without a full stop."""
    if found.verdict == "fail":
        return _failed(found)
    if found.verdict == "pass":
        return _passed(found)
    return _undecided(found)


def percent(change: float) -> str:
    """A relative change as text: 0.06 -> "6 %", 0.004 -> "0.4 %"."""
    return f"{100.0 * change:.0f} %" if abs(change) >= 0.0095 else f"{100.0 * change:.1g} %"


def counted(found: Findings) -> str:
    """Errors of both arms."""
    return f"{_candidate_failed(found)}, baseline {found.baseline.bad} of {found.baseline.requests}"


def _candidate_failed(found: Findings) -> str:
    return f"candidate failed {found.candidate.bad} of {found.candidate.requests} requests"


def _slowness(found: Findings) -> str:
    """How much slower; latencies at the tail where the middle does not show it."""
    candidate, baseline = found.candidate, found.baseline
    ratio = found.metrics["latency"].ratio
    middle = (
        "candidate is slower"
        if ratio is None or ratio < 1.01
        else f"candidate is slower by about {percent(ratio - 1.0)}"
    )
    numbers = (candidate.p50_ms, baseline.p50_ms, candidate.p99_ms, baseline.p99_ms)
    if None in numbers:
        return middle
    return "{} (median {:.0f} ms against {:.0f} ms, 99th percentile {:.0f} ms against {:.0f} ms)".format(
        middle, *numbers
    )


def _failed(found: Findings) -> str:
    policy = found.policy
    if "service_level" in found.reasons:
        allowed = percent(policy.max_error_rate or 0.0)
        return f"{_candidate_failed(found)}: more than the allowed {allowed}"
    errors = f"{counted(found)}: worse than {policy.errors.tolerance:g}x the baseline"
    if "errors" in found.reasons:
        return errors
    slow = (
        f"{_slowness(found)}: more than the tolerated {percent(policy.latency.tolerance - 1.0)}"
        if "latency" in found.metrics
        else ""
    )
    if "latency" in found.reasons:
        return slow
    blamed = [name for name in found.reasons if name in found.others]
    if blamed:
        name = blamed[0]
        return f"{_measured(name, found)}: more than the tolerated {found.others[name].tolerance:g}x the baseline"
    if found.others:
        names = ", ".join(name for name, metric in found.metrics.items() if metric.decides and metric.log > 0.0)
        return f"all metrics together are worse than tolerated ({names}): {counted(found)}"
    return f"errors and latency together are worse than tolerated: {counted(found)}; {_slowness(found)}"


def _passed(found: Findings) -> str:
    if "guards" in found.reasons:
        return f"nothing is left to compare with, no guard is broken: {_candidate_failed(found)}"
    if found.bake:
        return f"nothing speaks against the candidate: {counted(found)}"
    return f"candidate is shown to be no worse than the margin allows: {counted(found)}"


def _undecided(found: Findings) -> str:
    if found.wait == "NoTraffic":
        return "no traffic to judge the candidate by"
    if found.wait == "ShareMismatch":
        return f"the candidate's share of the requests is not the configured {percent(found.share)}"
    if "no_data" in found.reasons:
        return "the candidate has had no requests in this stage yet"
    if "no_gate" in found.reasons:
        return f"this stage has no gate of its own: {counted(found)}"
    if "no_data_of" in found.reasons:
        return f"{', '.join(found.reasons[1:])}: nothing was counted of the candidate in this stage yet"
    zone = _zone(found)
    if zone:
        return zone
    if "doubt" in found.reasons:
        return f"some evidence against the candidate, not enough to take it back: {counted(found)}"
    if "step_down" in found.reasons:
        return f"something looked odd, a smaller share tells more: {counted(found)}"
    return f"not enough evidence yet: {_missing(found)}"


def _zone(found: Findings) -> str | None:
    """Where an effect lies between tolerance and margin, no amount of traffic proves it bad or good."""
    policy = found.policy
    latency = found.metrics.get("latency")
    if latency and latency.ratio and policy.latency.tolerance <= latency.ratio <= policy.latency.margin:
        return f"slower by {percent(latency.ratio - 1.0)}: neither proved bad nor good"
    errors = found.metrics["errors"]
    within = errors.lower is not None and errors.lower >= 1.0
    if within and errors.ratio and policy.errors.tolerance <= errors.ratio <= policy.errors.margin:
        return f"errors {errors.ratio:.2f}x the baseline's: neither proved bad nor good"
    for name, allowed in found.others.items():
        ratio, lower = found.metrics[name].ratio, found.metrics[name].lower
        shown = not found.metrics[name].interval or (lower is not None and lower >= 1.0)
        if shown and ratio and allowed.tolerance <= ratio <= allowed.margin:
            return f"{name} {ratio:.2f}x the baseline's: neither proved bad nor good"
    return None


def _measured(name: str, found: Findings) -> str:
    """What was counted of another metric."""
    metric = found.metrics[name]
    if metric.interval and metric.candidate and metric.baseline:
        new, old = metric.candidate, metric.baseline
        return f"{name}: candidate {new.bad} of {new.requests}, baseline {old.bad} of {old.requests}"
    return f"{name}: candidate about {metric.ratio:.2f}x" if metric.ratio else name


def _missing(found: Findings) -> str:
    weakest, threshold = found.weakest, found.gate_threshold_log
    if weakest is None or threshold is None:
        return counted(found)
    have, need = math.exp(min(weakest.log, 30.0)), math.exp(threshold)
    return f"{weakest.name} at {have:.2g}x of the {need:.0f}x that the gate needs"
