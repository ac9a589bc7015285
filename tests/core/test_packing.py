"""A packed block is exactly the block."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshctl.core.model import ArmCounts, ArmTotals, Block
from meshctl.core.packing import canonical, digests_of, inputs_of, pack, unpack
from tests.adapters.store_values import NOON, block

INSTANTS = st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
COUNTS = st.integers(0, 10**12)
ARMS = st.builds(ArmCounts, COUNTS, COUNTS, st.lists(COUNTS, max_size=20).map(tuple))
BLOCKS = st.builds(
    Block,
    start=INSTANTS,
    end=INSTANTS,
    entry=st.integers(-1, 50),
    weight=st.integers(0, 1000).map(lambda tenth: tenth / 10),
    baseline=ARMS,
    candidate=ARMS,
    bounds_ms=st.lists(st.floats(0.001, 1e6), max_size=20).map(tuple),
    approximate=st.booleans(),
)


@given(BLOCKS)
def test_what_is_packed_comes_back_equal(value):
    assert unpack(pack(value)) == value


@given(BLOCKS, BLOCKS)
def test_different_blocks_have_different_lines(one, other):
    assert (pack(one) == pack(other)) == (one == other)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[1,2]",
        "[1,2,3,4,5,6,7]",
        "[0,0,0,0,[1],[1,2],[]]",
        "null",
        "[{},0,0,0,[0,0],[0,0],[]]",
        "[0,0,0,0,[0,0],[0,0],[],2]",
    ],
)
def test_what_is_not_a_block_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        unpack(text)


def test_the_inputs_of_a_decision_are_window_count_and_sums():
    inputs = inputs_of([pack(block(second, bad=second % 2)) for second in range(34)])
    assert (inputs.start, inputs.end, inputs.blocks) == (NOON, NOON + timedelta(seconds=34), 34)
    assert inputs.baseline == ArmTotals(34 * 198, 0)
    assert inputs.candidate == ArmTotals(68, 17)


def test_the_inputs_of_a_decision_tell_how_many_blocks_are_approximate():
    lines = [pack(replace(block(second), approximate=second >= 30)) for second in range(34)]
    assert inputs_of(lines).approximate == 4
    assert inputs_of(lines[:30]).approximate == 0


def test_no_blocks_make_empty_inputs_with_the_digest_of_nothing():
    inputs = inputs_of([])
    assert (inputs.start, inputs.end, inputs.blocks, inputs.baseline.requests) == (None, None, 0, 0)
    assert inputs.digest == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_canonical_json_has_one_text_for_one_value_and_none_for_nan():
    assert canonical({"b": [1, 2.5, None], "a": "ä"}) == '{"a":"ä","b":[1,2.5,null]}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical(float("nan"))


def test_the_digest_of_every_beginning_is_told_in_one_go():
    lines = [pack(block(second)) for second in range(5)]
    assert list(digests_of(lines)) == [inputs_of(lines[:count]).digest for count in range(6)]
