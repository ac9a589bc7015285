"""Other metrics beside errors and latency: the same promises, one by one and together."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshctl_analysis import others, sequential
from meshctl_analysis.blocks import Arm, Block
from meshctl_analysis.others import Metric
from meshctl_analysis.policy import Policy, Tolerance
from meshctl_analysis.sequential import Stage

POLICY = Policy(warm_up="none")
DECIDING = Stage(0, 0.5, 0.05, 1.0, False, True, 1800.0)
BAKE = Stage(0, 0.8, None, 1.0, True, True, 1800.0)
CHECKOUTS = Metric("checkouts", "share", Tolerance(1.1, 1.25, 0.001))
WAITING = Metric("waiting", "values", Tolerance(1.05, 1.15, 0.01))
BOUNDS = (1.0, 2.0, 4.0, 8.0)


def block(number, candidate, baseline, bounds=()):
    return Block(5.0 * number, 5.0 * number + 5.0, 0.5, Arm(*baseline), Arm(*candidate), bounds)


def requests(count, bad=0):
    """Blocks of errors and latency in which nothing is wrong with either version."""
    return [block(number, (400, bad), (400, bad)) for number in range(count)]


def judged(metrics, of_metrics, count=40, stage=DECIDING, bad=0):
    return others.fold(others.start(POLICY), POLICY, stage, requests(count, bad), metrics, of_metrics)


def shares(count, candidate, baseline):
    return [block(number, candidate, baseline) for number in range(count)]


def values(count, candidate, baseline):
    return [block(n, (sum(candidate), 0, candidate), (sum(baseline), 0, baseline), BOUNDS) for n in range(count)]


GOOD, BAD = (300, 3), (300, 30)
FAST, SLOW = (200, 80, 15, 4, 1), (60, 120, 80, 30, 10)


def test_without_other_metrics_the_word_is_that_of_errors_and_latency():
    blocks = [block(n, (400, n % 3, FAST), (380, n % 2, FAST), BOUNDS) for n in range(30)]
    _, ours = others.fold(others.start(POLICY), POLICY, DECIDING, blocks, (), {})
    _, plain = sequential.fold(sequential.start(POLICY), POLICY, DECIDING, blocks)
    assert ours == plain


def test_a_bad_metric_alone_takes_the_candidate_back_and_is_named_with_its_counts():
    _, word = judged([CHECKOUTS], {"checkouts": shares(8, BAD, GOOD)}, count=8)
    assert (word.verdict, word.reasons, word.blamed) == ("fail", ("checkouts",), ("checkouts",))
    assert word.message == (
        "checkouts: candidate 240 of 2400, baseline 24 of 2400: more than the tolerated 1.1x the baseline"
    )


def test_larger_values_alone_take_the_candidate_back():
    _, word = judged([WAITING], {"waiting": values(8, SLOW, FAST)}, count=8)
    assert (word.verdict, word.blamed) == ("fail", ("waiting",))
    assert "waiting: candidate about" in word.message


@pytest.mark.parametrize(("metric", "of_it"), [(CHECKOUTS, shares(60, GOOD, GOOD)), (WAITING, values(60, FAST, FAST))])
def test_a_gate_opens_when_every_metric_is_shown_to_be_inside_its_margin(metric, of_it):
    _, word = judged([metric], {metric.name: of_it}, count=60)
    assert (word.verdict, word.reasons) == ("pass", ("gate",))
    assert any(part.name.startswith(metric.name) for part in word.gate)


@pytest.mark.parametrize("metric", [CHECKOUTS, WAITING])
@pytest.mark.parametrize("stage", [DECIDING, BAKE])
def test_a_metric_that_nothing_was_counted_of_lets_nobody_through(metric, stage):
    _, alone = judged([], {}, stage=stage)
    _, word = judged([metric], {}, stage=stage)
    assert (alone.verdict, word.verdict) == ("pass", "undecided")
    assert word.message == f"{metric.name}: nothing was counted of the candidate in this stage yet"


def test_values_beyond_every_bound_show_nothing_and_open_no_gate():
    everything = (0, 0, 0, 0, 300)
    _, word = judged([WAITING], {"waiting": values(60, everything, everything)}, count=60)
    assert word.verdict == "undecided"


def test_a_thin_metric_keeps_the_gate_closed_however_much_the_requests_show():
    _, word = judged([CHECKOUTS], {"checkouts": shares(60, (1, 0), (1, 0))}, count=60)
    assert (word.verdict, word.weakest) == ("undecided", "checkouts")


@pytest.mark.parametrize("of_it", [shares(20, BAD, GOOD), shares(20, GOOD, GOOD), []], ids=["bad", "good", "none"])
@pytest.mark.parametrize("stage", [DECIDING, BAKE])
def test_a_dry_run_changes_no_word_and_is_told(of_it, stage):
    dry = replace(CHECKOUTS, decides=False)
    _, plain = judged([], {}, stage=stage)
    _, word = judged([dry], {"checkouts": of_it}, stage=stage)
    found = word.metrics["checkouts"]
    assert replace(word, metrics=plain.metrics) == plain
    assert {name: word.metrics[name] for name in plain.metrics} == plain.metrics
    assert not found.decides
    assert found.weight == 0.0
    if of_it and of_it[0].candidate.bad == 30:
        assert found.verdict == "fail"
        assert found.log > word.threshold_log


def test_metrics_share_the_evidence_of_the_run_in_equal_parts():
    _, word = judged([CHECKOUTS, WAITING], {"checkouts": shares(3, BAD, GOOD), "waiting": values(3, FAST, FAST)}, 3)
    parts = [each.weight * math.exp(each.log) for each in word.metrics.values()]
    assert [each.weight for each in word.metrics.values()] == [1 / 3] * 3
    assert math.exp(word.evidence_log) == pytest.approx(sum(parts))


def test_evidence_is_carried_through_stages_and_gates_begin_anew():
    state, _ = judged([CHECKOUTS], {"checkouts": shares(30, GOOD, GOOD)}, count=30)
    following = replace(DECIDING, entry=1)
    state, word = others.fold(state, POLICY, following, [], [CHECKOUTS], {})
    assert word.verdict == "undecided"
    assert [part.log for part in word.gate][-1] == 0.0
    late = [block(number, BAD, GOOD) for number in range(30, 42)]
    plain = [block(number, (400, 0), (400, 0)) for number in range(30, 42)]
    _, word = others.fold(state, POLICY, following, plain, [CHECKOUTS], {"checkouts": late})
    assert word.verdict == "fail"


COUNTS = st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda pair: (max(pair), min(pair)))
BUCKETS = st.tuples(*[st.integers(0, 30)] * 5)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(COUNTS, COUNTS, BUCKETS, BUCKETS), min_size=1, max_size=12),
    st.lists(st.integers(1, 3), min_size=12, max_size=12),
)
def test_however_reading_is_cut_up_state_and_word_are_the_same_to_the_last_bit(story, cuts):
    of_both = {
        "checkouts": [block(n, new, old) for n, (new, old, _, _) in enumerate(story)],
        "waiting": [
            block(n, (sum(new), 0, new), (sum(old), 0, old), BOUNDS) for n, (_, _, new, old) in enumerate(story)
        ],
    }
    plain, metrics = requests(len(story)), [CHECKOUTS, replace(WAITING, decides=False)]
    whole = others.fold(others.start(POLICY), POLICY, DECIDING, plain, metrics, of_both)
    state, first = others.start(POLICY), 0
    for cut in cuts:
        if first < len(story):
            part = slice(first, first + cut)
            state = others.load(others.dump(state))
            found = {name: blocks[part] for name, blocks in of_both.items()}
            state, word = others.fold(state, POLICY, DECIDING, plain[part], metrics, found)
            first += cut
    assert first < len(story) or (others.dump(state), word) == (others.dump(whole[0]), whole[1])


@cache
def _value(first, second):
    """The metric's e-value after two blocks of three and four events with so many bad ones."""
    of_it = [block(0, (3, first[0]), (4, first[1])), block(1, (3, second[0]), (4, second[1]))]
    _, word = judged([CHECKOUTS], {"checkouts": of_it}, count=2)
    return math.exp(word.metrics["checkouts"].log)


