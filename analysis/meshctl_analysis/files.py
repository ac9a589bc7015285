"""Judging two files of measurements: baseline and candidate.

    verdict = judge_files("baseline.csv", "candidate.csv")

Sequential engine (default): the files are dealt into blocks (`cutting`) and folded one by one by the very judge that
watches a run, with its last gate (margin share 1) and no warm-up.  ``fail`` once the evidence against the
candidate crosses its threshold after any block, else ``pass`` if the gate was passed after any block, else
``undecided``.  Classic engine: the tests of `fixed`, once, on all blocks together.

Without a status nothing is known of failures and latency alone is judged.  ``pass`` always needs proof on latency.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from . import grid, sequential
from .blocks import Arm, Block
from .cutting import BLOCK_S, BLOCKS, Cut, cut
from .effects import Estimate, rate_ratio, shift_on_grid
from .figures import Figures, figures_of
from .fixed import Tally, error_abort_test, error_gate_test, latency_abort_test, latency_gate_tests
from .judgement import GatePart, Judgement, Verdict
from .known import informative_bounds
from .looks import nats, part_name
from .measured import Measured, measure_pair
from .planner import error_nats_per_request, latency_nats_per_request, nats_needed
from .policy import EVIDENCE_SHARE, Policy, Tolerance
from .quantiles import quantile_band
from .state import Stage

Engine = Literal["sequential", "classic"]
QUANTILES = (0.5, 0.9, 0.99)
PLANNED_POWER = 0.9
USUAL = Policy()


class InvalidOption(ValueError):
    """An option outside its range; the message names it and the rule."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to judge.  ``alpha`` bounds the chance to fail a candidate within its tolerances, ``beta`` the chance to pass
    one at or beyond a margin.  Tolerances as in `Policy`."""

    engine: Engine = "sequential"
    alpha: float = USUAL.alpha
    beta: float = 0.05
    errors: Tolerance = USUAL.errors
    latency: Tolerance = USUAL.latency

    def __post_init__(self) -> None:
        if self.engine not in ("sequential", "classic"):
            raise InvalidOption(f"`engine` must be 'sequential' or 'classic', found {self.engine!r}")
        if not 0 < self.beta < 1:
            raise InvalidOption(f"`beta` must be between 0 and 1, found {self.beta}")
        _ = self.policy

    @property
    def policy(self) -> Policy:
        return Policy(alpha=self.alpha, errors=self.errors, latency=self.latency, warm_up="none")


@dataclass(frozen=True, slots=True)
class FileArm:
    """One file in figures: latency in milliseconds of the good requests, quantiles with 95 % bands."""

    path: str
    requests: int
    bad: int | None
    mean_ms: float | None
    quantiles_ms: dict[str, Estimate]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What decided, in nats.  ``log`` against ``threshold_log`` for a fail; every part of ``gate`` against
    ``gate_threshold_log`` for a pass.  ``blamed`` names the metrics that were found worse."""

    log: float
    threshold_log: float
    blamed: tuple[str, ...]
    gate: tuple[GatePart, ...]
    gate_threshold_log: float


@dataclass(frozen=True, slots=True)
class FileVerdict:
    """``verdict`` and what explains it.  ``judged`` names the metrics; ``errors`` is the ratio of error rates and
    ``latency`` the time factor candidate / baseline, each with its 95 % interval (``None``: not measured).
    ``more_requests``, only when undecided, says about how many requests more, both files together, would be needed to
    pass a candidate that equals the baseline; 0: there are enough; ``None``: cannot be said.
    """

    verdict: Verdict
    judged: tuple[str, ...]
    options: Options
    baseline: FileArm
    candidate: FileArm
    errors: Estimate | None
    latency: Estimate | None
    evidence: Evidence
    figures: Figures
    more_requests: int | None


def judge_files(baseline: str | Path, candidate: str | Path, options: Options | None = None) -> FileVerdict:
    """Compare two files; layouts as in `samples` and `histograms`.

    Raises ``InvalidFile`` (a ``ValueError``) with a message that names file, line and column when a file cannot be
    judged.  Few or no requests are no error: the verdict is then ``undecided``.
    """
    options = options or Options()
    base, slow = measure_pair(Path(baseline), Path(candidate))
    pieces = cut(base, slow)
    tally = _summed(pieces.blocks, pieces.bounds_ms)
    judged = ("errors", "latency") if base.has_status else ("latency",)
    decide = _judge_in_blocks if options.engine == "sequential" else _judge_at_once
    verdict, evidence = decide(pieces, tally, options, judged)
    return FileVerdict(
        verdict=verdict,
        judged=judged,
        options=options,
        baseline=_arm(base),
        candidate=_arm(slow),
        errors=_error_ratio(base, slow),
        latency=_time_factor(base, slow),
        evidence=evidence,
        figures=figures_of(tally),
        more_requests=_more_requests(tally, options, judged) if verdict == "undecided" else None,
    )


