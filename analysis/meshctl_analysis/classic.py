"""The classic engine: named fixed-sample tests at looks fixed beforehand.  Same shape as the sequential judge.

    state = start(policy)
    state = learn(state, policy, history)
    state, judgement = fold(state, policy, stage, blocks)

*Fails* at a look where a test finds the candidate worse than tolerated: binomial (Fisher) for errors, Mann-Whitney and
the shares beyond each latency bound for latency.  *Passes* only where every part of the gate is proved inside its
margin.  Everything else, no or thin data above all, is undecided: "not significant" proves nothing.

What is promised.  The tests on errors are exact for rare errors, those on latency approximate (normal
approximation, log-uniform buckets); given that, the probability to take back a candidate within its tolerances is at
most alpha over a whole run, and to pass one at or beyond the margin at most beta in a stage, by the union bound over
looks.  Two things the sequential engine has are missing here: noise between the arms that is not chance (a slow
node) is not allowed for, and load that changes together with the share inside a stage is not matched block by
block.  It is also slower: it looks eleven times in a stage, and proves at a quarter of it at the earliest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .blocks import Arm, Block
from .classicstate import ClassicState
from .classicverdicts import judgement_of
from .counts import BAD, BASELINE, CANDIDATE, LATENCY, REQUESTS, BlockError, buckets_of, check_bounds, counts_of
from .evalues import Counts
from .fixed import Tally
from .guards import ShareCheck, Silence, checked, guarded, listened, service_level_of
from .judgement import Judgement
from .looks import abort_look_due, gate_look_due, look_at_gate, look_for_regression
from .policy import Policy
from .state import Stage
from .storage import dumps, loads
from .totals import added, no_totals

_SLACK_S = 1e-6


def start(policy: Policy) -> ClassicState:
    """The state of a run before anything was seen."""
    return _state(policy, None)


def learn(state: ClassicState, policy: Policy, blocks: Sequence[Block]) -> ClassicState:
    """``state`` after blocks of the baseline from before the candidate's first traffic.

    Fixed-sample tests need no expectations: only the latency bounds and the time are taken.
    """
    for block in blocks:
        if not _applied(state, block):
            state = replace(_bound(state, policy, block), last_end_s=block.end_s)
    return state


def fold(state: ClassicState, policy: Policy, stage: Stage, blocks: Sequence[Block]) -> tuple[ClassicState, Judgement]:
    """State and judgement after ``blocks`` of one stage entry, in order.

    A new ``stage.entry`` starts anew but for what failed and the guard.  Blocks that were applied before are skipped;
    without blocks the judgement is repeated.  A look is made after the first block that ends at or beyond its time.
    Raises ``BlockError`` (a ``ValueError``) for a block that contradicts itself, overlaps an applied one or has
    other bounds than its predecessors, and for new blocks of an earlier stage entry.
    """
    fresh = [block for block in blocks if not _applied(state, block)]
    if state.entry is None or stage.entry > state.entry:
        state = _entered(state, stage)
    elif stage.entry < state.entry and fresh:
        raise BlockError(f"`stage.entry` must not go back: {stage.entry} after {state.entry}")
    for block in fresh:
        state = _folded(_bound(state, policy, block), policy, stage, block)
    return state, judgement_of(state, policy, stage)


def dump(state: ClassicState) -> str:
    """``state`` as compact JSON text; `load` gives it back bit by bit."""
    return dumps(state)


def load(text: str) -> ClassicState:
    """The state that `dump` wrote.  Raises ``StateError`` (a ``ValueError``) for anything else."""
    return loads(ClassicState, text)


def _state(policy: Policy, bounds_ms: tuple[float, ...] | None) -> ClassicState:
    buckets = buckets_of(bounds_ms or ())
    nothing = no_totals(buckets)
    return ClassicState(
        bounds_ms=bounds_ms,
        last_end_s=None,
        first_traffic_s=None,
        entry=None,
        stage_is_new=False,
        elapsed_s=0.0,
        stage=nothing.counts,
        cold=nothing.counts,
        looked=0.0,
        proved=0.0,
        abort_look=None,
        gate_look=None,
        failed=(),
        passed=False,
        service_level=service_level_of(policy),
        share_check=ShareCheck(),
        silence=Silence(),
        totals=nothing,
    )


def _applied(state: ClassicState, block: Block) -> bool:
    return state.last_end_s is not None and block.end_s <= state.last_end_s + _SLACK_S


def _bound(state: ClassicState, policy: Policy, block: Block) -> ClassicState:
    """``state`` sized for the bounds of its blocks."""
    if state.last_end_s is not None and block.start_s < state.last_end_s - _SLACK_S:
        raise BlockError(
            f"`start_s` must not lie before the end of the last block: {block.start_s} < {state.last_end_s}"
        )
    bounds_ms = tuple(float(bound) for bound in block.bounds_ms)
    if state.bounds_ms is None:
        check_bounds(bounds_ms)
        return replace(_state(policy, bounds_ms), entry=state.entry, stage_is_new=state.stage_is_new)
    if state.bounds_ms != bounds_ms:
        raise BlockError(f"`bounds_ms` must stay the same during a run: {bounds_ms} after {state.bounds_ms}")
    return state


def _entered(state: ClassicState, stage: Stage) -> ClassicState:
    nothing = no_totals(buckets_of(state.bounds_ms or ())).counts
    return replace(
        state,
        entry=stage.entry,
        stage_is_new=True,
        elapsed_s=0.0,
        stage=nothing,
        cold=nothing,
        looked=0.0,
        proved=0.0,
        abort_look=None,
        gate_look=None,
        passed=False,
        share_check=ShareCheck(),
        silence=Silence(),
    )


def _folded(state: ClassicState, policy: Policy, stage: Stage, block: Block) -> ClassicState:
    """One block: guards, counts, then the looks that have come due."""
    counts = counts_of(block)
    seconds = block.end_s - block.start_s
    baseline, candidate = (int(value) for value in counts[:, REQUESTS])
    state = replace(
        state,
        last_end_s=block.end_s,
        elapsed_s=state.elapsed_s + seconds,
        silence=listened(state.silence, candidate, baseline, block.share, seconds),
        share_check=checked(state.share_check, policy, candidate, baseline, block.share),
    )
    if counts.any():
        if state.first_traffic_s is None and counts[CANDIDATE].any():
            state = replace(state, first_traffic_s=block.start_s)
        bad = float(counts[CANDIDATE, BAD])
        state = replace(
            state,
            stage=state.stage + counts,
            cold=state.cold if _warm(state, policy, block) else state.cold + counts,
            totals=added(state.totals, counts),
            service_level=guarded(state.service_level, policy, bad, float(candidate), state.stage_is_new, seconds),
            stage_is_new=False,
        )
    return _looked(state, policy, stage) if stage.comparable else state


def _looked(state: ClassicState, policy: Policy, stage: Stage) -> ClassicState:
    share = min(state.elapsed_s / stage.max_duration_s, 1.0)
    if abort_look_due(state.looked, share):
        tally = _tally(state, state.stage - state.cold)
        abort = look_for_regression(tally, policy, stage.entry, state.looked, share)
        failed = tuple(sorted({*state.failed, *abort.rejected()}))
        state = replace(state, abort_look=abort, looked=share, failed=failed)
    if stage.beta is not None and gate_look_due(state.proved, share):
        tally = _tally(state, state.stage)
        gate = look_at_gate(tally, policy, stage.beta, stage.margin_share, state.proved, share)
        state = replace(state, gate_look=gate, proved=share, passed=state.passed or gate.passed())
    return state


def _tally(state: ClassicState, latencies: Counts) -> Tally:
    """The stage so far, with the latency counts of ``latencies``."""
    arms = []
    for arm in (BASELINE, CANDIDATE):
        requests, bad = state.stage[arm, :LATENCY].tolist()
        arms.append(Arm(requests, bad, tuple(latencies[arm, LATENCY:].tolist())))
    return Tally(arms[BASELINE], arms[CANDIDATE], state.bounds_ms or ())


def _warm(state: ClassicState, policy: Policy, block: Block) -> bool:
    """Whether latency of this block may count against the candidate."""
    if policy.warm_up == "none" or state.first_traffic_s is None:
        return policy.warm_up == "none"
    return block.start_s - state.first_traffic_s >= policy.warm_up_s - _SLACK_S