def _law(count, rate):
    return [math.comb(count, bad) * rate**bad * (1 - rate) ** (count - bad) for bad in range(count + 1)]


@settings(max_examples=25, deadline=None)
@given(st.floats(0.001, 0.6), st.floats(0.001, 0.6))
def test_the_evidence_of_a_share_is_fair_over_blocks_whatever_its_rate_does(first_rate, second_rate):
    """By enumeration: on the border of what is tolerated no way to look gains anything on average."""
    total = 0.0
    outcomes = [(new, old) for new in range(4) for old in range(5)]
    laws = []
    for rate in (first_rate, second_rate):
        new, old = _law(3, min(rate * 1.1, 1.0)), _law(4, rate)
        laws.append({pair: new[pair[0]] * old[pair[1]] for pair in outcomes})
    for first in outcomes:
        total += laws[0][first] * sum(laws[1][second] * _value(first, second) for second in outcomes)
    assert total <= 1.0 + 1e-9


def test_looked_at_after_every_block_equal_versions_are_rarely_taken_back():
    """Ville's inequality over whole runs: at most the promised share crosses, however often one looks."""
    policy, seeds = replace(POLICY, alpha=0.25), 24
    random, crossed = np.random.default_rng(20261123), 0
    for _ in range(seeds):
        state, metrics = others.start(policy), [CHECKOUTS, WAITING]
        for number in range(20):
            bad = [int(random.binomial(200, 0.05)) for _ in range(2)]
            law = [tuple(map(int, random.multinomial(100, (0.4, 0.3, 0.2, 0.07, 0.03)))) for _ in range(2)]
            found = {
                "checkouts": [block(number, (200, bad[0]), (200, bad[1]))],
                "waiting": [block(number, (100, 0, law[0]), (100, 0, law[1]), BOUNDS)],
            }
            plain = [block(number, (400, 0), (400, 0))]
            state, word = others.fold(state, policy, DECIDING, plain, metrics, found)
            if word.verdict == "fail":
                crossed += 1
                break
    assert crossed <= 0.25 * seeds
