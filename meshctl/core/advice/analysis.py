"""Advice on what the judge is told."""

from __future__ import annotations

from datetime import timedelta

from meshctl.core.advice.rule import Found, Path, Rule, rule
from meshctl.core.model import AnalysisSpec, MetricKind, OnInconclusive, OnMetricsOutage, Release, WarmUp
from meshctl.core.timetext import format_duration

ALPHA_RANGE = (0.001, 0.05)
GRACE_MIN = timedelta(minutes=1)

ANALYSIS_RULES: list[Rule[Release]] = []

_ANALYSIS: Path = ("spec", "analysis")


@rule(
    ANALYSIS_RULES,
    "no-slo",
    why="Candidate is compared with baseline only: where both are bad, both are let live.",
    do="Write analysis.slo.maxErrorRate: the share of failed requests beyond which nobody may release.",
)
def _no_slo(release: Release) -> Found:
    if release.spec.analysis.slo is None:
        yield _ANALYSIS, "there is no absolute limit on failed requests"


@rule(
    ANALYSIS_RULES,
    "slo-unusual",
    why="0 takes a version back for one failed request; above 20 % the limit stops nothing that is not down.",
    do="Write what you promised your users, for instance maxErrorRate: 0.05.",
)
def _odd_slo(release: Release) -> Found:
    slo = release.spec.analysis.slo
    if slo is not None and not 0.0 < slo.max_error_rate <= 0.2:
        yield (*_ANALYSIS, "slo", "maxErrorRate"), f"a limit of {slo.max_error_rate:g}"


@rule(
    ANALYSIS_RULES,
    "alpha-unusual",
    why="alpha is the share of good versions taken back by chance: large ones teach people to override the judge, "
    "small ones make him slow to stop bad versions.",
    do="Leave it at 0.01.",
)
def _odd_alpha(release: Release) -> Found:
    alpha = release.spec.analysis.alpha
    if not ALPHA_RANGE[0] <= alpha <= ALPHA_RANGE[1]:
        yield (*_ANALYSIS, "alpha"), f"{alpha:g} is outside of {ALPHA_RANGE[0]:g} to {ALPHA_RANGE[1]:g}"


@rule(
    ANALYSIS_RULES,
    "margin-wide",
    why="A version inside of margin and harm is promoted, and users notice at these values.",
    do="Leave margin and harm out, or stay near the defaults.",
)
def _wide(release: Release) -> Found:
    analysis = release.spec.analysis
    limits = (("errors", analysis.errors, 2.0, 0.01), ("latency", analysis.latency, 1.5, 0.05))
    for name, found, margin, harm in limits:
        if found.margin > margin:
            yield (*_ANALYSIS, name, "margin"), f"a version {found.margin:g} times as bad may be promoted"
        if found.harm > harm:
            yield (*_ANALYSIS, name, "harm"), f"{found.harm:.1%} more bad requests may be promoted"


@rule(
    ANALYSIS_RULES,
    "warm-up-none",
    why="Caches and pools of young replicas are cold: their latency is judged from the first request, and a good "
    "version may be taken back for it.",
    do="Leave warmUp at auto, unless replicas are ready only when they are warm.",
)
def _no_warm_up(release: Release) -> Found:
    if release.spec.analysis.warm_up is WarmUp.NONE:
        yield (*_ANALYSIS, "warmUp"), "young replicas are compared with old ones"


@rule(
    ANALYSIS_RULES,
    "grace-too-short",
    why="A restart of the metrics takes longer than that, and would take a good version back.",
    do="Give metricsGrace 5m, or write onMetricsOutage: hold.",
)
def _short_grace(release: Release) -> Found:
    analysis = release.spec.analysis
    if analysis.on_metrics_outage is OnMetricsOutage.ROLLBACK and analysis.metrics_grace < GRACE_MIN:
        yield (*_ANALYSIS, "metricsGrace"), f"{format_duration(analysis.metrics_grace)} without metrics roll back"


@rule(
    ANALYSIS_RULES,
    "hold-without-grace",
    why="onMetricsOutage: hold waits for the metrics without end, whatever metricsGrace says.",
    do="Take metricsGrace out, or write onMetricsOutage: rollback.",
)
def _idle_grace(release: Release) -> Found:
    analysis = release.spec.analysis
    usual = AnalysisSpec().metrics_grace
    if analysis.on_metrics_outage is OnMetricsOutage.HOLD and analysis.metrics_grace != usual:
        yield (*_ANALYSIS, "metricsGrace"), "has no effect beside onMetricsOutage: hold"


@rule(
    ANALYSIS_RULES,
    "hold-needs-a-person",
    why="A stage that ends undecided keeps its share of users on an unproved version until somebody comes.",
    do="Leave onInconclusive at rollback, or have somebody told: meshctl wait ends with 11 then.",
)
def _held(release: Release) -> Found:
    if release.spec.analysis.on_inconclusive is OnInconclusive.HOLD:
        yield (*_ANALYSIS, "onInconclusive"), "an undecided stage waits for a person"


@rule(
    ANALYSIS_RULES,
    "gauge-decides",
    why="A gauge has no requests that are dealt out by chance: where pods differ for good, or it wavers for minutes, a "
    "good version may be taken back.",
    do="Let it run with dryRun: true for some releases first, then silence this.",
)
def _gauge(release: Release) -> Found:
    for position, metric in enumerate(release.spec.analysis.metrics):
        if metric.kind is MetricKind.GAUGE and not metric.dry_run:
            yield (*_ANALYSIS, "metrics", position, "kind"), f"the gauge {metric.name} decides"
