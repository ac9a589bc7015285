"""A version's subset: a DNS label, the same every time, never a word that changes its meaning."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshctl.core.errors import InvalidInput
from meshctl.core.names import same_subset, subset_name


@pytest.mark.parametrize(
    ("version", "subset"),
    [
        ("2.1.0", "v2-1-0"),
        ("v2.1.0", "v2-1-0"),
        ("2.1.0-rc.1", "v2-1-0-rc-1"),
        ("2026_11_23", "v2026-11-23"),
        ("stable", "v-stable"),
        ("canary", "v-canary"),
        ("Main-7f3a", "v-main-7f3a"),
        ("version", "v-version"),
    ],
)
def test_a_subset_says_which_version_it_is(version, subset):
    assert subset_name(version) == subset


@given(st.text(min_size=1, max_size=300))
def test_every_subset_is_a_dns_label_and_always_the_same(version):
    try:
        name = subset_name(version)
    except InvalidInput:
        assert not re.search("[a-z0-9]", version.lower())
        return
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", name)
    assert name == subset_name(version)


def test_long_versions_that_differ_only_at_their_end_keep_different_subsets():
    assert subset_name("1" * 80 + "a") != subset_name("1" * 80 + "b")


def test_a_version_without_letters_or_digits_is_refused():
    with pytest.raises(InvalidInput, match="neither a letter nor a digit"):
        subset_name("...")


def test_two_versions_of_one_subset_are_found():
    assert same_subset(["2.1.0", "2.2.0", "2-1-0", "v2.1.0"]) == [("2.1.0", "2-1-0"), ("2.1.0", "v2.1.0")]
    assert same_subset(["2.1.0", "2.1.0"]) == []
