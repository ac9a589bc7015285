"""A whole run in a simulated world: the judge moves the share, as the controller would."""

from __future__ import annotations

from dataclasses import dataclass

from calibration.worlds import World
from meshctl_analysis.judgement import Judgement
from meshctl_analysis.policy import Policy
from meshctl_analysis.sequential import Stage, fold, learn, start

INFORMATIVE_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Plan:
    """Stages and their least durations in seconds."""

    stages: tuple[Stage, ...]
    dwell_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: ``promoted``, ``failed`` or ``undecided``; after how many seconds of candidate traffic; at which
    stage; and how many of the candidate's requests failed."""

    end: str
    seconds: float
    stage: int
    failed: int
    judgement: Judgement


def default_plan(dwell_s: tuple[float, ...] = (60, 60, 120, 600, 60), max_duration_s: float = 1800.0) -> Plan:
    """1, 10, 50, 80 (bake), 100 % with the gates of the product."""

    def stage(entry: int, share: float, beta: float | None, margin_share: float) -> Stage:
        return Stage(entry, share, beta, margin_share, 0.5 < share < 1.0, share < 1.0, max_duration_s)

    stages = (stage(0, 0.01, 0.2, 0.1), stage(1, 0.1, 0.1, 0.5), stage(2, 0.5, 0.05, 1.0))
    return Plan((*stages, stage(3, 0.8, None, 1.0), stage(4, 1.0, None, 1.0)), dwell_s)


def roll_out(world: World, policy: Policy, plan: Plan, history_s: float, late_blocks: int = 0) -> Outcome:
    """Run ``plan`` in ``world``.  Each decision takes effect ``late_blocks`` blocks after the block it stands on."""
    state = learn(start(policy), policy, list(world.history(history_s)))
    began_s = world.now_s
    failed = 0
    judgement: Judgement | None = None
    for number, stage in enumerate(plan.stages):
        entered_s, share, passed = world.now_s, stage.share, False
        pending = 0
        while True:
            block = world.block(share)
            failed += block.candidate.bad
            if pending:
                pending -= 1
                if pending == 0:
                    break
                continue
            state, judgement = fold(state, policy, stage, [block])
            elapsed = world.now_s - entered_s
            passed = judgement.verdict == "pass" and elapsed >= plan.dwell_s[number] - 1e-6
            over = passed or judgement.verdict == "fail" or elapsed >= stage.max_duration_s
            share = INFORMATIVE_SHARE if judgement.step_down else stage.share
            if over and late_blocks == 0:
                break
            pending = late_blocks if over else 0
        if not passed:
            end = "failed" if judgement.verdict == "fail" else "undecided"
            return Outcome(end, world.now_s - began_s, number, failed, judgement)
    if judgement is None:
        raise ValueError("`plan.stages` must not be empty")
    return Outcome("promoted", world.now_s - began_s, len(plan.stages) - 1, failed, judgement)
