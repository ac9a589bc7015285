"""The sequential judge: a fold over blocks that may be looked at after every one of them.

    state = start(policy)
    state = learn(state, policy, history)                  # baseline blocks before the candidate's first traffic
    state, judgement = fold(state, policy, stage, blocks)  # blocks of one stage entry, in order, as they come

Nothing is random and nothing is hidden: equal blocks in equal order give equal verdicts, and blocks that were applied
before change nothing.  Every bet on a block uses only what earlier blocks told (design notes ``statistics.md`` sections
3 to 8 and 10, as amended by ``statistics-2.md``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .abort import errors_dispersion, with_bets
from .blocks import Block
from .counts import BAD, CANDIDATE, LATENCY, REQUESTS, BlockError, buckets_of, check_bounds, counts_of
from .dispersion import assumed, cut, noted
from .edges import watched
from .evalues import Counts, Floats
from .gates import closed_gate, with_proof
from .guards import ShareCheck, Silence, checked, guarded, listened
from .intervals import with_block
from .judgement import Judgement
from .known import Known, learnt
from .policy import Policy
from .state import SequentialState, Stage, empty_state
from .storage import dumps, loads
from .suspicion import suspected, unsuspicious
from .totals import added
from .verdicts import judgement_of

__all__ = ["SequentialState", "Stage", "advanced", "dump", "fold", "learn", "load", "start"]

_SLACK_S = 1e-6


def start(policy: Policy) -> SequentialState:
    """The state of a run before anything was seen."""
    return empty_state(policy, None)


def dump(state: SequentialState) -> str:
    """``state`` as compact JSON text; ``load`` gives it back bit by bit."""
    return dumps(state)


def load(text: str) -> SequentialState:
    """The state that ``dump`` wrote.  Raises ``StateError`` (a ``ValueError``) for anything else."""
    return loads(SequentialState, text)


def learn(state: SequentialState, policy: Policy, blocks: Sequence[Block]) -> SequentialState:
    """``state`` after blocks of the baseline from before the candidate's first traffic, in order.

    They steer the bets (error rate, law of latency) and are no evidence; the candidate's counts in them are ignored.
    """
    for block in blocks:
        if _applied(state, block):
            continue
        state = _bound(state, policy, block)
        counts = counts_of(block).copy()
        counts[CANDIDATE] = 0
        seconds = block.end_s - block.start_s
        if counts.any():
            edge = watched(state.edge, counts, block.start_s, seconds, 0.0, state.known.informative)
            state = replace(state, known=learnt(state.known, counts, seconds), edge=edge)
        state = replace(state, last_end_s=block.end_s)
    return state


def fold(
    state: SequentialState, policy: Policy, stage: Stage, blocks: Sequence[Block]
) -> tuple[SequentialState, Judgement]:
    """State and judgement after ``blocks`` of one stage entry, in order.

    A new ``stage.entry`` starts new gate evidence; abort evidence is carried on.  Blocks that end at or before the last
    applied one are skipped.  Without blocks it repeats the judgement.  Raises ``BlockError`` (a ``ValueError``) for a
    block that contradicts itself, overlaps an applied one or has other bounds than its predecessors, and for new
    blocks of an earlier stage entry.
    """
    state = advanced(state, policy, stage, blocks)
    return state, judgement_of(state, policy, stage)


def advanced(state: SequentialState, policy: Policy, stage: Stage, blocks: Sequence[Block]) -> SequentialState:
    """The state that ``fold`` comes to."""
    fresh = [block for block in blocks if not _applied(state, block)]
    if state.entry is None or stage.entry > state.entry:
        state = _entered(state, stage)
    elif stage.entry < state.entry and fresh:
        raise BlockError(f"`stage.entry` must not go back: {stage.entry} after {state.entry}")
    for block in fresh:
        state = _folded(_bound(state, policy, block), policy, stage, block)
    return state


def _applied(state: SequentialState, block: Block) -> bool:
    return state.last_end_s is not None and block.end_s <= state.last_end_s + _SLACK_S


def _bound(state: SequentialState, policy: Policy, block: Block) -> SequentialState:
    """``state`` sized for the bounds of its blocks."""
    if state.last_end_s is not None and block.start_s < state.last_end_s - _SLACK_S:
        raise BlockError(
            f"`start_s` must not lie before the end of the last block: {block.start_s} < {state.last_end_s}"
        )
    bounds_ms = tuple(float(bound) for bound in block.bounds_ms)
    if state.bounds_ms is None:
        check_bounds(bounds_ms)
        sized = empty_state(policy, bounds_ms)
        return replace(sized, entry=state.entry, stage_is_new=state.stage_is_new)
    if state.bounds_ms != bounds_ms:
        raise BlockError(f"`bounds_ms` must stay the same during a run: {bounds_ms} after {state.bounds_ms}")
    return state


def _entered(state: SequentialState, stage: Stage) -> SequentialState:
    return replace(
        state,
        entry=stage.entry,
        stage_is_new=True,
        seen_in_entry=0,
        gate=closed_gate(buckets_of(state.bounds_ms or ())),
        dispersion=cut(state.dispersion),
        share_check=ShareCheck(),
        silence=Silence(),
    )


def _folded(state: SequentialState, policy: Policy, stage: Stage, block: Block) -> SequentialState:
    """One block: guards first, then bets from what was known, then what it teaches."""
    counts = counts_of(block)
    seconds = block.end_s - block.start_s
    baseline, candidate = (int(value) for value in counts[:, REQUESTS])
    state = replace(
        state,
        last_end_s=block.end_s,
        silence=listened(state.silence, candidate, baseline, block.share, seconds),
        share_check=checked(state.share_check, policy, candidate, baseline, block.share),
        seen_in_entry=state.seen_in_entry + candidate,
    )
    if not counts.any():
        return state
    if state.first_traffic_s is None and counts[CANDIDATE].any():
        state = replace(state, first_traffic_s=block.start_s)
    bad = float(counts[CANDIDATE, BAD])
    state = replace(
        state,
        totals=added(state.totals, counts),
        service_level=guarded(state.service_level, policy, bad, float(candidate), state.stage_is_new, seconds),
    )
    if stage.comparable:
        state = _compared(state, policy, stage, block, counts, seconds)
    return replace(state, stage_is_new=False)


def _compared(
    state: SequentialState, policy: Policy, stage: Stage, block: Block, counts: Counts, seconds: float
) -> SequentialState:
    known, measured = state.known, state.dispersion.measured()
    edge = watched(state.edge, counts, block.start_s, seconds, block.share, known.informative)
    dispersions = (
        errors_dispersion(policy, float(measured[0]), counts, seconds),
        _latency_dispersion(policy, known, measured, counts, seconds),
    )
    errors_rest, latency_rest = (not betting for betting in edge.betting(block.start_s))
    latency_rest = latency_rest or not (known.knows_latency and _warm(state, policy, block))
    abort = with_bets(
        state.abort,
        policy,
        known,
        state.bounds_ms or (),
        counts,
        state.stage_is_new,
        seconds,
        dispersions,
        (not errors_rest, not latency_rest),
    )
    gate, suspicion = state.gate, unsuspicious()
    bad, requests = float(counts[:, BAD].sum()), float(counts[:, REQUESTS].sum())
    if stage.beta is not None:
        gate = with_proof(gate, policy, stage.margin_share, stage.max_duration_s, known, measured, counts, seconds)
    if stage.bake:
        suspicion = suspected(state.suspicion, bad, requests, known.error_rate, abort.evidence, seconds)
    (baseline, bad_baseline), (candidate, bad_candidate) = counts[:, :LATENCY].tolist()
    return replace(
        state,
        abort=abort,
        gate=gate,
        suspicion=suspicion,
        edge=edge,
        likelihood=with_block(state.likelihood, bad_candidate, candidate, bad_baseline, baseline),
        dispersion=noted(state.dispersion, counts, seconds),
        known=learnt(known, counts, seconds),
    )


def _warm(state: SequentialState, policy: Policy, block: Block) -> bool:
    """Whether the candidate's pods are old enough for latency bets."""
    if policy.warm_up == "none" or state.first_traffic_s is None:
        return policy.warm_up == "none"
    return block.start_s - state.first_traffic_s >= policy.warm_up_s - _SLACK_S


def _latency_dispersion(policy: Policy, known: Known, measured: Floats, counts: Counts, seconds: float) -> float:
    """Phi of the latency bets: the largest over the informative bounds, from the expected number of slow requests."""
    bounds = known.informative
    if not len(bounds):
        return 1.0
    baseline, candidate = (float(value) for value in counts[:, LATENCY:].sum(axis=1))
    information = known.tails[bounds] * candidate * baseline / max(baseline + candidate, 1.0)
    return float(np.maximum(measured[1:][bounds], assumed(policy.noise_latency, information, seconds)).max())
