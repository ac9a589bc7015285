"""The fixed-sample tests against published numbers, scipy, and slow twins written from the definitions."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from meshctl_analysis.brunnermunzel import brunner_munzel, brunner_munzel_counts
from meshctl_analysis.checks import InvalidSample
from meshctl_analysis.fisher import (
    barnard_exact,
    binomial_test,
    boschloo_exact,
    fisher_exact,
    probability_worse,
)
from meshctl_analysis.mannwhitney import mann_whitney, mann_whitney_counts
from meshctl_analysis.spending import looks_passed, part_of_look, part_of_stage, spent

# Brunner & Munzel (2000), table 1: pain scores after two treatments.
SCORES_ONE = [1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 2, 4, 1, 1]
SCORES_TWO = [3, 3, 4, 3, 1, 2, 3, 1, 1, 5, 4]

samples = st.lists(st.integers(0, 12), min_size=2, max_size=40)
tables = st.tuples(st.integers(0, 30), st.integers(0, 200), st.integers(0, 30), st.integers(0, 200))


def test_grouped_mann_whitney_gives_the_published_vector():
    test = mann_whitney_counts([10, 30, 40, 20], [150, 330, 330, 90])
    assert test.u == 53100
    assert test.auc == pytest.approx(0.59, abs=1e-12)
    assert test.p_value == pytest.approx(0.000902148746, abs=1e-6)


def test_mann_whitney_of_the_pain_scores_gives_the_published_vector():
    test = mann_whitney(SCORES_TWO, SCORES_ONE)
    assert len(SCORES_ONE) * len(SCORES_TWO) - test.u == 32.5
    assert 2 * test.p_value == pytest.approx(0.007740787, abs=1e-6)


def test_brunner_munzel_of_the_pain_scores_gives_the_published_vector():
    test = brunner_munzel(SCORES_TWO, SCORES_ONE, two_sided=True)
    assert test.z == pytest.approx(3.137467, abs=1e-6)
    assert test.p_value == pytest.approx(0.005786209, abs=1e-6)


def test_fisher_and_its_binomial_approximation_give_the_published_vectors():
    assert fisher_exact(12, 500, 35, 4500) == pytest.approx(0.001738736, abs=1e-6)
    assert binomial_test(12, 500, 35, 4500) == pytest.approx(0.001837738, abs=1e-6)


def test_barnard_and_boschloo_give_the_published_vectors():
    assert 2 * barnard_exact(12, 15, 7, 15) == pytest.approx(0.068153434, abs=1e-6)
    assert boschloo_exact(12, 15, 7, 15) == pytest.approx(0.034109155, abs=1e-6)


def test_spending_gives_the_published_vector():
    figures = [spent(0.05, elapsed) for elapsed in (0.25, 0.5, 0.75, 1.0)]
    assert figures == pytest.approx([0.000089, 0.005575, 0.023625, 0.05], abs=1e-6)


@given(samples, samples)
def test_mann_whitney_equals_scipy_on_any_sample(candidate, baseline):
    assume(len(set(candidate + baseline)) > 1)
    mine = mann_whitney(candidate, baseline)
    theirs = scipy.stats.mannwhitneyu(candidate, baseline, alternative="greater", method="asymptotic")
    assert mine.u == pytest.approx(theirs.statistic)
    assert mine.p_value == pytest.approx(theirs.pvalue, abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=8))
def test_mann_whitney_on_counts_equals_the_count_of_all_pairs(buckets):
    candidate, baseline = zip(*buckets, strict=True)
    assume(sum(candidate) and sum(baseline))
    pairs = itertools.product(enumerate(candidate), enumerate(baseline))
    wins = sum(Fraction(n * m) * (Fraction(1, 2) if i == j else int(i > j)) for (i, n), (j, m) in pairs)
    assert mann_whitney_counts(candidate, baseline).u == pytest.approx(float(wins))


@given(samples, samples)
def test_brunner_munzel_equals_scipy_where_scipy_has_an_answer(candidate, baseline):
    with np.errstate(all="ignore"):
        mine = brunner_munzel(candidate, baseline)
        assume(math.isfinite(mine.z) and mine.z != 0)
        theirs = scipy.stats.brunnermunzel(baseline, candidate, alternative="less")
    assert mine.z == pytest.approx(theirs.statistic, abs=1e-9)
    assert mine.p_value == pytest.approx(theirs.pvalue, abs=1e-9)


@given(tables)
def test_fisher_equals_scipy_on_any_table(table):
    bad_candidate, good_candidate, bad_baseline, good_baseline = table
    theirs = scipy.stats.fisher_exact(
        [[bad_candidate, good_candidate], [bad_baseline, good_baseline]], alternative="greater"
    )
    mine = fisher_exact(bad_candidate, bad_candidate + good_candidate, bad_baseline, bad_baseline + good_baseline)
    assert mine == pytest.approx(theirs.pvalue, abs=1e-9)


@pytest.mark.parametrize("more", [0, 2_000, 200_000])
def test_fisher_of_huge_tables_equals_the_hypergeometric_tail(more):
    size = 3_000_000
    theirs = scipy.stats.hypergeom.sf(size // 2 + more - 1, 2 * size, size, size + more)
    assert fisher_exact(size // 2 + more, size, size // 2, size) == pytest.approx(theirs, abs=1e-6)


@given(tables, st.sampled_from([1.0, 1.1, 2.0]))
def test_the_binomial_test_equals_scipy_on_any_table(table, ratio):
    bad_candidate, good_candidate, bad_baseline, good_baseline = table
    requests_candidate, requests_baseline = bad_candidate + good_candidate, bad_baseline + good_baseline
    assume(requests_candidate and requests_baseline and bad_candidate + bad_baseline)
    share = ratio * requests_candidate / (ratio * requests_candidate + requests_baseline)
    theirs = scipy.stats.binomtest(bad_candidate, bad_candidate + bad_baseline, share, alternative="greater")
    mine = binomial_test(bad_candidate, requests_candidate, bad_baseline, requests_baseline, ratio)
    assert mine == pytest.approx(theirs.pvalue, abs=1e-9)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10), st.integers(0, 10))
def test_the_unconditional_tests_are_never_weaker_than_fisher(bad_candidate, bad_baseline):
    exact = fisher_exact(bad_candidate, 10, bad_baseline, 10)
    assert boschloo_exact(bad_candidate, 10, bad_baseline, 10) <= exact + 1e-6


def test_values_that_are_all_tied_prove_nothing():
    assert mann_whitney([7, 7, 7], [7, 7]).p_value == 1.0
    assert mann_whitney([7], [7]).p_value == 1.0
    assert brunner_munzel([7, 7, 7], [7, 7]).p_value == 0.5
    assert brunner_munzel([7, 7, 7], [7, 7], two_sided=True).p_value == 1.0


def test_brunner_munzel_of_arms_that_do_not_overlap_is_certain():
    assert brunner_munzel([8, 9], [1, 2]).p_value == 0.0
    assert brunner_munzel([1, 2], [8, 9]).p_value == 1.0


def test_one_value_is_too_few_for_brunner_munzel():
    with pytest.raises(InvalidSample, match="at least two values"):
        brunner_munzel([1], [1, 2])


@pytest.mark.parametrize("values", [[], [[1.0]], [math.nan], [1.0, math.inf]])
def test_a_sample_that_is_empty_or_not_finite_is_refused(values):
    with pytest.raises(InvalidSample, match="`candidate` must"):
        mann_whitney(values, [1.0, 2.0])


@pytest.mark.parametrize("counts", [[], [[1]], [-1, 2], [math.nan, 1], [0, 0]])
def test_counts_that_are_no_counts_are_refused(counts):
    with pytest.raises(InvalidSample, match="`candidate` must"):
        mann_whitney_counts(counts, [1, 2])


def test_histograms_of_different_length_are_refused():
    with pytest.raises(InvalidSample, match="2 buckets and `baseline` 3"):
        mann_whitney_counts([1, 2], [1, 2, 3])


@pytest.mark.parametrize("table", [(2, 1, 0, 5), (-1, 5, 0, 5), (0, 5, 6, 5), (0, -1, 0, 5)])
def test_more_failures_than_requests_are_refused(table):
    for test in (fisher_exact, binomial_test, boschloo_exact, probability_worse):
        with pytest.raises(InvalidSample, match="0 <= bad <= requests"):
            test(*table)


def test_a_ratio_that_is_not_positive_is_refused():
    with pytest.raises(InvalidSample, match="`ratio` must be positive"):
        binomial_test(1, 2, 1, 2, ratio=0)


def test_large_tables_are_refused_by_the_slow_exact_tests():
    with pytest.raises(InvalidSample, match="at most 200 requests"):
        boschloo_exact(1, 150, 1, 150)


def test_an_empty_arm_proves_nothing_about_errors():
    assert binomial_test(0, 0, 5, 100) == 1.0
    assert binomial_test(5, 5, 0, 0) == 1.0


def test_the_posterior_probability_agrees_with_a_simulation():
    draw = np.random.default_rng(20240601)
    simulated = (draw.beta(13, 489, 400_000) > draw.beta(36, 4466, 400_000)).mean()
    assert probability_worse(12, 500, 35, 4500) == pytest.approx(simulated, abs=3e-4)
    assert probability_worse(5, 100, 5, 100) == pytest.approx(0.5, abs=1e-9)


def test_the_looks_of_one_stage_spend_its_alpha_and_no_more():
    looks = [0.05, 0.1, 0.4, 0.7, 1.0, 1.7]
    parts = [part_of_look(0.01, before, now) for before, now in itertools.pairwise([0.0, *looks])]
    assert sum(parts) == pytest.approx(0.01)
    assert parts[-1] == 0.0
    assert spent(0.01, 0) == 0.0


def test_however_many_entries_a_run_has_their_parts_stay_below_alpha():
    parts = [part_of_stage(0.01, entry) for entry in range(60)]
    assert sum(parts) == pytest.approx(0.01)
    assert all(part > 0 for part in parts)
    assert parts[:4] == [pytest.approx(0.002)] * 4


def test_a_look_is_due_once_the_elapsed_share_has_passed_it():
    assert looks_passed((0.25, 1.0), 0.2, 0.25)
    assert looks_passed((0.25, 1.0), 0.2, 0.3)
    assert not looks_passed((0.25, 1.0), 0.25, 0.9)


@pytest.mark.parametrize(("alpha", "elapsed"), [(0, 0.5), (1, 0.5), (math.nan, 0.5), (0.05, -1), (0.05, math.nan)])
def test_impossible_spending_is_refused(alpha, elapsed):
    with pytest.raises(InvalidSample, match="must"):
        spent(alpha, elapsed)


def test_a_negative_stage_entry_is_refused():
    with pytest.raises(InvalidSample, match="`entry` must not be negative"):
        part_of_stage(0.01, -1)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=8))
def test_brunner_munzel_says_the_same_of_counts_and_of_the_values_they_count(pairs):
    slow, base = ([count for count, _ in pairs], [count for _, count in pairs])
    assume(sum(slow) >= 2 and sum(base) >= 2)
    values = [[float(value) for value, count in enumerate(arm) for _ in range(count)] for arm in (slow, base)]
    grouped, raw = brunner_munzel_counts(slow, base), brunner_munzel(*values)
    assert grouped.auc == pytest.approx(raw.auc)
    assert grouped.p_value == pytest.approx(raw.p_value)
