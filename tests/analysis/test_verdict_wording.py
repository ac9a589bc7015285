"""The sentence that people read: it says what was found, in which numbers, and what it means."""

from __future__ import annotations

import pytest

from meshctl_analysis.judgement import GatePart, MetricEvidence
from meshctl_analysis.policy import Policy
from meshctl_analysis.totals import ArmTotals
from meshctl_analysis.wording import Findings, message_of, percent

BASELINE = ArmTotals(6731, 0, 45.0, 40.0, 128.0)
CANDIDATE = ArmTotals(68, 3, 90.0, 80.0, 256.0)
NO_LATENCY = ArmTotals(9, 0)


def errors(ratio=None, lower=None):
    return MetricEvidence(0.0, 0.5, ratio, lower, None, True)


def latency(ratio=None):
    return MetricEvidence(0.0, 0.5, ratio, None, None, False)


def found(verdict="undecided", reasons=("evidence",), metrics=None, baseline=BASELINE, candidate=CANDIDATE, **changed):
    values = {
        "policy": Policy(max_error_rate=0.05),
        "bake": False,
        "weakest": GatePart("errors", None, 1.0986),
        "gate_threshold_log": 2.9957,
        "wait": None,
        "share": 0.01,
    } | changed
    metrics = {"errors": errors(), "latency": latency()} if metrics is None else metrics
    return Findings(verdict, reasons, metrics=metrics, baseline=baseline, candidate=candidate, **values)


COUNTED = "candidate failed 3 of 68 requests, baseline 0 of 6731"
SLOWER = "candidate is slower by about 50 % (median 80 ms against 40 ms, 99th percentile 256 ms against 128 ms)"
PERCENTILES = "(median 80 ms against 40 ms, 99th percentile 256 ms against 128 ms)"


@pytest.mark.parametrize(
    ("finding", "expected"),
    [
        (
            found("fail", ("errors",)),
            "candidate failed 3 of 68 requests, baseline 0 of 6731: worse than 1.1x the baseline",
        ),
        (
            found("fail", ("latency",), {"errors": errors(), "latency": latency(2.0)}),
            f"candidate is slower by about 100 % {PERCENTILES}: more than the tolerated 5 %",
        ),
        (
            found(
                "fail", ("latency",), {"errors": errors(), "latency": latency(1.003)}, ArmTotals(9, 0), ArmTotals(9, 0)
            ),
            "candidate is slower: more than the tolerated 5 %",
        ),
        (
            found("fail", ("jointly",), {"errors": errors(), "latency": latency(1.5)}),
            f"errors and latency together are worse than tolerated: {COUNTED}; {SLOWER}",
        ),
        (found("fail", ("service_level",)), "candidate failed 3 of 68 requests: more than the allowed 5 %"),
        (
            found("pass", ("gate",)),
            f"candidate is shown to be no worse than the margin allows: {COUNTED}",
        ),
        (
            found("pass", ("guards",)),
            "nothing is left to compare with, no guard is broken: candidate failed 3 of 68 requests",
        ),
        (
            found("pass", ("bake",), bake=True),
            "nothing speaks against the candidate: candidate failed 3 of 68 requests, baseline 0 of 6731",
        ),
        (
            found(metrics={"errors": errors(), "latency": latency(1.06)}),
            "slower by 6 %: neither proved bad nor good",
        ),
        (
            found(metrics={"errors": errors(1.2, 1.02), "latency": latency(1.0)}),
            "errors 1.20x the baseline's: neither proved bad nor good",
        ),
        (found(), "not enough evidence yet: errors at 3x of the 20x that the gate needs"),
        (
            found(weakest=None, gate_threshold_log=None),
            "not enough evidence yet: candidate failed 3 of 68 requests, baseline 0 of 6731",
        ),
        (found(reasons=("NoTraffic",), wait="NoTraffic"), "no traffic to judge the candidate by"),
        (
            found(reasons=("ShareMismatch",), wait="ShareMismatch", share=0.001),
            "the candidate's share of the requests is not the configured 0.1 %",
        ),
    ],
)
def test_the_sentence_names_the_finding_and_its_numbers(finding, expected):
    assert message_of(finding) == expected


def test_an_uncertain_error_ratio_is_not_called_a_zone():
    assert message_of(found(metrics={"errors": errors(1.2, 0.4)})).startswith("not enough evidence yet")


@pytest.mark.parametrize(("value", "text"), [(0.06, "6 %"), (1.0, "100 %"), (0.01, "1 %"), (0.004, "0.4 %")])
def test_percentages_keep_one_digit_where_they_are_small(value, text):
    assert percent(value) == text
