"""Metrics of a release's own: what may be written, what it means, and how it is kept."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshctl.adapters.wire import WireError, decode, encode
from meshctl.core.metricrules import allowed
from meshctl.core.model import (
    AnalysisSpec,
    ArmCounts,
    Block,
    CustomCounts,
    CustomMetric,
    Engine,
    Metadata,
    MetricKind,
    Release,
    ReleaseSpec,
    Tolerance,
)
from meshctl.core.packing import inputs_of, pack, unpack
from meshctl.core.selectors import LabelMatch, read_series
from meshctl.core.tenancy import Claims
from meshctl.core.terms import terms_of
from meshctl.core.validation import validate_release
from tests.adapters.store_values import run

BAD, TOTAL = 'orders_total{result="failed",version="{{version}}"}', 'orders_total{version="{{version}}"}'
ORDERS = CustomMetric("failed-orders", MetricKind.COUNTER_RATIO, bad=BAD, total=TOTAL)
WAITING = CustomMetric("waiting", MetricKind.HISTOGRAM, buckets='waiting_seconds_bucket{version="{{version}}"}')
QUEUE = CustomMetric("queue", MetricKind.GAUGE, value='queue_length{pod=~"shop-{{subset}}-.*"}')


def release(*metrics, **analysis):
    spec = ReleaseSpec(version="2.1.0", service="shop", analysis=AnalysisSpec(metrics=metrics, **analysis))
    return Release(Metadata("shop", "prod"), spec)


def problems(*metrics, embedded=False, claims=None, **analysis):
    found = validate_release(release(*metrics, **analysis), embedded=embedded, claims=claims)
    return {".".join(map(str, each.path[2:])): each.message for each in found}


def test_a_whole_metric_is_accepted():
    assert problems(ORDERS, replace(ORDERS, name="other", dry_run=True, interval=timedelta(seconds=15))) == {}
    assert problems(WAITING, QUEUE) == {}


def test_a_metric_allows_what_is_usual_for_its_kind_where_it_does_not_say():
    assert allowed(ORDERS) == Tolerance(1.10, 1.25, 0.001)
    assert allowed(replace(ORDERS, margin=2.0, harm=0.01)) == Tolerance(1.10, 2.0, 0.01)
    assert allowed(WAITING) == Tolerance(1.05, 1.15, 0.01)
    assert allowed(QUEUE) == Tolerance(1.10, 1.50, 0.10)


@pytest.mark.parametrize(
    ("changes", "place", "words"),
    [
        ({"name": "Failed Orders"}, "name", "lower-case letters, digits and '-'"),
        ({"name": "latency"}, "name", "'latency' is what every release is judged by"),
        ({"total": ""}, "total", "is missing: a counter-ratio has bad and total"),
        ({"buckets": TOTAL}, "buckets", "belongs to kind: histogram; a counter-ratio has bad and total"),
        ({"bad": "rate(x[1m])"}, "bad", "rate() has no place here"),
        ({"bad": "sum by (x) (y)"}, "bad", "sum() has no place here"),
        ({"bad": 'x{version="{{version}}"}[5m]'}, "bad", "needs no range"),
        ({"bad": 'x{version="{{version}}"} or y'}, "bad", "found 'or y' after them"),
        ({"bad": 'x{version="{{version}}'}, "bad", "is not read further than"),
        ({"bad": 'x{version="{{version}}" job="a"}'}, "bad", "has no comma and no '}'"),
        ({"bad": '{__name__="x",version="{{version}}"}'}, "bad", "must begin with the name of a metric"),
        ({"bad": 'x{__name__="y",version="{{version}}"}'}, "bad", "not by __name__"),
        ({"bad": 'x{version="2.1.0"}'}, "bad", "does not tell the versions apart"),
        ({"bad": 'x{version="{{vesrion}}"}'}, "bad", "did you mean {{version}}?"),
        ({"bad": 'x{version="{{version"}'}, "bad", "without its end"),
        ({"bad": 'x{version=~"{{version}}("}'}, "bad", "has no regular expression in version"),
        ({"bad": r'x{version="{{version}}\d"}'}, "bad", "write \\\\d for a backslash"),
        ({"bad": TOTAL + " " * 1000 + "x"}, "bad", "at most 1000 characters"),
        ({"tolerance": 0.9}, "tolerance", "at least 1"),
        ({"margin": 1.05}, "margin", "greater than tolerance, 1.1"),
        ({"harm": 0.0}, "harm", "between 0 and 1"),
        ({"interval": timedelta(0)}, "interval", "must be from 1s to 5m"),
    ],
)
def test_what_is_wrong_is_told_at_its_field(changes, place, words):
    found = problems(replace(ORDERS, **changes))
    assert list(found) == [f"metrics.0.{place}"]
    assert words in found[f"metrics.0.{place}"]


def test_two_metrics_of_one_name_too_many_and_another_engine_are_refused():
    assert "stands here twice" in problems(ORDERS, ORDERS)["metrics.1.name"]
    many = [replace(ORDERS, name=f"m{number}") for number in range(9)]
    assert "at most 8 metrics, found 9" in problems(*many)["metrics"]
    assert problems(ORDERS, engine=Engine.CLASSIC)["metrics"].startswith("failed-orders: judged by engine: sequential")


def test_the_embedded_mesh_refuses_them_by_name():
    found = problems(ORDERS, replace(ORDERS, name="other"), embedded=True)
    told = "failed-orders, other: read from Prometheus, and the embedded mesh has none; leave them out here"
    assert found == {"metrics": told}


def test_what_a_kind_or_a_field_may_be_called_is_told():
    with pytest.raises(WireError, match="must be one of: counter-ratio, histogram, gauge, found 'counter_ratio'"):
        decode(CustomMetric, {"name": "x", "kind": "counter_ratio"})
    with pytest.raises(WireError, match="did you mean 'dryRun'"):
        decode(CustomMetric, {"name": "x", "kind": "gauge", "dryrun": True})
    assert decode(CustomMetric, encode(ORDERS)) == ORDERS


@pytest.mark.parametrize(
    ("label", "refused"),
    [
        ('namespace="others"', True),
        ('namespace=~".*"', True),
        ('namespace!="x"', True),
        ('namespace="prod"', False),
        ('namespace="{{namespace}}"', False),
        ('team="others"', False),
    ],
)
def test_series_of_another_namespace_are_refused_where_an_operator_watches(label, refused):
    metric = replace(ORDERS, bad=f'orders_total{{version="{{{{version}}}}",{label}}}')
    found = problems(metric, claims=Claims())
    assert ("metrics.0.bad" in found) == refused
    if refused:
        assert "only series of namespace prod are open; leave the label out, it is added" in found["metrics.0.bad"]
    assert problems(metric, claims=Claims(namespace_label="")) == {}


# ------------------------------------------------------------------------------------ selectors


@pytest.mark.parametrize("quote", ['"', "'", "`"])
def test_quotes_of_each_kind_are_read(quote):
    series = read_series(f"a:b_total {{ x = {quote}1{quote} , y!~{quote}v{{{{ version }}}}.*{quote},}}")
    assert series.metric == "a:b_total"
    assert series.matches == (LabelMatch("x", "=", "1"), LabelMatch("y", "!~", "v{{ version }}.*"))
    assert series.places == {"version"}


@given(st.text(max_size=30), st.sampled_from(["=", "!=", "=~", "!~"]))
def test_whatever_a_version_is_called_it_is_taken_letter_by_letter(version, operator):
    match = LabelMatch("version", operator, "a{{version}}b").filled({"version": version})
    if operator in ("=~", "!~"):
        assert re.fullmatch(match.value, f"a{version}b", re.DOTALL)
    else:
        assert match.value == f"a{version}b"


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused_in_words(text):
    try:
        series = read_series(text)
    except ValueError as refusal:
        words = str(refusal)
    else:
        words = series.metric
    assert words


# ------------------------------------------------------------------------------------ records

NOW = datetime(2026, 11, 23, 7, 0, tzinfo=UTC)
COUNTS = st.tuples(st.integers(0, 10**9), st.integers(0, 10**6), st.lists(st.integers(0, 99), max_size=3))
ARMS = COUNTS.map(lambda each: ArmCounts(each[0], each[1], tuple(each[2])))
CUSTOMS = st.lists(
    st.builds(
        CustomCounts,
        st.sampled_from(["orders", "b"]),
        st.just(NOW - timedelta(seconds=9)),
        st.just(NOW + timedelta(microseconds=7)),
        ARMS,
        ARMS,
        st.sampled_from([(), (0.5, 2.0)]),
    ),
    max_size=3,
)


@given(CUSTOMS, st.booleans())
def test_a_packed_block_holds_them_and_comes_back_equal(custom, approximate):
    arms = ArmCounts(10, 1, (1, 2)), ArmCounts(3, 0, (0, 1))
    block = Block(NOW, NOW + timedelta(seconds=5), 2, 10.0, *arms, (5.0,), approximate, tuple(custom))
    assert unpack(pack(block)) == block
    assert inputs_of([pack(block)] * 3).approximate == 3 * approximate
    without = replace(block, custom=())
    assert (pack(block) == pack(without)) == (not custom)


@pytest.mark.parametrize("behind", ["[2]", '["x"]', "1,1", "[[1]],1", "[[]],[[]]"])
def test_a_line_with_something_else_behind_its_bounds_is_no_block(behind):
    with pytest.raises(ValueError, match="not a packed block"):
        unpack(f"[0,1,0,1.0,[1,0],[1,0],[],{behind}]")


def test_runs_without_them_are_named_by_the_digest_that_they_always_had():
    plain = run()
    assert terms_of(plain) == "sha256:016fd35005dc79e592796927f838063c8bcdfd387d3cd42a8528f1cabc6071fa"
    spec = replace(plain.spec, analysis=replace(plain.spec.analysis, metrics=(ORDERS,)))
    assert terms_of(replace(plain, spec=spec)) != terms_of(plain)
