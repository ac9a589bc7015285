"""Canary: which stages a run walks through, and what the judge must prove at each (design: objects.md)."""

from __future__ import annotations

from meshctl.core.model import FULL, CanaryStrategy, Stage, StageTerms

DECIDING_WEIGHT_MAX = 50.0
"""Above this weight the baseline is too small to compare with: such stages bake, they decide nothing."""

BETA_DECIDING = 0.05
BETA_BEFORE = 0.1
BETA_EARLIER = 0.2

STEPPED_DOWN_WEIGHT = 50.0
"""The most informative share, taken in a bake on suspicion (design: statistics-2, section 4)."""


def stages_of(strategy: CanaryStrategy) -> tuple[Stage, ...]:
    """The stages of a run; a list that ends below 100 % (behind a manual gate) gets the last step."""
    stages = strategy.stages
    return stages if stages[-1].weight == FULL else (*stages, Stage(FULL))


def terms_of(stages: tuple[Stage, ...], index: int, entry: int) -> StageTerms:
    """What the judge has to prove at ``stages[index]``, entered as the run's ``entry``-th stage."""
    stage = stages[index]
    gates = [i for i, each in enumerate(stages) if each.weight <= DECIDING_WEIGHT_MAX]
    distance = len(gates) - 1 - gates.index(index) if index in gates else None
    beta = None if distance is None else (BETA_DECIDING, BETA_BEFORE, BETA_EARLIER)[min(distance, 2)]
    margin_share = 1.0 if distance in (None, 0) else stages[index + 1].weight / FULL
    return StageTerms(
        entry=entry,
        weight=stage.weight,
        beta=beta,
        margin_share=margin_share,
        bake=distance is None and stage.weight < FULL,
        comparable=stage.weight < FULL,
        max_duration_s=stage.max_duration.total_seconds(),
    )


def with_weight(stages: tuple[Stage, ...], weight: float) -> tuple[tuple[Stage, ...], int]:
    """The stages with one at ``weight``, and its index: a weight between two stages becomes a stage of its own,
    with the gate and durations of the next greater one."""
    for index, stage in enumerate(stages):
        if stage.weight == weight:
            return stages, index
        if stage.weight > weight:
            extra = Stage(weight, stage.gate, stage.min_duration, stage.max_duration)
            return (*stages[:index], extra, *stages[index:]), index
    raise AssertionError("the last stage has weight 100")
