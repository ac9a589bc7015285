"""What the judge knows of a run, as sentences: per metric against tolerance and margin, then both proofs."""

from __future__ import annotations

from collections.abc import Iterator

from meshctl.app import words
from meshctl.app.views import ReleaseView
from meshctl.core.metricrules import allowed
from meshctl.core.model import ArmTotals, CustomMetric, Judgement, MetricEvidence, MetricKind, Run, Tolerance

_COMPARED = {"errors": ("more errors", "fewer errors"), "latency": ("slower", "faster")}


def findings_of(view: ReleaseView) -> Iterator[str]:
    """Sentences about the evidence; none before the first judgement."""
    run = view.run
    if run is None or not run.entries or run.judgement is None or run.baseline is None:
        return
    judgement = run.judgement
    if not run.entries[-1].comparable:
        yield f"At {words.weight(run.entries[-1].weight)} there is nothing left to compare with: only guards count."
        return
    known = {"errors": run.spec.analysis.errors, "latency": run.spec.analysis.latency}
    for name, tolerance in known.items():
        if name in judgement.metrics:
            numbers = _numbers(name, run, judgement)
            yield f"{name.capitalize()}: {numbers}{_placed(name, judgement.metrics[name], tolerance)}"
    for metric in run.spec.analysis.metrics:
        if metric.name in judgement.metrics:
            yield _own(metric, run, judgement.metrics[metric.name])
    yield from _proofs(view, run)


def between(run: Run) -> tuple[str, ...]:
    """The metrics whose measured ratio lies between tolerance and margin."""
    analysis = run.spec.analysis
    known = {"errors": analysis.errors, "latency": analysis.latency}
    known |= {metric.name: allowed(metric) for metric in analysis.metrics if not metric.dry_run}
    found = {} if run.judgement is None else run.judgement.metrics
    ratios = ((name, found[name].ratio, tolerance) for name, tolerance in known.items() if name in found)
    return tuple(
        name
        for name, ratio, tolerance in ratios
        if ratio is not None and tolerance.tolerance < ratio <= tolerance.margin
    )


def _proofs(view: ReleaseView, run: Run) -> Iterator[str]:
    if view.abort is not None:
        yield (
            f'Evidence for "worse": {words.proof(view.abort)} '
            f"(ln {view.abort.log:.2f} of {view.abort.threshold:.2f}, alpha {run.spec.analysis.alpha:g})."
        )
    if view.gate is not None:
        yield (
            f'Evidence for "not worse than the margin": {words.proof(view.gate)} '
            f"(ln {view.gate.log:.2f} of {view.gate.threshold:.2f})."
        )
    elif run.entries[-1].beta is not None:
        yield 'Evidence for "not worse than the margin" starts anew at each stage: none yet.'
    elif not run.phase.ended:
        yield 'This stage has no gate of its own: only evidence for "worse" and guards count.'


def _numbers(name: str, run: Run, judgement: Judgement) -> str:
    new, old = judgement.candidate, judgement.baseline
    if name == "errors":
        return (
            f"{run.candidate} failed {new.bad} of {new.requests} requests ({words.percent(_rate(new))}), "
            f"{run.baseline} {old.bad} of {old.requests} ({words.percent(_rate(old))}).  "
        )
    if new.p50_ms is None or old.p50_ms is None:
        return ""
    return (
        f"median {words.milliseconds(new.p50_ms)} ms against {words.milliseconds(old.p50_ms)} ms, 99th percentile "
        f"{words.milliseconds(new.p99_ms)} ms against {words.milliseconds(old.p99_ms)} ms.  "
    )


def _own(metric: CustomMetric, run: Run, found: MetricEvidence) -> str:
    """A metric of the release's own."""
    new, old = found.candidate or ArmTotals(), found.baseline or ArmTotals()
    if metric.kind is MetricKind.COUNTER_RATIO:
        numbers = (
            f"{run.candidate} {new.bad} of {new.requests} ({words.percent(_rate(new))}), "
            f"{run.baseline} {old.bad} of {old.requests} ({words.percent(_rate(old))}).  "
        )
    elif new.p50_ms is None or old.p50_ms is None:
        numbers = ""
    else:
        numbers = f"median {new.p50_ms:.3g} against {old.p50_ms:.3g}, 99th percentile {new.p99_ms:.3g} against "
        numbers += f"{old.p99_ms:.3g}.  "
    dry = f"  Dry run: alone it would say {found.alone}, and decides nothing." if metric.dry_run else ""
    return f"{metric.name}: {numbers}{_placed(metric.name, found, allowed(metric))}{dry}"


def _rate(totals: ArmTotals) -> float | None:
    return totals.bad / totals.requests if totals.requests else None


def _placed(name: str, found: MetricEvidence, tolerance: Tolerance) -> str:
    """Where the measured ratio lies: inside the tolerance, in the zone where nothing is proved, beyond the margin."""
    more, less = _COMPARED.get(name, ("more", "less"))
    allowed, margin = (f"{100 * (ratio - 1):.0f} %" for ratio in (tolerance.tolerance, tolerance.margin))
    if found.ratio is None:
        return "Too little to tell a ratio yet."
    measured = words.surplus(found.ratio, more, less).capitalize()
    if found.lower is not None and found.lower > tolerance.tolerance:
        return f"{measured}{_between(found)}: proved to be beyond the tolerance of {allowed}."
    if found.ratio <= tolerance.tolerance:
        return f"{measured}{_between(found)}: inside the tolerance of {allowed}."
    if found.ratio <= tolerance.margin:
        return (
            f"{measured}{_between(found)}: neither proved bad nor good.  It lies between the tolerance "
            f"({allowed}: beyond it evidence for an abort grows) and the margin ({margin}: inside it a gate can open)."
        )
    return f"{measured}{_between(found)}: beyond the margin of {margin}, and not proved yet."


def _between(found: MetricEvidence) -> str:
    if found.lower is None and found.upper is None:
        return ""
    lower = "0" if found.lower is None else f"{found.lower:.3g}"
    upper = "any number" if found.upper is None else f"{found.upper:.3g}"
    return f" (the ratio lies between {lower} and {upper})"
