"""Envoy's stats text as counters: what is good, bad, or none of the version's business."""

from __future__ import annotations

import pytest

from meshctl.adapters.envoy.bootstrap import BOUNDS_MS
from meshctl.adapters.envoy.counters import Counts, outcome_of, parse_counters


def line(cluster: str, count: int, *, code: str = "200", flags: str = "-", traffic: str = "shared") -> str:
    return f'envoy_meshctl_requests{{cluster="{cluster}",traffic="{traffic}",flags="{flags}",code="{code}"}} {count}\n'


def histogram(cluster: str, counts: dict[float, int], flags: str = "-") -> str:
    total, lines = 0, []
    for bound in (*BOUNDS_MS, float("inf")):
        total += counts.get(bound, 0)
        edge = "+Inf" if bound == float("inf") else f"{bound * 1000:g}"
        labels = f'cluster="{cluster}",traffic="shared",flags="{flags}",le="{edge}"'
        lines.append(f"envoy_meshctl_duration_bucket{{{labels}}} {total}\n")
    return "".join(lines)


def test_requests_are_counted_per_version_of_the_service():
    text = line("shop.v1", 90) + line("shop.v1", 3, code="500") + line("shop.v2", 7) + line("cart.v1", 50)
    found = parse_counters(text, "shop")
    assert {subset: (counts.requests, counts.bad) for subset, counts in found.items()} == {"v1": (93, 3), "v2": (7, 0)}


def test_previews_are_not_part_of_the_comparison():
    assert parse_counters(line("shop.v2", 7, traffic="addressed"), "shop") == {}


@pytest.mark.parametrize(
    ("code", "flags", "outcome"),
    [
        ("200", "-", "good"),
        ("404", "-", "good"),
        ("500", "-", "bad"),
        ("503", "UH", "bad"),
        ("503", "UF,URX", "bad"),
        ("504", "UT", "bad"),
        ("200", "UC", "bad"),
        ("0", "DC", "left out"),
        ("200", "DC", "left out"),
        ("500", "DC", "bad"),
        ("0", "-", "bad"),
        ("429", "RL", "good"),
    ],
)
def test_status_and_flags_decide_together(code, flags, outcome):
    assert outcome_of(code, frozenset(flags.split(","))) == outcome


def test_clients_that_hang_up_are_in_no_count_and_no_histogram():
    text = line("shop.v1", 5) + line("shop.v1", 2, code="0", flags="DC") + histogram("shop.v1", {10.0: 5})
    found = parse_counters(text + histogram("shop.v1", {10.0: 2}, flags="DC"), "shop")["v1"]
    assert (found.requests, sum(found.latency)) == (5, 5)


def test_cumulated_buckets_become_counts_per_bucket():
    found = parse_counters(histogram("shop.v1", {1.0: 2, 40.0: 3, float("inf"): 1}), "shop")["v1"]
    assert [found.latency[0], found.latency[BOUNDS_MS.index(40.0)], found.latency[-1], sum(found.latency)] == [
        2,
        3,
        1,
        6,
    ]


def test_a_histogram_with_other_bounds_is_an_error_and_not_a_guess():
    text = 'envoy_meshctl_duration_bucket{cluster="shop.v1",traffic="shared",flags="-",le="123"} 1\n'
    with pytest.raises(ValueError, match="did not ask for"):
        parse_counters(text, "shop")


def test_a_difference_is_what_came_since():
    before, after = Counts(10, 1), Counts(25, 3)
    before.latency[4], after.latency[4] = 9, 22
    found = after.since(before)
    assert (found.requests, found.bad, found.latency[4]) == (15, 2, 13)


def test_a_counter_that_fell_has_started_anew():
    before, after = Counts(1000, 10), Counts(7, 1)
    before.latency[4], after.latency[4] = 990, 6
    found = after.since(before)
    assert (found.requests, found.bad, found.latency[4]) == (7, 1, 6)


def test_bounds_rise_and_fit_the_bins_that_envoy_keeps():
    assert list(BOUNDS_MS) == sorted(set(BOUNDS_MS))
    for bound in BOUNDS_MS:
        assert float(f"{bound:.2g}") == bound, "two significant digits, else Envoy interpolates"
