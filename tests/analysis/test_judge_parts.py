"""The parts of the sequential judge, each alone: noise, edges, guards, capital, intervals, planner, totals, storage."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from calibration.bounds import ISTIO_BOUNDS_MS
from meshctl_analysis.blocks import Arm, Block
from meshctl_analysis.capital import ABORT, GUARD, gate_schedule
from meshctl_analysis.counts import BASELINE, CANDIDATE, BlockError, check_bounds, counts_of, events, trials
from meshctl_analysis.dispersion import assumed, cut, noted, undispersed
from meshctl_analysis.edges import EdgeGuard, fell, watched
from meshctl_analysis.guards import (
    ServiceLevel,
    ShareCheck,
    Silence,
    checked,
    guarded,
    listened,
    service_level,
    service_level_alternatives,
    service_level_of,
    share_factor,
)
from meshctl_analysis.intervals import no_likelihood, ratio_interval, with_block
from meshctl_analysis.known import informative_bounds, learnt, nothing_known
from meshctl_analysis.planner import (
    error_nats_per_request,
    latency_nats_per_request,
    nats_needed,
    remaining_seconds,
    stage_seconds,
)
from meshctl_analysis.policy import Policy, PolicyError, Tolerance
from meshctl_analysis.storage import StateError, dumps, loads
from meshctl_analysis.suspicion import cumulated, suspected, unsuspicious
from meshctl_analysis.totals import added, arm_totals, no_totals, quantile_ms, time_factor

CLOSE = 1e-6
TAILS = np.array([0.590139, 0.261564, 0.03722, 0.004021])


def pair(candidate_bad=0, candidate=10, baseline_bad=0, baseline=90):
    """Counts of both arms without latency."""
    return np.array([[baseline, baseline_bad], [candidate, candidate_bad]])


# ------------------------------------------------------------------------------------ policy


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("alpha", 0.0, "between 0 and 1"),
        ("alpha", math.nan, "between 0 and 1"),
        ("max_error_rate", 0.5, "between 0 and 0.5"),
        ("warm_up", "fresh", "'auto' or 'none'"),
        ("warm_up_s", -1.0, "zero or more"),
        ("noise_errors", -0.1, "zero or more"),
        ("mismatch_factor", 0.5, "at least 1"),
    ],
)
def test_a_policy_that_cannot_be_kept_names_the_argument(name, value, rule):
    with pytest.raises(PolicyError, match=f"`{name}` must be .*{rule}"):
        Policy(**{name: value})


@pytest.mark.parametrize(("tolerance", "margin", "harm"), [(0.9, 1.2, 0.1), (1.1, 0.9, 0.1), (1.1, 1.2, 0.0)])
def test_a_tolerance_below_one_or_no_harm_budget_is_refused(tolerance, margin, harm):
    with pytest.raises(PolicyError, match="must be"):
        Tolerance(tolerance, margin, harm)


def test_evidence_and_guards_together_spend_alpha():
    policy = Policy(alpha=0.01, max_error_rate=0.05)
    assert policy.abort_threshold == pytest.approx(125.0)
    assert policy.guard_threshold == pytest.approx(500.0)
    assert 1 / policy.abort_threshold + 1 / policy.guard_threshold == pytest.approx(0.01)


# ------------------------------------------------------------------------------------ counts and what is known


def test_slow_requests_are_counted_above_each_bound():
    counts = np.array([[100, 4, 50, 30, 16], [10, 1, 2, 3, 4]])
    assert events(counts).tolist() == [[4, 46, 16], [1, 7, 4]]
    assert trials(counts).tolist() == [[100, 96, 96], [10, 9, 9]]


def test_without_a_histogram_only_errors_are_counted():
    assert events(pair(3)).tolist() == [[0], [3]]
    assert trials(pair(3)).tolist() == [[90], [10]]
    block = Block(0, 1, 0.5, Arm(5, 0), Arm(5, 1), (10.0, 20.0))
    assert counts_of(block)[:, 2:].tolist() == [[0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (Block(1, 1, 0.5, Arm(1, 0), Arm(1, 0)), "`end_s` must be after `start_s`"),
        (Block(0, 1, 1.5, Arm(1, 0), Arm(1, 0)), "`share` must be between 0 and 1"),
        (Block(0, 1, 0.5, Arm(1, 2), Arm(1, 0)), "`baseline.bad` must not exceed"),
        (Block(0, 1, 0.5, Arm(1, 0), Arm(-1, 0)), "`candidate` must not hold negative counts"),
        (
            Block(0, 1, 0.5, Arm(1, 0, (1, 2)), Arm(1, 0), (1.0, 2.0)),
            "`baseline.latency` must have one count",
        ),
    ],
)
def test_a_block_that_contradicts_itself_is_refused(block, message):
    with pytest.raises(BlockError, match=message):
        counts_of(block)


@pytest.mark.parametrize("bounds", [(1.0, 1.0), (0.0, 1.0), (2.0, 1.0), (1.0, math.inf)])
def test_bounds_must_increase(bounds):
    with pytest.raises(BlockError, match="strictly increasing"):
        check_bounds(bounds)


def test_the_weak_prior_gives_way_to_the_first_seconds_of_history():
    known = nothing_known(3)
    assert known.error_rate == pytest.approx(0.001)
    assert known.requests_per_second == 0.0
    assert known.shape == pytest.approx(np.ones(3) / 3)
    assert not known.knows_latency
    known = learnt(known, np.array([[6000, 60, 3000, 2000, 940], [0, 0, 0, 0, 0]]), 10.0)
    assert known.error_rate == pytest.approx(60.5 / 6500)
    assert known.requests_per_second == pytest.approx(600.0)
    assert known.shape == pytest.approx(np.array([3000, 2000, 940]) / 5940, rel=1e-3)
    assert known.knows_latency


def test_forgetting_does_not_depend_on_the_length_of_blocks():
    counts = np.array([[60, 1, 40, 20], [0, 0, 0, 0]])
    short = long = nothing_known(2)
    for _ in range(10):
        short = learnt(short, 0 * counts, 1.0)
    long = learnt(learnt(long, counts, 1.0), 0 * counts, 10.0)
    short = learnt(nothing_known(2), counts, 1.0)
    for _ in range(10):
        short = learnt(short, 0 * counts, 1.0)
    assert short.recent == pytest.approx(long.recent)


def test_informative_bounds_cover_the_tail_and_one_beyond_it():
    tails = np.array([1.0, 0.81, 0.6, 0.01, 0.0004, 0.0001])
    assert informative_bounds(tails, 1.15, 0.01).tolist() == [2, 3, 4]
    assert informative_bounds(tails, 1.15, 0.3).tolist() == [3, 4]
    assert informative_bounds(tails, 1.15, 0.97).tolist() == []


# ------------------------------------------------------------------------------------ capital


@pytest.mark.parametrize("schedule", [ABORT, GUARD, gate_schedule(1800.0)])
@pytest.mark.parametrize("seconds", [1.0, 10.0, 7000.0])
def test_no_schedule_invests_more_than_its_capital(schedule, seconds):
    invested = 0.0
    for block in range(3000):
        invested += schedule.tranche(invested, block % 400 == 0, seconds)
        assert invested <= 1.0 + 1e-12
    assert invested == pytest.approx(1.0)


def test_the_capital_comes_at_the_start_at_new_stages_and_over_twenty_minutes():
    assert ABORT.tranche(0.0, True, 10.0) == pytest.approx(0.5 + 0.2 / 120)
    assert ABORT.tranche(0.6, True, 10.0) == pytest.approx(0.1 + 0.2 / 120)
    assert ABORT.tranche(0.6, False, 1.0) == pytest.approx(0.2 / 1200)
    assert gate_schedule(1800.0).tranche(0.0, True, 1.0) == pytest.approx(0.8 + 0.2 / 1800)


# ------------------------------------------------------------------------------------ dispersion


def test_a_constant_regression_is_no_dispersion():
    random = np.random.default_rng(5)
    dispersion = undispersed(0)
    for _ in range(200):
        counts = pair(random.binomial(500, 0.2), 500, random.binomial(500, 0.02), 500)
        dispersion = noted(dispersion, counts, 10.0)
    assert dispersion.measured()[0] < 1.3


def test_noise_of_one_arm_is_seen_as_dispersion():
    random = np.random.default_rng(6)
    dispersion = undispersed(0)
    for number in range(60):
        rate = 0.2 if number % 2 else 0.02
        dispersion = noted(dispersion, pair(random.binomial(500, rate), 500, random.binomial(500, 0.1), 500), 10.0)
    assert dispersion.measured()[0] > 5.0


def test_dispersion_is_measured_over_time_not_over_blocks():
    random = np.random.default_rng(7)
    short = long = undispersed(3)
    for _ in range(30):
        blocks = [random.integers(0, 5, (2, 5)) for _ in range(10)]
        for block in blocks:
            block[:, 0] = block[:, 1:].sum(axis=1)
            short = noted(short, block, 1.0)
        long = noted(long, sum(blocks), 10.0)
    # Same windows and residuals; only the running ratio they are compared with is finer.
    assert (short.short.differences == long.short.differences).all()
    assert short.measured() == pytest.approx(long.measured(), abs=0.02)


def test_a_new_stage_drops_half_filled_windows():
    dispersion = cut(noted(undispersed(0), pair(1), 5.0))
    assert dispersion.short.seconds == 0.0
    assert not dispersion.long.counts.any()
    assert dispersion.seen.tolist() == [1]


def test_assumed_noise_counts_per_ten_seconds():
    assert assumed(0.05, 20.0, 10.0) == pytest.approx(2.0)
    assert assumed(0.05, 2.0, 1.0) == pytest.approx(2.0)


# ------------------------------------------------------------------------------------ edges


def watch(guard, bad, requests, start_s, seconds, share=0.1):
    counts = np.array([[requests, bad, requests - bad], [0, 0, 0]])
    return watched(guard, counts, start_s, seconds, share, np.zeros(0, np.int64))


def test_a_sharp_fall_of_errors_is_an_edge():
    assert fell(60, 2000, 3, 2000)
    assert not fell(60, 2000, 40, 2000)
    assert not fell(3, 2000, 60, 2000)
    assert not fell(60, 2000, 3, 100)


@pytest.mark.parametrize("seconds", [1.0, 10.0])
def test_no_bets_for_twenty_seconds_after_an_edge(seconds):
    guard, start_s, resting = EdgeGuard(), 0.0, []
    for bad_per_second, duration in ((6.0, 40), (0.0, 60)):
        for _ in range(int(duration / seconds)):
            guard = watch(guard, round(bad_per_second * seconds), int(200 * seconds), start_s, seconds)
            resting.append((start_s, guard.betting(start_s)[0]))
            start_s += seconds
    quiet = [start for start, betting in resting if not betting]
    assert 40.0 <= quiet[0] <= 48.0
    assert quiet[-1] - quiet[0] + seconds == 20.0
    assert guard.betting(start_s) == (True, True)


def test_a_fall_after_the_share_was_lowered_is_no_edge():
    guard = watch(watch(EdgeGuard(), 60, 2000, 0.0, 10.0, 0.8), 0, 2000, 10.0, 10.0, 0.5)
    assert guard.betting(10.0) == (True, True)
    assert watch(watch(EdgeGuard(), 60, 2000, 0.0, 10.0, 0.5), 0, 2000, 10.0, 10.0, 0.5).betting(10.0) == (False, False)


def test_a_fall_of_slow_requests_rests_latency_bets_only():
    guard = EdgeGuard()
    for number, slow in enumerate((500, 10)):
        counts = np.array([[2000, 0, 2000 - slow, slow], [0, 0, 0, 0]])
        guard = watched(guard, counts, 10.0 * number, 10.0, 0.1, np.array([0]))
    assert guard.betting(10.0) == (True, False)
    assert guard.betting(30.0) == (True, True)


def test_the_edge_guard_remembers_a_bounded_past():
    guard = EdgeGuard()
    for second in range(200):
        guard = watch(guard, 1, 100, float(second), 1.0)
    assert len(guard.slots) <= 12


# ------------------------------------------------------------------------------------ guards


def test_the_service_level_guard_has_its_known_value():
    assert service_level(3, 3, 0.05, np.array([0.5]))[0] == pytest.approx(6.907755, abs=CLOSE)


@given(st.integers(0, 30), st.integers(0, 100), st.floats(0.001, 0.4))
def test_the_service_level_guard_is_a_binomial_likelihood_ratio(bad, good, limit):
    rates = service_level_alternatives(limit)
    expected = stats.binom.logpmf(bad, bad + good, rates) - stats.binom.logpmf(bad, bad + good, limit)
    assert service_level(bad, bad + good, limit, rates) == pytest.approx(expected, abs=1e-7)
    assert (rates > limit).all()


def test_the_service_level_guard_acts_after_a_long_good_past():
    policy = Policy(max_error_rate=0.05)
    guard = service_level_of(policy)
    for block in range(300):
        guard = guarded(guard, policy, 0, 100, block == 0, 1.0)
    assert guard.evidence < 1.0
    guard = guarded(guard, policy, 12, 12, True, 1.0)
    assert guard.evidence >= policy.guard_threshold


def test_without_a_service_level_the_guard_is_silent():
    guard = guarded(service_level_of(Policy()), Policy(), 100, 100, True, 1.0)
    assert isinstance(guard, ServiceLevel)
    assert guard.evidence == 1.0


@pytest.mark.parametrize(("candidate", "expected"), [(150, 9.867117), (100, -1.206605)])
def test_the_share_check_has_its_known_values(candidate, expected):
    assert share_factor(candidate, 1000 - candidate, 0.1) == pytest.approx(expected, abs=CLOSE)


@given(st.integers(0, 300), st.integers(0, 300), st.floats(0.001, 0.999))
def test_the_share_check_is_a_beta_binomial_ratio(candidate, baseline, share):
    total = candidate + baseline
    expected = stats.betabinom.logpmf(candidate, total, 100 * share, 100 * (1 - share)) - stats.binom.logpmf(
        candidate, total, share
    )
    assert share_factor(candidate, baseline, share) == pytest.approx(expected, abs=1e-6)


def test_a_wrong_share_is_found_and_forgotten_once_it_is_right_again():
    policy, check = Policy(), ShareCheck()
    for _ in range(20):
        check = checked(check, policy, 20, 80, 0.1)
    assert check.mismatch
    check = checked(check, policy, 1, 9, 0.1)
    assert check.mismatch
    for _ in range(20):
        check = checked(check, policy, 10, 90, 0.1)
    assert not check.mismatch


def test_a_new_share_starts_the_share_check_anew():
    policy, check = Policy(), ShareCheck()
    for share in (0.8, 0.5):
        for _ in range(50):
            check = checked(check, policy, round(100 * share), round(100 - 100 * share), share)
    assert not check.mismatch
    assert checked(check, policy, 100, 0, 1.0) == ShareCheck(1.0)


def test_silence_is_no_request_for_three_blocks_or_half_a_minute():
    silence = Silence()
    for _ in range(29):
        silence = listened(silence, 0, 0, 0.01, 1.0)
    assert not silence.silent(Policy())
    assert listened(silence, 0, 0, 0.01, 1.0).silent(Policy())
    assert not listened(silence, 0, 5, 0.01, 1.0).silent(Policy())
    slow_scrapes = listened(listened(Silence(), 0, 0, 0.01, 60.0), 0, 0, 0.01, 60.0)
    assert not slow_scrapes.silent(Policy())
    assert listened(slow_scrapes, 0, 0, 0.01, 60.0).silent(Policy())


def test_a_candidate_without_the_requests_it_was_promised_is_silent():
    silence = listened(Silence(), 0, 1490, 0.01, 1.0)
    assert not silence.silent(Policy())
    assert listened(silence, 0, 10, 0.01, 1.0).silent(Policy())
    assert not listened(silence, 1, 10, 0.01, 1.0).silent(Policy())


# ------------------------------------------------------------------------------------ suspicion


def test_the_cusum_has_its_known_values():
    first = cumulated(np.ones(3), 4, 2000, 0.001)
    assert first == pytest.approx([2.165364532, 0.634560557, 0.0001523], abs=CLOSE)
    second = cumulated(np.maximum(first, 1.0), 6, 2000, 0.001)
    assert second == pytest.approx([18.755214222, 10.152968916, 0.01522998], abs=CLOSE)
    assert second.mean() == pytest.approx(9.641138, abs=CLOSE)


def test_suspicion_steps_down_until_two_quiet_minutes_have_passed():
    suspicion = suspected(unsuspicious(), 4, 2000, 0.001, 1.0, 10.0)
    assert not suspicion.step_down
    suspicion = suspected(suspicion, 6, 2000, 0.001, 1.0, 10.0)
    assert suspicion.step_down
    for _ in range(11):
        suspicion = suspected(suspicion, 2, 2000, 0.001, 1.0, 10.0)
        assert suspicion.step_down
        assert (suspicion.cusum <= 1.0).all()
    assert not suspected(suspicion, 2, 2000, 0.001, 1.0, 10.0).step_down


def test_evidence_of_two_is_suspicious_by_itself():
    assert suspected(unsuspicious(), 0, 2000, 0.001, 2.0, 1.0).step_down
    assert not suspected(unsuspicious(), 0, 2000, 0.001, 1.99, 1.0).step_down


def test_short_blocks_do_not_restart_the_cusum_more_often():
    short = unsuspicious()
    for bad in (0, 1, 0, 0, 2, 0, 0, 1, 0, 0):
        short = suspected(short, bad, 200, 0.001, 1.0, 1.0)
    assert short.cusum == pytest.approx(cumulated(np.ones(3), 4, 2000, 0.001))


# ------------------------------------------------------------------------------------ interval and planner


def test_the_ratio_interval_has_its_known_limits():
    likelihood = with_block(no_likelihood(), 5, 100, 2, 900)
    assert ratio_interval(likelihood, 0.05)[1] == pytest.approx(1.733253, abs=CLOSE)
    likelihood = with_block(likelihood, 8, 1000, 10, 9000)
    best, lower, upper = ratio_interval(likelihood, 0.05)
    assert lower == pytest.approx(2.585710, abs=CLOSE)
    assert upper == pytest.approx(38.474666, abs=1e-5)
    assert lower < best < upper


def test_an_interval_without_a_limit_says_so():
    assert ratio_interval(no_likelihood(), 0.05) == (None, None, None)
    best, lower, upper = ratio_interval(with_block(no_likelihood(), 9, 100, 0, 900), 0.05)
    assert best is None
    assert lower > 1.0
    assert upper is None


def test_blocks_that_cannot_be_compared_leave_the_interval_alone():
    likelihood = with_block(no_likelihood(), 5, 100, 2, 900)
    for block in ((0, 100, 0, 900), (0, 0, 3, 900), (3, 900, 0, 0)):
        assert with_block(likelihood, *block) is likelihood


@pytest.mark.parametrize(("power", "expected"), [(0.8, 6.469370), (0.9, 8.826527), (0.95, 11.241189)])
def test_needed_nats_have_their_known_values(power, expected):
    assert nats_needed(0.05, power) == pytest.approx(expected, abs=CLOSE)
    assert nats_needed(0.05, 0.9, capital=1.0) == pytest.approx(8.178957, abs=CLOSE)


@pytest.mark.parametrize(
    ("name", "arguments"), [("beta", (0.0, 0.9)), ("power", (0.05, 1.0)), ("capital", (0.05, 0.9, 2))]
)
def test_impossible_plans_name_the_argument(name, arguments):
    with pytest.raises(ValueError, match=f"`{name}` must be between 0 and 1"):
        nats_needed(*arguments)


def test_expected_evidence_per_request_has_its_known_values():
    assert error_nats_per_request(0.5, 0.001, 1.25, 0.001) == pytest.approx(1.4924608586e-4, abs=1e-12)
    assert error_nats_per_request(0.1, 0.01, 1.25, 0.002) == pytest.approx(7.0910602169e-5, abs=1e-13)
    found = latency_nats_per_request(0.5, np.array([0.2616]), 1.15, 0.01)
    assert found[0] == pytest.approx(1.3614865e-3, abs=1e-9)


def test_the_seconds_of_the_three_stages_have_their_known_values():
    power = 1 - 0.1 / 6
    stages = ((0.01, 0.1, 0.2, 820.6), (0.1, 0.5, 0.1, 678.5), (0.5, 1.0, 0.05, 507.9))
    for share, margin_share, beta, expected in stages:
        found = stage_seconds(
            Policy(),
            requests_per_second=200.0,
            share=share,
            margin_share=margin_share,
            beta=beta,
            power=power,
            error_rate=0.001,
            tails=TAILS,
        )
        assert found == pytest.approx(expected, abs=0.06)


def test_a_stage_without_traffic_never_ends():
    plan = {"share": 0.5, "margin_share": 1.0, "beta": 0.05, "power": 0.9, "error_rate": 0.001, "tails": TAILS}
    assert stage_seconds(Policy(), requests_per_second=0.0, **plan) == math.inf


def test_remaining_time_shrinks_with_the_evidence_still_missing():
    policy = Policy(noise_errors=0.0, noise_latency=0.0)

    def remaining(missing, rate=200.0, share=0.5):
        return remaining_seconds(
            policy,
            requests_per_second=rate,
            share=share,
            margin_share=1.0,
            error_rate=0.001,
            tails=TAILS,
            missing_nats=np.full(5, missing),
            dispersions=np.ones(5),
        )

    assert remaining(3.0) == pytest.approx(3.0 / (200 * 1.4924608586e-4))
    assert remaining(-1.0) == 0.0
    assert remaining(3.0, rate=0.0) is None
    assert remaining(3.0, share=1.0) is None


# ------------------------------------------------------------------------------------ totals


def test_percentiles_are_read_inside_the_bucket():
    bounds = (10.0, 20.0, 40.0)
    assert quantile_ms(np.array([0, 100, 100, 0]), bounds, 0.5) == pytest.approx(20.0)
    assert quantile_ms(np.array([0, 100, 100, 0]), bounds, 0.75) == pytest.approx(math.sqrt(800.0))
    assert quantile_ms(np.array([100, 0, 0, 0]), bounds, 0.5) == pytest.approx(5.0)
    assert quantile_ms(np.array([0, 0, 0, 7]), bounds, 0.5) == 40.0
    assert quantile_ms(np.zeros(4), bounds, 0.5) is None
    assert quantile_ms(np.zeros(0), (), 0.5) is None


def test_the_time_factor_compares_like_with_like():
    """Both arms are slow while the candidate has many requests: that is the hour, not the candidate."""
    totals = no_totals(4)
    totals = added(totals, np.array([[900, 0, 900, 0, 0, 0], [10, 0, 10, 0, 0, 0]]))
    totals = added(totals, np.array([[500, 0, 0, 0, 500, 0], [500, 0, 0, 0, 500, 0]]))
    assert time_factor(totals, (10.0, 20.0, 40.0)) == pytest.approx(1.0)
    slower = added(no_totals(4), np.array([[90, 0, 0, 90, 0, 0], [90, 0, 0, 0, 90, 0]]))
    assert time_factor(slower, (10.0, 20.0, 40.0)) == pytest.approx(2.0)


def test_a_handful_of_requests_has_no_time_factor():
    counts = np.array([[90, 0, 0, 90, 0, 0], [19, 0, 0, 0, 19, 0]])
    assert time_factor(added(no_totals(4), counts), (10.0, 20.0, 40.0)) is None
    assert time_factor(added(no_totals(4), np.flip(counts * [[0], [2]], 0) * [[0], [1]]), (10.0, 20.0, 40.0)) is None


def test_totals_without_a_histogram_have_no_latency():
    totals = added(no_totals(0), pair(2, 10, 1, 90))
    found = arm_totals(totals, CANDIDATE, ())
    assert (found.requests, found.bad, found.p50_ms) == (10, 2, None)
    assert arm_totals(no_totals(4), BASELINE, (10.0, 20.0, 40.0)).mean_ms is None
    with pytest.raises(ValueError, match="`arm` must be 0 or 1"):
        arm_totals(totals, 2, ())


def test_the_mean_of_a_log_uniform_bucket():
    totals = added(no_totals(4), np.array([[10, 0, 0, 10, 0, 0], [0, 0, 0, 0, 0, 0]]))
    assert arm_totals(totals, BASELINE, (10.0, 20.0, 40.0)).mean_ms == pytest.approx(10.0 / math.log(2.0))


# ------------------------------------------------------------------------------------ storage


def test_a_part_of_the_state_survives_to_the_last_bit():
    dispersion = undispersed(len(ISTIO_BOUNDS_MS) + 1)
    random = np.random.default_rng(3)
    for _ in range(17):
        dispersion = noted(dispersion, random.integers(0, 50, (2, 15)), 7.3)
    text = dumps(dispersion)
    assert dumps(loads(type(dispersion), text)) == text
    assert (loads(type(dispersion), text).expected == dispersion.expected).all()


@pytest.mark.parametrize("text", ["", "{}", "[1]", "[1,[]]", "[1,7]", '[1,[1,"?",2,3]]', "[99,[]]"])
def test_text_that_is_no_state_is_refused(text):
    with pytest.raises(StateError, match="`text`"):
        loads(type(undispersed(0)), text)


def test_a_state_of_another_format_is_named():
    text = json.dumps([99, json.loads(dumps(undispersed(0)))[1]])
    with pytest.raises(StateError, match="format 99, this version reads format 1"):
        loads(type(undispersed(0)), text)
