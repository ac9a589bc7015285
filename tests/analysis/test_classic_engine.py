"""The classic engine as a judge of runs: same shape as the sequential one, error rates measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from calibration.bounds import ISTIO_BOUNDS_MS
from meshctl_analysis import classic, looks
from meshctl_analysis.blocks import Arm, Block
from meshctl_analysis.counts import BlockError
from meshctl_analysis.figures import figures_of
from meshctl_analysis.fixed import Tally, latency_abort_test, latency_gate_tests
from meshctl_analysis.policy import Policy
from meshctl_analysis.state import Stage
from meshctl_analysis.storage import StateError

POLICY = Policy(warm_up="none")
DECIDING = Stage(0, 0.5, 0.05, 1.0, bake=False, comparable=True, max_duration_s=1800.0)
NOTHING = Arm(0, 0, (0,) * 13)


def shares(scale=1.0):
    below = scipy.stats.norm.cdf((np.log(ISTIO_BOUNDS_MS) - np.log(60 * scale)) / 0.8)
    return np.diff([0.0, *below, 1.0])


BASE, SLOW = shares(), shares(1.5)


def arm(draw, requests, rate, law):
    bad = int(draw.binomial(requests, rate))
    return Arm(int(requests), bad, tuple(int(count) for count in draw.multinomial(requests - bad, law)))


def traffic(seed, *, rps=200, share=0.5, rate=0.001, times=1.0, law=BASE, seconds=1800, block_s=45.0, start_s=0.0):
    """Blocks of a stage; the candidate fails ``times`` as often and has latency law ``law``."""
    draw = np.random.default_rng(seed)
    blocks = []
    for place in range(round(seconds / block_s)):
        baseline, candidate = draw.poisson(rps * block_s * np.array([1 - share, share]))
        begin = start_s + place * block_s
        arms = arm(draw, baseline, rate, BASE), arm(draw, candidate, rate * times, law)
        blocks.append(Block(begin, begin + block_s, share, *arms, ISTIO_BOUNDS_MS))
    return blocks


def watched(blocks, *, policy=POLICY, stage=DECIDING, state=None):
    """Fold block by block until the engine decides; verdict, end of the last block, judgement."""
    state = state or classic.start(policy)
    for block in blocks:
        state, judgement = classic.fold(state, policy, stage, [block])
        if judgement.verdict != "undecided":
            break
    return judgement.verdict, block.end_s, judgement


def share_of(verdict, seeds, **world):
    """How many of the runs end with ``verdict``."""
    return sum(watched(traffic(seed, **world))[0] == verdict for seed in seeds)


# ------------------------------------------------------------------------------------ verdicts


def test_an_equal_candidate_passes_by_proof_and_not_before_the_first_gate_look():
    verdict, when, judgement = watched(traffic(1))
    assert verdict == "pass"
    assert when >= 0.25 * 1800
    assert judgement.engine == "classic"
    assert judgement.gate_log > judgement.gate_threshold_log
    assert judgement.message.startswith("candidate is shown to be")


def test_a_candidate_that_fails_more_often_is_found_and_errors_are_blamed():
    verdict, when, judgement = watched(traffic(2, times=10))
    assert (verdict, judgement.blamed) == ("fail", ("errors",))
    assert when < 450
    assert judgement.metrics["errors"].log > judgement.threshold_log
    assert judgement.metrics["errors"].lower > 2


def test_a_slow_candidate_is_found_and_latency_is_blamed():
    verdict, when, judgement = watched(traffic(3, law=SLOW))
    assert (verdict, judgement.blamed) == ("fail", ("latency",))
    assert when <= 180
    assert judgement.metrics["latency"].ratio == pytest.approx(1.5, abs=0.1)


def test_a_candidate_with_a_slow_tail_alone_is_found():
    tail = 0.98 * BASE
    tail[-4] += 0.02
    verdict, _, judgement = watched(traffic(4, law=tail))
    assert (verdict, judgement.blamed) == ("fail", ("latency",))


def test_a_failed_run_stays_failed_in_later_stages():
    state, _ = classic.fold(classic.start(POLICY), POLICY, DECIDING, traffic(2, times=10))
    state, judgement = classic.fold(state, POLICY, replace(DECIDING, entry=1), traffic(5, start_s=1800.0))
    assert judgement.verdict == "fail"


def test_before_the_first_look_the_verdict_is_undecided():
    _, judgement = classic.fold(classic.start(POLICY), POLICY, DECIDING, traffic(2, times=50, seconds=45))
    assert judgement.verdict == "undecided"
    assert "no look has come due" in judgement.message
    assert judgement.remaining_s == pytest.approx(405)
    assert judgement.threshold_log > 50


def test_thin_data_never_passes_however_good_it_looks():
    verdict, _, judgement = watched(traffic(6, rps=0.2, rate=0.0))
    assert verdict == "undecided"
    assert "not proved yet: errors has p =" in judgement.message
    assert judgement.remaining_s is None


def test_no_data_is_undecided():
    state, judgement = classic.fold(classic.start(POLICY), POLICY, DECIDING, [])
    assert (judgement.verdict, judgement.reasons) == ("undecided", ("no_data",))
    silent = [Block(begin, begin + 450.0, 0.5, NOTHING, NOTHING, ISTIO_BOUNDS_MS) for begin in range(0, 1800, 450)]
    _, judgement = classic.fold(state, POLICY, DECIDING, silent)
    assert (judgement.verdict, judgement.wait) == ("undecided", "NoTraffic")


def test_an_arm_without_latencies_never_passes():
    blocks = [replace(block, candidate=replace(block.candidate, latency=())) for block in traffic(7)]
    assert watched(blocks)[0] == "undecided"


def test_without_any_histogram_errors_alone_decide():
    def bare(blocks):
        return [
            replace(
                block,
                baseline=replace(block.baseline, latency=()),
                candidate=replace(block.candidate, latency=()),
                bounds_ms=(),
            )
            for block in blocks
        ]

    verdict, _, judgement = watched(bare(traffic(8)))
    assert verdict == "pass"
    assert set(judgement.metrics) == {"errors"}
    assert watched(bare(traffic(8, times=10)))[0] == "fail"


def test_a_wrong_share_makes_time_stand_still():
    blocks = [replace(block, share=0.1) for block in traffic(9)]
    _, judgement = classic.fold(classic.start(POLICY), POLICY, replace(DECIDING, share=0.1), blocks[:5])
    assert (judgement.verdict, judgement.wait) == ("undecided", "ShareMismatch")


def test_a_stage_without_a_gate_is_never_passed_by_the_engine():
    _, judgement = classic.fold(classic.start(POLICY), POLICY, replace(DECIDING, beta=None), traffic(1))
    assert (judgement.verdict, judgement.reasons) == ("undecided", ("no_gate",))
    assert judgement.gate_threshold_log is None
    assert judgement.remaining_s is None


def test_a_bake_passes_once_a_look_finds_nothing_suspicious():
    bake = replace(DECIDING, share=0.8, beta=None, bake=True)
    blocks = traffic(10, share=0.8)
    state, judgement = classic.fold(classic.start(POLICY), POLICY, bake, blocks[:1])
    assert (judgement.verdict, judgement.reasons) == ("undecided", ("look",))
    _, judgement = classic.fold(state, POLICY, bake, blocks[1:5])
    assert (judgement.verdict, judgement.reasons) == ("pass", ("bake",))


def test_a_bake_is_not_passed_while_something_looks_suspicious():
    bake = replace(DECIDING, share=0.8, beta=None, bake=True)
    _, judgement = classic.fold(classic.start(POLICY), POLICY, bake, traffic(11, share=0.8, times=8)[:4])
    assert (judgement.verdict, judgement.reasons) == ("undecided", ("doubt",))


def test_where_no_baseline_is_left_only_the_guard_counts():
    policy = Policy(warm_up="none", max_error_rate=0.02)
    whole = Stage(0, 1.0, None, 1.0, bake=False, comparable=False, max_duration_s=1800.0)
    assert watched(traffic(12, share=1.0), policy=policy, stage=whole)[0] == "pass"
    verdict, _, judgement = watched(traffic(12, share=1.0, rate=0.2), policy=policy, stage=whole)
    assert (verdict, judgement.guard) == ("fail", True)


def test_latency_of_a_cold_candidate_counts_only_once_it_is_warm():
    cold = Policy(warm_up="auto", warm_up_s=600.0)
    verdict, when, _ = watched(traffic(3, law=SLOW), policy=cold)
    assert verdict == "fail"
    assert when > 600


# ------------------------------------------------------------------------------------ state


def test_the_state_survives_being_written_after_every_block():
    state = text = classic.dump(classic.start(POLICY))
    plain = classic.start(POLICY)
    for block in traffic(13, times=1.5):
        state, judgement = classic.fold(classic.load(text), POLICY, DECIDING, [block])
        text = classic.dump(state)
        plain, expected = classic.fold(plain, POLICY, DECIDING, [block])
        assert judgement == expected
        assert text == classic.dump(plain)


def test_text_that_is_no_state_is_refused():
    with pytest.raises(StateError):
        classic.load("[1,[2]]")


def test_applying_blocks_twice_or_one_by_one_changes_nothing():
    blocks = traffic(14)
    once, judgement = classic.fold(classic.start(POLICY), POLICY, DECIDING, blocks)
    again, repeated = classic.fold(once, POLICY, DECIDING, blocks)
    assert classic.dump(again) == classic.dump(once)
    assert repeated == judgement
    single = classic.start(POLICY)
    for block in blocks:
        single, _ = classic.fold(single, POLICY, DECIDING, [block])
    assert classic.dump(single) == classic.dump(once)


def test_history_of_the_baseline_is_no_evidence():
    history = [replace(block, candidate=NOTHING) for block in traffic(15, seconds=450)]
    state = classic.learn(classic.start(POLICY), POLICY, history)
    state = classic.learn(state, POLICY, history)
    _, judgement = classic.fold(state, POLICY, DECIDING, [])
    assert judgement.baseline.requests == 0
    assert state.last_end_s == 450


def test_blocks_that_contradict_the_run_are_refused():
    blocks = traffic(16, seconds=180)
    state, _ = classic.fold(classic.start(POLICY), POLICY, replace(DECIDING, entry=1), blocks)
    with pytest.raises(BlockError, match="must not go back"):
        classic.fold(state, POLICY, DECIDING, traffic(16, seconds=45, start_s=180.0))
    with pytest.raises(BlockError, match="must not lie before"):
        classic.fold(state, POLICY, replace(DECIDING, entry=1), traffic(16, seconds=90, block_s=90.0, start_s=150.0))
    bare = replace(blocks[0], start_s=180.0, end_s=225.0, bounds_ms=(), baseline=Arm(1, 0), candidate=Arm(1, 0))
    with pytest.raises(BlockError, match="must stay the same"):
        classic.fold(state, POLICY, replace(DECIDING, entry=1), [bare])


# ------------------------------------------------------------------------------------ the promises, measured


def test_a_candidate_at_its_tolerances_is_taken_back_no_more_often_than_promised():
    """At alpha 0.4, of which one stage gets 0.8 / 5: at 0.01 a breach would take too many runs to show."""
    policy, runs = Policy(alpha=0.4, warm_up="none"), 200
    aged = shares(1.05)
    failed = 0
    for seed in range(runs):
        blocks = traffic([17, seed], rps=20, rate=0.01, times=1.1, law=aged, block_s=90.0)
        _, judgement = classic.fold(classic.start(policy), policy, DECIDING, blocks)
        failed += judgement.verdict == "fail"
    promised = 0.8 * 0.4 / 5
    assert scipy.stats.binomtest(failed, runs, promised, alternative="greater").pvalue > 0.001
    assert failed > 0, "a test that never rejects measures nothing"


def test_equal_arms_are_not_taken_back_at_the_products_alpha():
    assert share_of("fail", range(200), block_s=90.0) == 0


def test_a_candidate_at_the_margin_passes_no_more_often_than_promised():
    """Errors exactly at margin and harm; latency equal."""
    runs = 250
    rate = 0.005
    worst = 1.25 + 0.001 / rate
    passed = 0
    for seed in range(runs):
        blocks = traffic([18, seed], rps=20, rate=rate, times=worst, block_s=150.0)
        _, judgement = classic.fold(classic.start(POLICY), POLICY, DECIDING, blocks)
        passed += judgement.verdict == "pass"
    assert scipy.stats.binomtest(passed, runs, 0.05, alternative="greater").pvalue > 0.001
    assert passed > 0, "a gate that never opens measures nothing"


def test_equal_arms_with_enough_traffic_pass():
    assert share_of("pass", range(40), block_s=90.0) >= 38


# ------------------------------------------------------------------------------------ parts


def test_a_histogram_that_says_nothing_proves_nothing():
    blind = Tally(Arm(1000, 0, (0, 1000)), Arm(1000, 0, (0, 1000)), (10.0,))
    assert [test.p_value for test in latency_gate_tests(blind, POLICY, 1.0)] == [1.0]
    assert latency_abort_test(blind, POLICY) == 1.0
    wide = Tally(Arm(1000, 0, (500, 500)), Arm(1000, 0, (500, 500)), (10.0,))
    assert [test.p_value for test in latency_gate_tests(wide, POLICY, 0.02)] == [1.0]


def test_a_part_is_named_by_its_bound():
    assert looks.part_name(0, float("nan")) == "errors"
    assert looks.part_name(1, float("nan")) == "latency"
    assert looks.part_name(2, 250.0) == "latency above 250 ms"


def test_report_figures_are_those_of_the_textbooks():
    tally = Tally(Arm(1012, 12, (300, 500, 200)), Arm(530, 30, (100, 250, 150)), (10.0, 100.0))
    figures = figures_of(tally)
    theirs = scipy.stats.fisher_exact([[30, 500], [12, 1000]], alternative="greater").pvalue
    assert figures.fisher == pytest.approx(theirs)
    assert figures.mann_whitney.auc > 0.5
    assert figures.shift_ms.value == 0.0
    assert figures.odds_ratio.lower > 1
    assert figures.probability_worse > 0.999
    assert figures.boschloo is None


def test_small_tables_get_boschloo_and_empty_ones_nothing():
    assert figures_of(Tally(Arm(15, 7), Arm(15, 12), ())).boschloo == pytest.approx(0.034109155, abs=1e-6)
    nothing = figures_of(Tally(Arm(0, 0), Arm(5, 1), ()))
    assert (nothing.fisher, nothing.odds_ratio, nothing.mann_whitney, nothing.shift_ms) == (None,) * 4
