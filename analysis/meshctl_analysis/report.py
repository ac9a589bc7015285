"""A verdict on two files in words and figures that need no statistician."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

from .effects import Estimate
from .figures import Figures
from .files import FileArm, FileVerdict


def text_of(verdict: FileVerdict) -> str:
    """Headline, what to do next, a table of both files, and the evidence.  Ends with a line feed."""
    parts = [headline(verdict)]
    advice = advice_of(verdict)
    if advice:
        parts.append(advice)
    parts.append(_table(verdict))
    parts.append("\n".join(_evidence_lines(verdict)))
    return "\n\n".join(parts) + "\n"


def json_of(verdict: FileVerdict) -> str:
    """The whole verdict as JSON; open ends of intervals and what is not known are ``null``."""
    plain = dataclasses.asdict(verdict)
    plain = {"kind": "FileVerdict", "message": headline(verdict), "advice": advice_of(verdict), **plain}
    return json.dumps(_finite(plain), indent=2, sort_keys=True, allow_nan=False)


def headline(verdict: FileVerdict) -> str:
    """The verdict and its reason in one sentence."""
    word = verdict.verdict.upper()
    return f"{word}: {_reason(verdict)}"


def advice_of(verdict: FileVerdict) -> str:
    """What to do next after an undecided verdict; empty otherwise."""
    if verdict.verdict != "undecided":
        return ""
    more = verdict.more_requests
    if _between(verdict):
        return (
            "More of the same will hardly decide it: the difference lies between what is tolerated and what is ruled "
            "out. Remove the difference, or decide whether it matters and set tolerance or margin accordingly."
        )
    if more is None:
        return "Nothing can be planned from these files: collect good requests of both versions first."
    if more == 0:
        return (
            "There are enough requests to pass a candidate that equals the baseline, so this one probably differs a "
            "little. Collect as many again to see which way, or look at the weakest part below."
        )
    return (
        f"Collect about {_count(more)} more requests, both files together, in the present proportion, and judge again."
    )


def _reason(verdict: FileVerdict) -> str:
    if verdict.verdict == "fail":
        return _worse(verdict)
    if verdict.verdict == "pass":
        return f"the candidate is shown to be inside the margin: {_effects(verdict)}"
    if not verdict.baseline.requests or not verdict.candidate.requests:
        return "one of the files holds no requests, so nothing is shown"
    if verdict.latency is None:
        return f"one of the files holds no good request, so latency is not shown: {_effects(verdict)}"
    few = "" if verdict.more_requests == 0 else ", too few requests"
    return _between(verdict) or f"neither proved bad nor good{few}: {_effects(verdict)}"


def _worse(verdict: FileVerdict) -> str:
    blamed = verdict.evidence.blamed
    if not blamed:
        return f"errors and latency together are worse than tolerated: {_effects(verdict)}"
    sentences = []
    if "errors" in blamed:
        tolerated = verdict.options.errors.tolerance
        sentences.append(f"the candidate fails more often: {_error_effect(verdict)}; tolerated is {tolerated:g}x")
    if "latency" in blamed:
        sentences.append(_slower(verdict))
    return "; ".join(sentences)


def _slower(verdict: FileVerdict) -> str:
    factor, tolerated = verdict.latency, verdict.options.latency.tolerance
    if factor is not None and factor.value >= tolerated:
        return f"the candidate is slower: {_interval(factor)}; tolerated is {tolerated:g}x"
    tail = _worst_quantile(verdict)
    return f"the candidate's slow requests are slower: {tail}; tolerated is {tolerated:g}x"


def _worst_quantile(verdict: FileVerdict) -> str:
    ratios = {
        name: verdict.candidate.quantiles_ms[name].value / band.value
        for name, band in verdict.baseline.quantiles_ms.items()
        if name in verdict.candidate.quantiles_ms
    }
    name = max(ratios, key=lambda key: ratios[key])
    ours, theirs = verdict.candidate.quantiles_ms[name].value, verdict.baseline.quantiles_ms[name].value
    return f"{name} {_ms(ours)} ms against {_ms(theirs)} ms"


def _between(verdict: FileVerdict) -> str:
    """The zone between tolerance and margin: a difference that is real, yet neither forbidden nor harmless."""
    factor, errors = verdict.latency, verdict.errors
    if factor is not None and factor.lower > 1 and factor.value < verdict.options.latency.margin:
        ends = f"{_percent(factor.lower - 1)} to {_percent(factor.upper - 1)}"
        return f"slower by {_percent(factor.value - 1)} (95 % interval {ends}): neither proved bad nor good"
    if errors is not None and errors.lower > 1 and errors.value < verdict.options.errors.margin:
        return f"fails more often, {_interval(errors)}: neither proved bad nor good"
    return ""


def _effects(verdict: FileVerdict) -> str:
    parts = []
    if verdict.latency is not None:
        parts.append(f"latency {_interval(verdict.latency)}")
    parts.append(f"errors {_error_effect(verdict)}" if "errors" in verdict.judged else "errors unknown (no status)")
    return ", ".join(parts)


def _error_effect(verdict: FileVerdict) -> str:
    ours, theirs = verdict.candidate, verdict.baseline
    counts = f"{ours.bad} of {ours.requests} against {theirs.bad} of {theirs.requests}"
    if verdict.errors is None or not math.isfinite(verdict.errors.value):
        return counts
    return f"{counts}, {_interval(verdict.errors)}"


def _interval(estimate: Estimate) -> str:
    upper = f"{estimate.upper:.2f}" if math.isfinite(estimate.upper) else "unknown"
    return f"{estimate.value:.2f}x (95 % interval {max(estimate.lower, 0):.2f} to {upper})"


def _table(verdict: FileVerdict) -> str:
    rows = [("", "baseline", "candidate"), ("requests", *(_count(arm.requests) for arm in _arms(verdict)))]
    rows.append(("failed", *(_failed(arm) for arm in _arms(verdict))))
    rows.append(("mean ms", *("-" if arm.mean_ms is None else _ms(arm.mean_ms) for arm in _arms(verdict))))
    for name in sorted({name for arm in _arms(verdict) for name in arm.quantiles_ms}, key=lambda one: float(one[1:])):
        rows.append((f"{name} ms", *(_banded(arm.quantiles_ms.get(name)) for arm in _arms(verdict))))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}".rstrip() for row in rows]
    return "\n".join(lines)


def _arms(verdict: FileVerdict) -> tuple[FileArm, FileArm]:
    return verdict.baseline, verdict.candidate


def _failed(arm: FileArm) -> str:
    if arm.bad is None:
        return "unknown"
    return f"{_count(arm.bad)} ({100 * arm.bad / arm.requests:.3g} %)" if arm.requests else _count(arm.bad)


def _banded(band: Estimate | None) -> str:
    if band is None:
        return "-"
    low = _ms(band.lower) if math.isfinite(band.lower) else "?"
    high = _ms(band.upper) if math.isfinite(band.upper) else "?"
    return f"{_ms(band.value)} [{low} to {high}]"


def _evidence_lines(verdict: FileVerdict) -> list[str]:
    evidence, options = verdict.evidence, verdict.options
    lines = [
        f"{options.engine} engine, alpha {options.alpha:g}, beta {options.beta:g}",
        f"against the candidate: {evidence.log:.2f} nats, fail at {evidence.threshold_log:.2f}",
    ]
    weakest = min(evidence.gate, key=lambda part: part.log, default=None)
    if weakest is not None:
        name = weakest.name if weakest.bound_ms is None else f"latency above {_ms(weakest.bound_ms)} ms"
        passed_at = evidence.gate_threshold_log
        lines.append(f"for the candidate: weakest part {name}, {weakest.log:.2f} nats, pass at {passed_at:.2f}")
    return [*lines, *classic_lines(verdict.figures, errors="errors" in verdict.judged)]


def classic_lines(figures: Figures, *, errors: bool = True) -> list[str]:
    """Classic figures in words, one line a test; ``errors`` is false where failures were not measured."""
    lines = []
    if figures.mann_whitney is not None:
        test = figures.mann_whitney
        lines.append(f"Mann-Whitney, one look: {_p(test.p_value)}, P(candidate slower) = {test.auc:.3f}")
    if figures.brunner_munzel is not None:
        lines.append(f"Brunner-Munzel (spreads may differ), one look: {_p(figures.brunner_munzel.p_value)}")
    if errors and figures.fisher is not None:
        lines.append(f"Fisher, one look: {_p(figures.fisher)}")
    return lines


def _p(value: float) -> str:
    return f"p = {value:.3g}" if value >= 1e-15 else "p < 1e-15"


def _ms(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _count(value: int) -> str:
    return f"{value:,}".replace(",", " ")


def _percent(change: float) -> str:
    return f"{100 * change:.3g} %"


def _finite(value: Any) -> Any:
    """JSON has no infinity and no NaN: they become ``None``."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
