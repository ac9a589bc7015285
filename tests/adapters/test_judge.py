"""The judge behind its port: what the statistics say reaches the core whole, and their errors as one of its own."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from meshctl.adapters.judge import AnalysisJudge, classic_figures
from meshctl.adapters.late_judge import LateJudge
from meshctl.core.errors import JudgeError
from meshctl.core.model import (
    DEFAULT_STAGES,
    AnalysisSpec,
    ArmCounts,
    Block,
    Engine,
    ServiceLevel,
    StageTerms,
    Verdict,
    WarmUp,
)
from meshctl.core.strategies.canary import terms_of

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
FIRST: StageTerms = terms_of(DEFAULT_STAGES, 0, 0)
LATENCY = (0, 50, 40, 10)


def block(number, *, bad=0, candidate=100, weight=10.0):
    start = BEGIN + timedelta(seconds=number)
    return Block(
        start,
        start + timedelta(seconds=1),
        0,
        weight,
        ArmCounts(900, 0, tuple(9 * count for count in LATENCY)),
        ArmCounts(candidate, bad, LATENCY),
        (10.0, 100.0, 1000.0),
    )


@pytest.mark.parametrize("engine", Engine)
def test_both_engines_take_back_a_candidate_that_fails_half_of_its_requests(engine):
    analysis = AnalysisSpec(engine=engine, warm_up=WarmUp.NONE)
    state, judgement = "", None
    for number in range(2000):
        state, judgement = AnalysisJudge().fold(state, analysis, FIRST, [block(number, bad=50)])
        if judgement.verdict is Verdict.FAIL:
            break
    assert judgement.verdict is Verdict.FAIL
    assert judgement.engine == engine.value
    assert judgement.candidate.bad > 0
    assert "failed" in judgement.message


def test_the_same_blocks_folded_at_once_or_one_by_one_give_the_same_state():
    judge, analysis = AnalysisJudge(), AnalysisSpec()
    blocks = [block(number, bad=number % 2) for number in range(5)]
    at_once, _ = judge.fold("", analysis, FIRST, blocks)
    state = ""
    for each in blocks:
        state, _ = judge.fold(state, analysis, FIRST, [each])
    assert state == at_once


def test_history_of_the_baseline_is_no_evidence():
    judge, analysis = AnalysisJudge(), AnalysisSpec(slo=ServiceLevel(0.05))
    learnt = judge.learn("", analysis, [block(0, bad=100)])
    _, judgement = judge.fold(learnt, analysis, FIRST, [block(5)])
    assert judgement.candidate.bad == 0
    assert judgement.verdict is Verdict.UNDECIDED


@pytest.mark.parametrize("state", ["{", "[]", '{"version": 99}', "nonsense"])
def test_a_state_that_is_none_is_an_error_of_the_judge_that_says_what_to_do(state):
    with pytest.raises(JudgeError, match="abort and promote --reason work"):
        AnalysisJudge().fold(state, AnalysisSpec(), FIRST, [block(0)])


def test_classic_figures_are_those_of_the_newest_stage_with_both_versions():
    early = [replace(block(number, bad=100), entry=0) for number in range(3)]
    late = [replace(block(number), entry=1) for number in range(3, 6)]
    alone = [replace(block(9, bad=100, weight=100.0), entry=2)]
    lines = classic_figures([*early, *late, *alone])
    assert [line.partition(",")[0] for line in lines] == [
        "Mann-Whitney",
        "Brunner-Munzel (spreads may differ)",
        "Fisher",
    ]
    assert "p = 1" in lines[-1]


def test_without_a_comparable_block_there_are_no_classic_figures():
    assert classic_figures([replace(block(0), entry=-1)]) == []


def test_a_judge_that_is_loaded_late_says_the_same():
    analysis, late, early = AnalysisSpec(warm_up=WarmUp.NONE), LateJudge(), AnalysisJudge()
    states = [judge.learn("", analysis, [replace(block(0), entry=-1)]) for judge in (late, early)]
    assert states[0] == states[1]
    words = [judge.fold(states[0], analysis, FIRST, [block(1), block(2, bad=3)]) for judge in (late, early)]
    assert words[0] == words[1]


def test_a_controller_without_a_moving_release_never_loads_the_statistics(tmp_path):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from meshctl.wiring import Embedded, EmbeddedPlace\n"
        f"base = Path({str(tmp_path / 'm')!r})\n"
        "EmbeddedPlace(base).store(create=True)\n"
        "Embedded(base).ports\n"
        "print(sorted({'numpy', 'scipy'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")
