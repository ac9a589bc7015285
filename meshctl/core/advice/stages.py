"""Advice on the stages of a canary."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from meshctl.core.advice.rule import Found, Path, Rule, rule
from meshctl.core.model import FULL, CanaryStrategy, Gate, Release, Stage
from meshctl.core.strategies.canary import DECIDING_WEIGHT_MAX
from meshctl.core.timetext import format_duration

FIRST_WEIGHT_MAX = 5.0
JUMP_MAX = 10.0
BAKE_MIN = timedelta(minutes=5)

STAGES: Path = ("spec", "strategy", "canary", "stages")
STAGE_RULES: list[Rule[Release]] = []


def canary_of(release: Release) -> CanaryStrategy:
    return release.spec.strategy.canary or CanaryStrategy()


def _stages(release: Release) -> Iterator[tuple[Path, Stage]]:
    for position, stage in enumerate(canary_of(release).stages):
        yield (*STAGES, position), stage


@rule(
    STAGE_RULES,
    "stage-too-large-first-step",
    why="Whatever is wrong with the version hits that share of all users before anybody knows.",
    do="Begin at 1 %; below 5 % a broken version costs a handful of requests.",
)
def _first_step(release: Release) -> Found:
    path, first = next(_stages(release))
    if FIRST_WEIGHT_MAX < first.weight < FULL:
        yield (*path, "weight"), f"the first stage gives the candidate {first.weight:g} % of all users at once"


@rule(
    STAGE_RULES,
    "weights-jump",
    why="Faults that come with load (pools, caches, locks) first show after the jump, at the large share.",
    do="Put a stage between the two.",
)
def _jump(release: Release) -> Found:
    before = 0.0
    for path, stage in _stages(release):
        jump = stage.weight / before if before else 0.0
        if jump > JUMP_MAX or (before and stage.weight - before > DECIDING_WEIGHT_MAX):
            yield (*path, "weight"), f"goes from {before:g} % to {stage.weight:g} % in one step"
        before = stage.weight


@rule(
    STAGE_RULES,
    "no-stage-before-all",
    why="One stage of 100 % is no canary: there is nothing to compare with and nobody is spared.",
    do="Leave stages out for 1, 10, 50, 80, 100 %.",
)
def _all_at_once(release: Release) -> Found:
    stages = canary_of(release).stages
    if stages[0].weight == FULL:
        yield (*STAGES, 0, "weight"), "the first stage is 100 %"


@rule(
    STAGE_RULES,
    "deciding-gate-manual-only",
    why="The judge then only takes back what is clearly worse; that the version is good enough nobody proves.",
    do="Leave gate: auto at one stage at or below 50 %.",
)
def _manual_only(release: Release) -> Found:
    deciding = [(path, stage) for path, stage in _stages(release) if stage.weight <= DECIDING_WEIGHT_MAX]
    if deciding and all(stage.gate is Gate.MANUAL for _, stage in deciding):
        yield (*deciding[-1][0], "gate"), "every gate where the judge could decide is opened by hand"


@rule(
    STAGE_RULES,
    "no-bake",
    why="Slow faults (leaks, full disks, hourly jobs) show only with time under load, while a way back is cheap.",
    do="Add a stage of 80 % with minDuration: 10m before 100 %.",
)
def _no_bake(release: Release) -> Found:
    stages = canary_of(release).stages
    if stages[0].weight < FULL and not any(DECIDING_WEIGHT_MAX < stage.weight < FULL for stage in stages):
        yield STAGES, "no stage between 50 % and 100 % lets the version run for a while against a hold-back"


@rule(
    STAGE_RULES,
    "bake-short",
    why="Slow faults (leaks, full disks, hourly jobs) need minutes to show.",
    do="Give the last stage below 100 % a minDuration of 5m or more.",
)
def _short_bake(release: Release) -> Found:
    bakes = [(path, stage) for path, stage in _stages(release) if DECIDING_WEIGHT_MAX < stage.weight < FULL]
    total = sum((stage.min_duration for _, stage in bakes), timedelta(0))
    if bakes and total < BAKE_MIN:
        yield (*bakes[-1][0], "minDuration"), f"{format_duration(total)} of bake in all"


@rule(
    STAGE_RULES,
    "no-time-to-decide",
    why="A good version that needs a little longer is then undecided, and taken back.",
    do="Leave maxDuration at 30m, or give it several times minDuration.",
)
def _no_time(release: Release) -> Found:
    for path, stage in _stages(release):
        decides = stage.weight <= DECIDING_WEIGHT_MAX and stage.gate is Gate.AUTO
        if decides and stage.max_duration < 2 * stage.min_duration:
            least, most = format_duration(stage.min_duration), format_duration(stage.max_duration)
            yield (*path, "maxDuration"), f"the judge may decide between {least} and {most} only"
