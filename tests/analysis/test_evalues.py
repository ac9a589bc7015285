"""The four formulas: known answers, scipy as the oracle, and the promise E[S] <= 1 by enumeration."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from calibration.bounds import EMBEDDED_BOUNDS_MS, ISTIO_BOUNDS_MS
from meshctl_analysis.ageing import aged, ageing_kernel
from meshctl_analysis.alternatives import LATENCY_ALTERNATIVES, error_ratios, slow_likelihood_ratios
from meshctl_analysis.evalues import (
    error_margin,
    error_margin_projection,
    error_ratio,
    slower,
    tail_margin,
    tail_margin_projection,
    wager,
)

CLOSE = 1e-6
ROUNDING = 1e-9
few = st.integers(1, 6)
shares = st.floats(0.001, 0.999)
possible = st.just(0.0) | st.floats(1e-9, 1.0)  # scipy, the oracle, overflows where a share is a subnormal number
rates = st.just(0.0) | st.floats(1e-9, 0.7)


def one(value: float) -> np.ndarray:
    return np.array([value])


# ------------------------------------------------------------------------------------ known answers


@pytest.mark.parametrize(
    ("counts", "ratio", "expected"), [((5, 100, 2, 900), 5.5, 5.515896983), ((2, 10, 0, 990), 66.0, 7.189137549)]
)
def test_the_error_ratio_has_its_known_values(counts, ratio, expected):
    assert error_ratio(*counts, 1.1, one(ratio))[0] == pytest.approx(expected, abs=CLOSE)


@pytest.mark.parametrize(("errors", "evidence"), [(1, 5.1), (2, 206), (3, 12383)])
def test_three_errors_of_ten_requests_against_none_are_overwhelming(errors, evidence):
    mixture = np.exp(error_ratio(errors, 10, 0, 990, 1.1, error_ratios(1.1))).mean()
    half_the_capital_on_one_of_two_metrics = 0.5 * 0.5
    found = 1.0 + half_the_capital_on_one_of_two_metrics * (mixture - 1.0)
    assert found == pytest.approx(evidence, rel=0.01)


def test_the_error_margin_and_its_projection_have_their_known_values():
    rate = one(0.001)
    null_baseline, null_candidate = error_margin_projection(400, 3600, 1.25, 0.01, rate, rate)
    assert null_baseline[0] == pytest.approx(0.000887794062, abs=1e-12)
    assert null_candidate[0] == pytest.approx(0.011109742577, abs=1e-12)
    assert error_margin(0, 400, 4, 3600, 1.25, 0.01, rate, rate)[0] == pytest.approx(4.116017554, abs=CLOSE)
    assert error_margin(1, 400, 4, 3600, 1.25, 0.01, rate, rate)[0] == pytest.approx(1.708195121, abs=CLOSE)


def test_the_tail_margin_has_its_known_value():
    assert tail_margin(one(20), 500, one(170), 4500, 1.15, 0.02, one(0.037))[0] == pytest.approx(2.412047531, abs=CLOSE)


def test_the_ageing_kernel_has_its_known_rows():
    kernel = ageing_kernel(ISTIO_BOUNDS_MS, 1.05)
    assert kernel[0, :2] == pytest.approx([0.952380952, 0.047619048], abs=CLOSE)
    assert kernel[5, 5:7] == pytest.approx([0.929610672, 0.070389328], abs=CLOSE)
    assert kernel[6, 6:8] == pytest.approx([0.946752529, 0.053247471], abs=CLOSE)
    assert kernel[-1, -1] == 1.0


def test_the_rank_test_has_its_known_values():
    shape = np.array([0.16, 0.36, 0.37, 0.11])
    middle = np.cumsum(shape) - shape / 2
    ratios = np.array([np.exp(middle), (1 - middle) ** -0.3])
    evidence = slower(np.array([10.0, 30, 40, 20]), np.array([150.0, 330, 330, 90]), shape, ratios)
    assert evidence == pytest.approx([4.760539475, 5.101544846], abs=CLOSE)


def binomial_expectation(log_evidence, candidate, baseline, rate_candidate, rate_baseline):
    """E[S] over all outcomes of two binomial arms."""
    total = 0.0
    for bad_candidate, bad_baseline in itertools.product(range(candidate + 1), range(baseline + 1)):
        weight = stats.binom.pmf(bad_candidate, candidate, rate_candidate) * stats.binom.pmf(
            bad_baseline, baseline, rate_baseline
        )
        total += weight * math.exp(log_evidence(bad_candidate, bad_baseline))
    return total


RATES = (0.01, 0.1, 0.3, 0.6)


@pytest.mark.parametrize(("rate", "expected"), list(zip(RATES, (0.999688, 0.969669, 0.761653, 0.335255), strict=True)))
def test_expected_error_ratio_on_the_border_has_its_known_values(rate, expected):
    found = binomial_expectation(lambda c, b: error_ratio(c, 6, b, 9, 1.1, one(4.0))[0], 6, 9, 1.1 * rate, rate)
    assert found == pytest.approx(expected, abs=CLOSE)


@pytest.mark.parametrize(
    ("rate", "errors", "tails"),
    list(zip(RATES, (0.998707, 0.986696, 0.912340, 0.700677), (0.995021, 0.999449, 0.945698, 0.723066), strict=True)),
)
def test_expected_margin_evidence_on_the_border_has_its_known_values(rate, errors, tails):
    on_border = 1.25 * rate + 0.05
    q = one(0.1)
    g1 = binomial_expectation(lambda c, b: error_margin(c, 6, b, 9, 1.25, 0.05, q, q)[0], 6, 9, on_border, rate)
    g2 = binomial_expectation(lambda c, b: tail_margin(one(c), 6, one(b), 9, 1.25, 0.05, q)[0], 6, 9, on_border, rate)
    assert g1 == pytest.approx(errors, abs=CLOSE)
    assert g2 == pytest.approx(tails, abs=CLOSE)


def multinomial_expectation(candidate_law, baseline_law, kernel, shape, ratios, candidate=4, baseline=5):
    """E[S] of the rank test over all outcomes of two multinomial arms, the baseline aged by ``kernel``."""
    buckets = len(shape)

    def outcomes(number):
        return [c for c in itertools.product(range(number + 1), repeat=buckets) if sum(c) == number]

    total = np.zeros(len(ratios))
    for ours, theirs in itertools.product(outcomes(candidate), outcomes(baseline)):
        weight = stats.multinomial.pmf(ours, candidate, candidate_law) * stats.multinomial.pmf(
            theirs, baseline, baseline_law
        )
        evidence = slower(np.array(ours, float), aged(np.array(theirs, float), kernel), shape, ratios)
        total += weight * np.exp(evidence)
    return total


KERNEL = np.array([[0.9, 0.1, 0.0], [0.0, 0.95, 0.05], [0.0, 0.0, 1.0]])
LAW = np.array([0.5, 0.3, 0.2])


@pytest.mark.parametrize(
    ("candidate_law", "expected"),
    [
        (LAW @ KERNEL, 0.989341),
        (LAW, 0.938256),
        (np.array([0.7, 0.2, 0.1]), 0.729468),
        (np.array([0.2, 0.3, 0.5]), 1.476630),
    ],
)
def test_expected_rank_evidence_has_its_known_values(candidate_law, expected):
    shape = np.array([0.4, 0.35, 0.25]) @ KERNEL
    ratios = np.exp(np.cumsum(shape) - shape / 2)[None, :]
    assert multinomial_expectation(candidate_law, LAW, KERNEL, shape, ratios)[0] == pytest.approx(expected, abs=CLOSE)


# ------------------------------------------------------------------------------------ the promise


@settings(max_examples=60, deadline=None)
@given(few, few, shares, possible, st.floats(1.05, 300.0))
def test_error_evidence_without_tolerance_is_fair_at_any_error_rate(candidate, baseline, rate, part, ratio):
    found = binomial_expectation(
        lambda c, b: error_ratio(c, candidate, b, baseline, 1.0, one(ratio))[0], candidate, baseline, part * rate, rate
    )
    assert found <= 1.0 + ROUNDING


@settings(max_examples=60, deadline=None)
@given(few, few, st.floats(0.0001, 0.05), possible, st.floats(0.1, 12.0), st.floats(1.05, 300.0))
def test_error_evidence_is_fair_whatever_factor_both_arms_share(candidate, baseline, rate, part, factor, excess):
    """An incident multiplies the errors of both arms alike: E1 stays fair."""
    a = 1.1
    rate_baseline, rate_candidate = factor * rate, part * a * factor * rate
    found = binomial_expectation(
        lambda c, b: error_ratio(c, candidate, b, baseline, a, one(a * excess))[0],
        candidate,
        baseline,
        rate_candidate,
        rate_baseline,
    )
    assert found <= 1.0 + ROUNDING


@settings(max_examples=60, deadline=None)
@given(few, few, rates, st.floats(0.001, 0.2), st.floats(0.0, 1.0), st.floats(1e-5, 0.5))
def test_margin_evidence_is_fair_at_and_beyond_the_margin(candidate, baseline, rate, harm, beyond, expected):
    a = 1.25
    border = a * rate + harm
    if border > 1.0:
        rate, border = (1.0 - harm) / a, 1.0
    rate_candidate = min(border + beyond * (1.0 - border), 1.0)
    q = one(expected)
    errors = binomial_expectation(
        lambda c, b: error_margin(c, candidate, b, baseline, a, harm, q / 2, q)[0],
        candidate,
        baseline,
        rate_candidate,
        rate,
    )
    tails = binomial_expectation(
        lambda c, b: tail_margin(one(c), candidate, one(b), baseline, a, harm, q)[0],
        candidate,
        baseline,
        rate_candidate,
        rate,
    )
    assert errors <= 1.0 + ROUNDING
    assert tails <= 1.0 + ROUNDING


laws = st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3).map(lambda parts: np.array(parts) / sum(parts))


@settings(max_examples=25, deadline=None)
@given(laws, laws, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_rank_evidence_is_fair_for_candidates_not_slower_than_the_aged_baseline(law, shape, first, second):
    candidate = law @ KERNEL
    moved = candidate[1] * first
    candidate = candidate + np.array([moved, -moved, 0.0])
    moved = candidate[2] * second
    candidate = candidate + np.array([0.0, moved, -moved])
    found = multinomial_expectation(candidate, law, KERNEL, shape, slow_likelihood_ratios(shape), 3, 3)
    assert (found <= 1.0 + ROUNDING).all()


@given(st.permutations([(3, 50, 1, 900), (0, 12, 4, 800), (2, 40, 0, 870), (0, 0, 0, 5)]))
def test_the_order_of_blocks_does_not_matter_without_restarts(blocks):
    wealth = wager(np.zeros(8), 1.0, np.zeros(8))
    for block in blocks:
        wealth = wager(wealth, 0.0, error_ratio(*block, 1.1, error_ratios(1.1)))
    in_order = sum(error_ratio(*block, 1.1, error_ratios(1.1)) for block in sorted(blocks))
    assert np.log(wealth) == pytest.approx(in_order, abs=1e-9)


@given(st.floats(-700, 60), st.floats(0, 1e6), st.floats(0, 1))
def test_a_dispersion_of_one_changes_nothing(log_evidence, wealth, capital):
    untempered = min(math.exp(log_evidence) * (wealth + capital), 1e30)
    assert wager(one(wealth), capital, one(log_evidence), 1.0)[0] == pytest.approx(untempered, rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(few, few, st.floats(0.001, 0.5), st.floats(1.0, 16.0))
def test_tempered_evidence_stays_fair(candidate, baseline, rate, dispersion):
    found = binomial_expectation(
        lambda c, b: error_ratio(c, candidate, b, baseline, 1.0, one(4.0))[0] / dispersion,
        candidate,
        baseline,
        rate,
        rate,
    )
    assert found <= 1.0 + ROUNDING


def test_wealth_and_evidence_are_clipped():
    assert wager(one(1.0), 0.0, one(1e6))[0] == pytest.approx(math.exp(60.0))
    assert wager(one(1e20), 0.0, one(1e6))[0] == 1e30
    assert wager(one(1.0), 0.0, one(-1e6))[0] == pytest.approx(math.exp(-700.0))


# ------------------------------------------------------------------------------------ scipy as the oracle


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 500), st.integers(1, 500), st.floats(1.2, 300.0))
def test_the_error_ratio_is_a_binomial_likelihood_ratio(bad_candidate, bad_baseline, candidate, baseline, ratio):
    total = bad_candidate + bad_baseline

    def log_likelihood(theta):
        return stats.binom.logpmf(bad_candidate, total, theta * candidate / (theta * candidate + baseline))

    expected = log_likelihood(ratio) - log_likelihood(1.1)
    found = error_ratio(bad_candidate, candidate, bad_baseline, baseline, 1.1, one(ratio))[0]
    assert found == pytest.approx(expected, abs=1e-7)


@settings(deadline=None)
@given(st.floats(0.0, 5000), st.floats(0.1, 5000), st.floats(1.0, 2.0), st.floats(1e-4, 0.2), st.floats(1e-4, 0.75))
def test_the_tail_projection_solves_its_equation(candidate, baseline, margin, harm, tail):
    share, slow = tail_margin_projection(candidate, baseline, margin, harm, one(tail))

    def slope(p):
        c = margin * p + harm
        return candidate * margin * (c - tail) / (c * (1 - c)) + baseline * (p - tail) / (p * (1 - p))

    highest = min(tail, (1 - harm) / margin - 1e-9)
    if candidate == 0 or slope(highest) <= 0:
        expected = highest
    else:
        expected = optimize.brentq(slope, 1e-14, highest, xtol=1e-15, rtol=1e-13)
    assert share[0] == pytest.approx(expected, rel=1e-7)
    assert slow[0] == pytest.approx(min(margin * expected + harm, 1 - 1e-12), rel=1e-7)


@settings(deadline=None)
@given(st.floats(0.1, 5000), st.floats(0.1, 5000), st.floats(1e-4, 0.2), st.floats(1e-5, 0.3), st.floats(0.3, 1.0))
def test_the_error_projection_is_the_nearest_point_of_the_null(candidate, baseline, harm, rate, factor):
    def divergence(p):
        c = 1.25 * p + harm
        ours = factor * rate * math.log(factor * rate / c) - factor * rate + c
        return candidate * ours + baseline * (rate * math.log(rate / p) - rate + p)

    found, _ = error_margin_projection(candidate, baseline, 1.25, harm, one(factor * rate), one(rate))
    best = optimize.minimize_scalar(divergence, bounds=(1e-12, 1.0), method="bounded", options={"xatol": 1e-12})
    assert divergence(found[0]) <= divergence(best.x) * (1 + 1e-9) + 1e-9


def test_without_requests_no_formula_says_anything():
    q = one(0.1)
    assert error_ratio(0, 0, 5, 100, 1.1, one(4.0))[0] == 0.0
    assert error_ratio(5, 100, 0, 0, 1.1, one(4.0))[0] == 0.0
    assert error_margin(0, 0, 0, 0, 1.25, 0.1, q, q)[0] == 0.0
    assert tail_margin(one(0), 0, one(0), 0, 1.25, 0.1, q)[0] == 0.0
    assert slower(np.zeros(3), np.zeros(3), LAW, np.ones((2, 3))).tolist() == [0.0, 0.0]


def test_without_a_baseline_the_null_is_the_harm_budget_alone():
    share, slow = tail_margin_projection(100, 0, 1.15, 0.1, one(0.05))
    assert share[0] == pytest.approx(0.0, abs=1e-12)
    assert slow[0] == pytest.approx(0.1)


def test_margin_evidence_needs_the_candidate_not_the_baseline():
    q = one(0.01)
    assert error_margin(0, 0, 10, 1000, 1.25, 0.01, q, q)[0] == pytest.approx(0.0, abs=1e-9)
    assert tail_margin(one(0), 0, one(10), 1000, 1.25, 0.01, q)[0] == pytest.approx(0.0, abs=1e-9)


# ------------------------------------------------------------------------------------ ageing and alternatives


def test_a_wide_factor_is_applied_in_steps_shorter_than_the_narrowest_bucket():
    bounds = tuple(float(bound) for bound in np.geomspace(10, 1000, 120))
    law = np.diff(np.concatenate([[0.0], stats.norm.cdf((np.log(bounds) - math.log(100)) / 0.5), [1.0]]))
    slowed = np.diff(np.concatenate([[0.0], stats.norm.cdf((np.log(bounds) - math.log(105)) / 0.5), [1.0]]))
    found = aged(law, ageing_kernel(bounds, 1.05))
    assert np.abs(np.cumsum(found) - np.cumsum(slowed)).max() < 0.002


@pytest.mark.parametrize("factor", [1.0, 1.05, 1.3, 3.0])
def test_ageing_keeps_the_number_of_requests(factor):
    kernel = ageing_kernel(EMBEDDED_BOUNDS_MS, factor)
    assert kernel.sum(axis=1) == pytest.approx(np.ones(33))
    assert (kernel >= 0).all()


def test_a_single_bound_can_be_aged():
    assert ageing_kernel((100.0,), 1.25).tolist() == [[0.8, pytest.approx(0.2)], [0.0, 1.0]]


def test_ageing_refuses_to_make_requests_faster():
    with pytest.raises(ValueError, match="`factor` must be at least 1"):
        ageing_kernel((1.0, 2.0), 0.9)


def test_every_alternative_is_slower_than_the_baseline():
    shape = np.array([0.1, 0.4, 0.3, 0.15, 0.04, 0.0099, 0.0001])
    ratios = slow_likelihood_ratios(shape)
    assert ratios.shape == (LATENCY_ALTERNATIVES, 7)
    assert (np.diff(ratios, axis=1) >= 0).all()
    assert (ratios[:, -1] > ratios[:, 0]).all()


def test_embedded_bounds_are_wider_apart_than_the_tolerance():
    assert len(EMBEDDED_BOUNDS_MS) == 32
    assert min(upper / lower for lower, upper in itertools.pairwise(EMBEDDED_BOUNDS_MS)) > 1.05