def _judge_in_blocks(pieces: Cut, tally: Tally, options: Options, judged: tuple[str, ...]) -> tuple[Verdict, Evidence]:
    """Fold the sequential judge over the blocks.  The evidence shown is the strongest, or that of the pass."""
    policy, share = options.policy, pieces.blocks[0].share
    stage = Stage(0, share, options.beta, 1.0, bake=False, comparable=True, max_duration_s=BLOCKS * BLOCK_S)
    state = sequential.learn(sequential.start(policy), policy, pieces.history)
    best: Judgement | None = None
    for block in pieces.blocks:
        state, judgement = sequential.fold(state, policy, stage, [block])
        if judgement.verdict == "fail":
            return "fail", _evidence(judgement, judged)
        if best is None and _proved(judgement, judged, policy):
            best = judgement
    shown = _evidence(best or judgement, judged)
    return ("undecided" if best is None else "pass"), shown


def _proved(judgement: Judgement, judged: tuple[str, ...], policy: Policy) -> bool:
    """Whether every judged part of the gate has passed and nothing speaks against it."""
    evidence = _evidence(judgement, judged)
    return (
        any(part.name != "errors" for part in evidence.gate)
        and all(part.log >= evidence.gate_threshold_log for part in evidence.gate)
        and evidence.log < math.log(policy.doubt)
    )


def _evidence(judgement: Judgement, judged: tuple[str, ...]) -> Evidence:
    gate = tuple(part for part in judgement.gate if part.name != "errors" or "errors" in judged)
    threshold = judgement.gate_threshold_log or 0.0
    return Evidence(judgement.evidence_log, judgement.threshold_log, judgement.blamed, gate, threshold)


def _judge_at_once(pieces: Cut, tally: Tally, options: Options, judged: tuple[str, ...]) -> tuple[Verdict, Evidence]:
    """The classic engine's tests, one look: all of alpha, split evenly over the judged metrics."""
    policy = options.policy
    allowed = EVIDENCE_SHARE * options.alpha / len(judged)
    p_values = {"latency": latency_abort_test(tally, policy)}
    tests = list(latency_gate_tests(tally, policy, 1.0))
    if "errors" in judged:
        p_values["errors"] = error_abort_test(tally, policy)
        tests.insert(0, error_gate_test(tally, policy, 1.0))
    blamed = tuple(sorted(name for name, p_value in p_values.items() if p_value < allowed))
    gate = tuple(
        GatePart(
            "errors" if test.metric == "errors" else part_name(1, math.nan if test.bound_ms is None else test.bound_ms),
            test.bound_ms,
            nats(test.p_value),
        )
        for test in tests
    )
    passed = all(test.p_value < options.beta for test in tests)
    verdict: Verdict = "fail" if blamed else "pass" if passed else "undecided"
    return verdict, Evidence(nats(min(p_values.values())), nats(allowed), blamed, gate, nats(options.beta))


def _summed(blocks: Sequence[Block], bounds_ms: tuple[float, ...]) -> Tally:
    def arm(arms: Sequence[Arm]) -> Arm:
        latency = tuple(map(sum, zip(*(one.latency for one in arms), strict=True)))
        return Arm(sum(one.requests for one in arms), sum(one.bad for one in arms), latency)

    return Tally(arm([block.baseline for block in blocks]), arm([block.candidate for block in blocks]), bounds_ms)


def _arm(measured: Measured) -> FileArm:
    bands: dict[str, Estimate] = {}
    if measured.good:
        for share in QUANTILES:
            bands[f"p{100 * share:g}"] = quantile_band(measured.latency, grid.UPPER_MS, share)
    bad = measured.bad if measured.has_status else None
    return FileArm(str(measured.path), measured.requests, bad, measured.mean_ms, bands)


def _error_ratio(base: Measured, slow: Measured) -> Estimate | None:
    if not base.has_status:
        return None
    return rate_ratio(slow.bad, slow.requests, base.bad, base.requests)


def _time_factor(base: Measured, slow: Measured) -> Estimate | None:
    """How many times longer the candidate takes: exponential of the Hodges-Lehmann shift of log latencies."""
    if not base.good or not slow.good:
        return None
    shift = shift_on_grid(slow.latency, base.latency, grid.STEP)
    return Estimate(math.exp(shift.value), math.exp(shift.lower), math.exp(shift.upper))


def _more_requests(tally: Tally, options: Options, judged: tuple[str, ...]) -> int | None:
    """Requests of both arms that the planner wants for a likely pass of an equal candidate, less those there are."""
    base, have = tally.baseline, tally.baseline.requests + tally.candidate.requests
    latencies = np.asarray(base.latency, dtype=np.float64)
    if not tally.has_latency or base.requests == 0:
        return None
    tails = latencies[::-1].cumsum()[::-1][1:] / latencies.sum()
    tails = tails[informative_bounds(tails, options.latency.margin, options.latency.harm)]
    share = tally.candidate.requests / have
    speeds = latency_nats_per_request(share, np.clip(tails, 1e-4, 0.75), options.latency.margin, options.latency.harm)
    slowest = min(speeds.tolist(), default=0.0)
    if "errors" in judged:
        rate = (base.bad + 0.5) / (base.requests + 500)
        slowest = min(slowest, error_nats_per_request(share, rate, options.errors.margin, options.errors.harm))
    if slowest <= 0:
        return None
    return max(math.ceil(nats_needed(options.beta, PLANNED_POWER) / slowest) - have, 0)
