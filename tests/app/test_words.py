"""Numbers as people read them."""

from __future__ import annotations

import math

import pytest

from meshctl.app import words
from meshctl.app.views import EvidenceView


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0s"),
        (0, "0s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (134, "2m14s"),
        (3780, "1h03m"),
        (266_400, "3d02h"),
        (math.inf, "a very long time"),
    ],
)
def test_spans(seconds, text):
    assert words.span(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "about 5s"), (21, "about 25s"), (400, "about 7m"), (9000, "about 2h"), (math.inf, "no end in sight")],
)
def test_estimates_are_no_finer_than_they_can_be(seconds, text):
    assert words.about(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (1500, "1.5k"), (24_310, "24.3k"), (999_999, "1000k"), (1_200_000, "1.2M")],
)
def test_counts_never_need_more_than_five_signs(number, text):
    assert words.count(number) == text


@pytest.mark.parametrize(("share", "text"), [(None, "-"), (0.0, "0.00 %"), (0.0441, "4.4 %"), (0.31, "31 %")])
def test_shares(share, text):
    assert words.percent(share) == text


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (1.06, "slower by 6 %"),
        (0.97, "faster by 3 %"),
        (1.004, "equal"),
        (4.1, "slower by a factor of 4.1"),
        (math.inf, "slower without bound"),
        (0.0, "faster altogether"),
    ],
)
def test_ratios(ratio, text):
    assert words.surplus(ratio, "slower", "faster") == text


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (0.84, "0.84"), (41.23, "41.2"), (1250.4, "1250")])
def test_latencies(value, text):
    assert words.milliseconds(value) == text


@pytest.mark.parametrize(
    ("log", "share", "text"),
    [
        (-2.0, 0.0, "0 % of a proof"),
        (2.4, 0.5, "50 % of a proof"),
        (4.8, 1.0, "proved"),
        (math.inf, 1.0, "proved"),
        (math.nan, 0.0, "0 % of a proof"),
    ],
)
def test_evidence_is_told_as_a_part_of_a_proof(log, share, text):
    evidence = EvidenceView(log, 4.8)
    assert evidence.share == share
    assert words.proof(evidence) == text
