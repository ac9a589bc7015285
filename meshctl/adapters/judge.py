"""The judge behind its port: core's values in, `meshctl_analysis` decides, core's `Judgement` out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import meshctl_analysis.sequential as sequential
from meshctl.core.errors import InvalidInput, JudgeError
from meshctl.core.metricrules import allowed
from meshctl.core.model import (
    FULL,
    AnalysisSpec,
    ArmCounts,
    ArmTotals,
    Block,
    CustomMetric,
    Engine,
    Judgement,
    MetricEvidence,
    MetricKind,
    Reason,
    StageTerms,
    Verdict,
)
from meshctl_analysis import blocks as data
from meshctl_analysis import others
from meshctl_analysis.judgement import Judgement as Word
from meshctl_analysis.judgement import MetricEvidence as Evidence
from meshctl_analysis.policy import Policy, Tolerance
from meshctl_analysis.sequential import Stage
from meshctl_analysis.totals import ArmTotals as Totals


class AnalysisJudge:
    """Implements `meshctl.core.ports.Judge` with the engine that the release names."""

    def learn(self, state: str, analysis: AnalysisSpec, blocks: Sequence[Block]) -> str:
        with _errors("learn from the baseline's history"):
            engine, policy = _engine(analysis), _policy(analysis)
            before = engine.load(state) if state else engine.start(policy)
            given = (before, policy, [_block(each) for each in blocks])
            text: str = engine.dump(engine.learn(*given, *_own(analysis, blocks)))
        return text

    def fold(
        self, state: str, analysis: AnalysisSpec, terms: StageTerms, blocks: Sequence[Block]
    ) -> tuple[str, Judgement]:
        with _errors(f"judge the stage at {terms.weight:g} %"):
            engine, policy = _engine(analysis), _policy(analysis)
            before = engine.load(state) if state else engine.start(policy)
            given = (before, policy, _stage(terms), [_block(each) for each in blocks])
            after, word = engine.fold(*given, *_own(analysis, blocks))
            return engine.dump(after), _judgement(word)


@contextmanager
def _errors(doing: str) -> Iterator[None]:
    """The statistics raise `ValueError`; to the tick that is a word of its own, which stops nothing else."""
    try:
        yield
    except ValueError as error:
        raise JudgeError(f"cannot {doing}: {error}", hint="No verdict; abort and promote --reason work.") from error


def _engine(analysis: AnalysisSpec) -> ModuleType:
    """The module that decides; the classic one brings scipy.stats along, so only where it is wished."""
    if analysis.metrics:
        return others
    if analysis.engine is Engine.CLASSIC:
        import meshctl_analysis.classic as classic

        return classic
    return sequential


@lru_cache(maxsize=256)
def _policy(analysis: AnalysisSpec) -> Policy:
    errors, latency = analysis.errors, analysis.latency
    return Policy(
        alpha=analysis.alpha,
        errors=Tolerance(errors.tolerance, errors.margin, errors.harm),
        latency=Tolerance(latency.tolerance, latency.margin, latency.harm),
        max_error_rate=None if analysis.slo is None else analysis.slo.max_error_rate,
        warm_up=analysis.warm_up.value,
    )


def _own(analysis: AnalysisSpec, blocks: Sequence[Block]) -> tuple[Any, ...]:
    """What the engine is given beside, where a release has metrics of its own."""
    return (_metrics(analysis), _others(blocks)) if analysis.metrics else ()


@lru_cache(maxsize=256)
def _metrics(analysis: AnalysisSpec) -> tuple[others.Metric, ...]:
    return tuple(_metric(each) for each in analysis.metrics)


def _metric(metric: CustomMetric) -> others.Metric:
    values = allowed(metric)
    return others.Metric(
        metric.name,
        "share" if metric.kind is MetricKind.COUNTER_RATIO else "values",
        Tolerance(values.tolerance, values.margin, values.harm),
        decides=not metric.dry_run,
    )


def _others(blocks: Sequence[Block]) -> dict[str, list[data.Block]]:
    """What was counted of other metrics, as blocks of their own."""
    found: dict[str, list[data.Block]] = {}
    for block in blocks:
        for each in block.custom:
            found.setdefault(each.name, []).append(
                data.Block(
                    start_s=each.start.timestamp(),
                    end_s=each.end.timestamp(),
                    share=block.weight / 100.0,
                    baseline=_arm(each.baseline),
                    candidate=_arm(each.candidate),
                    bounds_ms=each.bounds,
                )
            )
    return found


@lru_cache(maxsize=256)
def _stage(terms: StageTerms) -> Stage:
    return Stage(
        entry=terms.entry,
        share=terms.weight / 100.0,
        beta=terms.beta,
        margin_share=terms.margin_share,
        bake=terms.bake,
        comparable=terms.comparable,
        max_duration_s=terms.max_duration_s,
    )


def _block(block: Block) -> data.Block:
    return data.Block(
        start_s=block.start.timestamp(),
        end_s=block.end.timestamp(),
        share=block.weight / 100.0,
        baseline=_arm(block.baseline),
        candidate=_arm(block.candidate),
        bounds_ms=block.bounds_ms,
    )


def _arm(counts: ArmCounts) -> data.Arm:
    return data.Arm(counts.requests, counts.bad, counts.latency)


def _judgement(word: Word) -> Judgement:
    return Judgement(
        verdict=Verdict(word.verdict),
        message=word.message,
        reasons=word.reasons,
        engine=word.engine,
        engine_version=word.version,
        abort_log=word.evidence_log,
        abort_threshold_log=word.threshold_log,
        metrics={name: _evidence(each) for name, each in word.metrics.items()},
        gate_log=word.gate_log,
        gate_threshold_log=word.gate_threshold_log,
        baseline=_totals(word.baseline),
        candidate=_totals(word.candidate),
        guard=word.guard,
        wait=None if word.wait is None else Reason(word.wait),
        step_down=word.step_down,
        remaining_s=word.remaining_s,
    )


def _evidence(evidence: Evidence) -> MetricEvidence:
    return MetricEvidence(
        evidence.log,
        evidence.ratio,
        evidence.lower,
        evidence.upper,
        gate_log=evidence.gate_log,
        baseline=None if evidence.baseline is None else _totals(evidence.baseline),
        candidate=None if evidence.candidate is None else _totals(evidence.candidate),
        alone=None if evidence.verdict is None else Verdict(evidence.verdict),
        dry_run=None if evidence.decides else True,
    )


def _totals(totals: Totals) -> ArmTotals:
    return ArmTotals(totals.requests, totals.bad, totals.mean_ms, totals.p50_ms, totals.p99_ms)


def judge_files(baseline: Path, candidate: Path, *, as_json: bool, **options: Any) -> tuple[str, str]:
    """Verdict on two files of measurements, and the text or JSON that explains it.

    ``options``: ``engine``, ``alpha``, ``beta``, and ``errors_`` or ``latency_`` with ``tolerance``, ``margin``,
    ``harm``; what is not given is the judge's default.  Raises `InvalidInput` naming file, line and rule.
    """
    from meshctl_analysis import files, report

    try:
        usual = files.Options()
        changed: dict[str, Any] = {name: options[name] for name in ("engine", "alpha", "beta") if name in options}
        for metric in ("errors", "latency"):
            found = {name.removeprefix(f"{metric}_"): value for name, value in options.items() if metric in name}
            changed[metric] = replace(getattr(usual, metric), **found)
        verdict = files.judge_files(baseline, candidate, replace(usual, **changed))
    except ValueError as error:
        raise InvalidInput(f"judge: {error}") from error
    return verdict.verdict, report.json_of(verdict) if as_json else report.text_of(verdict)


def classic_figures(blocks: Sequence[Block]) -> list[str]:
    """What textbook tests say of the newest stage in ``blocks`` where both versions answered, a line each.

    For people: each p-value is right for one look only, and nothing is decided by it.
    """
    from meshctl_analysis.figures import figures_of
    from meshctl_analysis.fixed import Tally
    from meshctl_analysis.report import classic_lines

    compared = [each for each in blocks if each.entry >= 0 and 0.0 < each.weight < FULL]
    if not compared:
        return []
    newest = [each for each in compared if each.entry == compared[-1].entry]
    baseline, candidate = (_sum([getattr(each, arm) for each in newest]) for arm in ("baseline", "candidate"))
    return classic_lines(figures_of(Tally(baseline, candidate, newest[-1].bounds_ms)))


def _sum(parts: Sequence[ArmCounts]) -> data.Arm:
    latency = tuple(sum(counts) for counts in zip(*(part.latency for part in parts), strict=True))
    return data.Arm(sum(part.requests for part in parts), sum(part.bad for part in parts), latency)


def gate_seconds(analysis: AnalysisSpec, terms: StageTerms, *, requests_per_second: float, error_rate: float) -> float:
    """Seconds of traffic by which nine of ten candidates as good as the baseline have passed the stage's gate.

    By errors alone: of latency nothing is known beforehand.  Infinite without traffic, 0 without a gate.
    """
    import numpy as np

    from meshctl_analysis.planner import stage_seconds

    if terms.beta is None:
        return 0.0
    return stage_seconds(
        _policy(analysis),
        requests_per_second=requests_per_second,
        share=terms.weight / 100.0,
        margin_share=terms.margin_share,
        beta=terms.beta,
        power=0.9,
        error_rate=error_rate,
        tails=np.array([]),
    )
