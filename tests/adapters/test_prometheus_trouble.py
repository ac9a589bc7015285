"""Metrics in a bad world: clocks, gaps, doubles, other buckets, requests that reach nobody; each in its own words."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshctl.adapters.prometheus import PrometheusSettings, cursor
from meshctl.adapters.prometheus.answers import Trouble
from meshctl.adapters.prometheus.cursor import Cursor
from meshctl.adapters.prometheus.differencing import Arm, Outcome
from meshctl.adapters.prometheus.selectors import Matcher, Selector, host_of, one_of
from meshctl.adapters.prometheus.strays import meant_for
from meshctl.adapters.prometheus.telemetry import Subject, outcome
from tests.adapters.prometheus_world import BOUNDS, NEW, OLD, RELEASE, START_MS, labels_of
from tests.adapters.test_prometheus_blocks import World, seconds, told


def steady(pods=("edge-0",), until=60, **options):
    """A service that both versions answer for, scraped every five seconds from -19 s on."""
    world = World(pods, **options)
    for proxy in world.proxies:
        world.requests(-20, proxy=proxy)
        for second in range(-15, until):
            world.requests(second + 0.5, 9, proxy=proxy)
            world.requests(second + 0.6, 1, proxy=proxy, version=NEW)
        world.scrapes(-19, until, proxy=proxy)
    return world


def problem_of(reading):
    assert reading.problem is not None
    return reading.problem.removeprefix("metrics of Release/shop: ")


# ------------------------------------------------------------------------------------ who counts


def test_a_proxy_that_two_jobs_scrape_is_counted_once():
    world = steady()
    for second in range(-18, 60, 5):
        world.scrape(second, job="pods")
    begin = world.at(0).read().cursor
    found = world.at(31.5).read(begin)
    assert sum(block.baseline.requests for block in found.blocks) == 270 - 45
    assert {sum(block.baseline.latency) for block in found.blocks} == {45}


def test_two_servers_whose_series_come_together_are_counted_once_and_the_other_one_steps_in():
    world = steady(until=16)
    for second in range(17, 60):
        world.requests(second + 0.5, 10)
    for second in range(-18, 60, 5):
        world.scrape(second, prometheus_replica="b")
    begin = world.at(0).read().cursor
    parts, at = [], begin
    for second in (12, 22, 32, 42, 52):
        reading = world.at(second).read(at)
        parts += reading.blocks
        at = reading.cursor
    true = sum(
        1 for time, labels, _ in world.proxy.events if time > START_MS and ("destination_version", OLD) in labels
    )
    counted = sum(block.baseline.requests for block in parts)
    assert true * 0.6 < counted <= true


def test_one_address_behind_which_the_pod_is_not_told_is_a_proxy_too():
    world = World()
    for second in range(-15, 20):
        world.requests(second + 0.5)
    world.scrapes(-19, 20, pod="", namespace="")
    begin = world.at(0).read().cursor
    assert {block.baseline.requests for block in world.at(16.5).read(begin).blocks} == {5}


# ------------------------------------------------------------------------------------ requests that reach nobody


def test_failures_that_reached_no_pod_count_for_the_version_whose_share_is_missing():
    world = World()
    world.requests(-20, version=NEW)
    for second in range(-15, 30):
        world.requests(second + 0.5, 90)
        lost = second >= 10
        world.requests(
            second + 0.6, 10, version="unknown" if lost else NEW, **({"code": 503, "flags": "UH"} if lost else {})
        )
    world.scrapes(-19, 30)
    begin = world.at(0).read(weight=10.0).cursor
    found = world.at(26.5).read(begin, weight=10.0)
    assert [(block.candidate.requests, block.candidate.bad) for block in found.blocks][-1] == (50, 50)
    assert sum(block.baseline.bad for block in found.blocks) == 0
    assert "some requests reach no endpoint at all; they count as failures of 2.1.0" in problem_of(found)


def test_failures_that_either_version_could_have_had_count_for_neither():
    world = steady(until=30)
    world.store.samples.clear()
    world.requests(12, 6, version="unknown", code=503, flags="NR")
    world.scrapes(-19, 30)
    begin = world.at(0).read(weight=10.0).cursor
    found = world.at(26.5).read(begin, weight=10.0)
    assert sum(block.baseline.bad + block.candidate.bad for block in found.blocks) == 0
    assert problem_of(found) == "some requests reach no endpoint at all; they count for neither version"


def test_a_label_with_the_cluster_tells_for_whom_a_request_was_meant():
    world = World(subset_label="upstream_cluster")
    cluster = "outbound|80|v{}|shop.prod.svc.cluster.local".format
    for second in range(-15, 20):
        world.requests(second + 0.5, 9, upstream_cluster=cluster("2-0-0"))
        world.requests(second + 0.6, version="unknown", code=503, flags="UH", upstream_cluster=cluster("2-1-0"))
    world.scrapes(-19, 20)
    begin = world.at(0).read().cursor
    assert {(block.candidate.requests, block.candidate.bad) for block in world.at(16.5).read(begin).blocks} == {(5, 5)}


def test_a_connection_that_failed_counts_for_the_pod_that_was_tried():
    world = World()
    failed = {"version": "unknown", "code": 503, "flags": "UF,URX", "destination_canonical_service": "shop"}
    for second in range(-15, 20):
        world.requests(second + 0.5, 9)
        world.requests(second + 0.6, **failed, destination_canonical_revision=NEW)
    world.scrapes(-19, 20)
    begin = world.at(0).read().cursor
    assert {(block.candidate.requests, block.candidate.bad) for block in world.at(16.5).read(begin).blocks} == {(5, 5)}


@given(st.integers(0, 5000), st.integers(0, 500), st.integers(0, 300), st.sampled_from([1.0, 5.0, 10.0, 50.0, 80.0]))
def test_strays_are_given_to_a_side_only_when_its_share_is_missing(baseline, candidate, strays, weight):
    owner, total = meant_for(baseline, candidate, strays, weight), baseline + candidate + strays
    if owner is Arm.CANDIDATE:
        assert candidate < total * weight / 100
    if owner is Arm.BASELINE:
        assert baseline < total * (1 - weight / 100)
    assert meant_for(baseline, candidate, 0, weight) is None


def test_at_the_ends_of_the_scale_there_is_one_to_blame():
    assert meant_for(100, 0, 3, 0.0) is Arm.BASELINE
    assert meant_for(0, 100, 3, 100.0) is Arm.CANDIDATE
    assert meant_for(990, 0, 10, 1.0) is Arm.CANDIDATE
    assert meant_for(989, 10, 1, 1.0) is None


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"code": 200}, Outcome.GOOD),
        ({"code": 404}, Outcome.GOOD),
        ({"code": 500}, Outcome.BAD),
        ({"code": 200, "flags": "UC"}, Outcome.BAD),
        ({"code": 503, "flags": "UF,URX"}, Outcome.BAD),
        ({"code": 0, "flags": "DC"}, Outcome.LEFT_OUT),
        ({"code": 0}, Outcome.BAD),
        ({"code": 200, "grpc_response_status": "14"}, Outcome.BAD),
        ({"code": 200, "grpc_response_status": "5"}, Outcome.GOOD),
    ],
)
def test_what_counts_as_bad(labels, expected):
    assert outcome(labels_of(**labels)) is expected


# ------------------------------------------------------------------------------------ clocks and gaps


def test_another_clock_than_ours_changes_no_block_and_is_told():
    world = steady()
    begin = world.at(0).read().cursor
    right = world.at(31.5).read(begin)
    for ahead_ms, said in ((62_000, "about 60 s behind ours"), (-8_000, "about 10 s ahead of ours")):
        world.clock.ahead_ms = ahead_ms
        wrong = world.at(31.5).read(begin)
        assert wrong.blocks == right.blocks
        assert problem_of(wrong) == f"the clock of Prometheus is {said}"
        assert wrong.silence_s == right.silence_s + max(ahead_ms / 1000, 0)


def test_a_clock_that_went_back_starts_anew():
    world = steady()
    begin = world.at(0).read().cursor
    later = world.at(31.5).read(begin).cursor
    found = world.at(-40).read(later)
    assert found.blocks == ()
    assert problem_of(found) == "the clock of Prometheus went back; counting starts anew"
    assert cursor.read(found.cursor).at_ms <= START_MS - 35_000


def test_whoever_was_away_for_minutes_catches_up():
    world = steady(until=400)
    begin = world.at(0).read().cursor
    found = world.at(391.5).read(begin)
    assert (seconds(found.blocks[0].start), seconds(found.blocks[-1].end)) == (0, 390)
    assert sum(block.baseline.requests for block in found.blocks) == 9 * (386 - 1), "from the first scrape to the last"


def test_whoever_was_away_for_long_starts_anew():
    world = steady(until=30)
    begin = world.at(0).read().cursor
    found = world.at(3600).read(begin)
    assert found.blocks == ()
    assert problem_of(found) == "no block was complete for 3600 s; counting starts anew"


def test_a_gap_of_minutes_is_in_no_block_and_counting_goes_on_after_it():
    world = World(history_s=0.0)
    for second in range(-15, 400):
        world.requests(second + 0.5)
    world.scrapes(-19, 21)
    world.scrapes(201, 400)
    at, parts = world.at(0).read().cursor, []
    for second in range(12, 252, 10):
        reading = world.at(second).read(at)
        parts += reading.blocks
        at = reading.cursor
    assert seconds(parts[-1].end) == 240
    assert sum(block.baseline.requests for block in parts) == (21 - 1) + (236 - 201)
    assert all(one.end <= two.start for one, two in pairwise(parts))


def test_scrapes_that_stopped_are_told_with_their_time():
    world = steady(until=11)
    begin = world.at(0).read().cursor
    at = world.at(12).read(begin).cursor
    last = world.at(20).read(at)
    assert last.problem is None
    found = world.at(45).read(last.cursor)
    assert problem_of(found) == "nothing was scraped since 08:00:11 UTC: does Prometheus still reach the proxies?"
    assert (found.blocks, found.cursor) == ((), last.cursor)


def test_scrapes_that_are_too_far_apart_for_the_settings_are_told():
    world = World(scrape_interval_s=5.0, lookback_s=20.0)
    for second in range(-100, 100):
        world.requests(second + 0.5)
    world.scrapes(-90, 100, every=30)
    begin = world.at(0).read().cursor
    found = world.at(95).read(begin)
    assert "set scrape_interval_s to the interval of the scrapes" in problem_of(found)


# ------------------------------------------------------------------------------------ buckets


def rebucketed(world, bounds, first, last):
    """Scrapes of a proxy that has other buckets."""
    kept = list(BOUNDS)
    import tests.adapters.prometheus_world as module

    module.BOUNDS = bounds
    try:
        world.scrapes(first, last)
    finally:
        module.BOUNDS = tuple(kept)


def test_more_buckets_than_before_are_put_together_exactly():
    world = World()
    for second in range(-15, 40):
        world.requests(second + 0.5, latency_ms=30)
    world.scrapes(-19, 11)
    begin = world.at(-5).read().cursor
    first = world.at(11.5).read(begin)
    rebucketed(world, ("5", "10", "25", "50", "75", "100"), 16, 36)
    found = world.at(31.5).read(first.cursor)
    assert {block.bounds_ms for block in found.blocks} == {(5.0, 10.0, 50.0, 100.0)}
    assert found.blocks[-1].baseline.latency == (0, 0, 5, 0, 0)


def test_a_bucket_that_is_gone_is_told_and_gives_no_block():
    world = World()
    for second in range(-15, 120):
        world.requests(second + 0.5, latency_ms=30)
    world.scrapes(-19, 11)
    begin = world.at(-5).read().cursor
    first = world.at(11.5).read(begin)
    rebucketed(world, ("5", "10", "100"), 16, 100)
    for second in (30, 100):
        found = world.at(second).read(first.cursor)
        assert found.blocks == ()
        assert problem_of(found).startswith("the buckets of the latency have changed: none at 50 ms any more")


def test_requests_without_any_durations_are_told():
    world = steady()
    for key in list(world.store.samples):
        if ("__name__", "istio_request_duration_milliseconds_bucket") in key:
            del world.store.samples[key]
    begin = world.at(0).read().cursor
    found = world.at(31.5).read(begin)
    assert found.blocks == ()
    assert "no istio_request_duration_milliseconds_bucket with finite buckets" in problem_of(found)
    world.prometheus.settings = PrometheusSettings(url="http://prometheus", latency_metric="")
    errors_only = World(latency_metric="")
    errors_only.store = errors_only.prometheus.store = world.store
    found = errors_only.at(31.5).read(errors_only.at(0).read().cursor)
    assert told(errors_only.at(31.5).read(begin).blocks)
    assert found.problem is None


# ------------------------------------------------------------------------------------ too many, odd names, cursors


def test_more_series_than_are_allowed_are_not_followed_any_more():
    world = steady(series_max=12)
    begin = world.at(0).read().cursor
    assert not cursor.read(begin).summed
    world.requests(20, code=404)
    world.scrapes(21, 40)
    found = world.at(31.5).read(begin)
    assert found.blocks == ()
    assert problem_of(found) == "there are 18 series now, too many to follow each; counting starts anew"
    assert cursor.read(found.cursor).summed


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"format":2}', '{"format":1,"versions":["a"]}', "0", '"x"'])
def test_a_cursor_that_is_none_starts_anew_and_says_so(text):
    found = steady().at(20).read(text)
    assert found.blocks == ()
    assert problem_of(found) == "the cursor of the metrics was not readable; counting starts anew"
    assert cursor.read(found.cursor) is not None


@given(
    st.text(max_size=30),
    st.integers(0, 2**50),
    st.lists(st.floats(0.001, 1e7), max_size=5).map(tuple),
    st.booleans(),
)
def test_a_cursor_comes_back_as_it_was_written(version, at_ms, bounds_ms, summed):
    value = Cursor(version, "b", at_ms, at_ms + 1, bounds_ms, "abc", 5000, -3, summed)
    assert cursor.read(cursor.write(value)) == value
    assert json.loads(cursor.write(value))["at"] == at_ms


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_value_gets_out_of_its_quotes(value, other):
    text = str(Selector(("m",), (Matcher("a", "=", value), Matcher("b", "=~", one_of((other, "x"))))))
    head, _, rest = text.partition('{a="')
    assert head == "m"
    decoded, end = json.JSONDecoder().raw_decode('"' + rest)
    assert decoded == value
    assert rest[end - 1 :].startswith(',b=~"')


def test_the_service_is_named_in_full_so_that_no_other_namespace_is_read():
    subject = Subject(RELEASE, OLD, NEW, PrometheusSettings(url="http://prometheus", matchers={"cluster": 'a"b'}))
    text = str(subject.requests())
    assert 'destination_service=~"shop[.]prod[.]svc([.].+)?"' in text
    assert 'cluster="a\\"b"' in text
    assert 'destination_version=~"2\\\\.0\\\\.0|2\\\\.1\\\\.0|unknown|"' in text
    assert host_of("a.b", "c") == "a\\.b[.]c[.]svc([.].+)?"


def test_a_defect_of_our_own_is_told_and_raises_nothing(caplog):
    world = steady()
    world.prometheus.ask = lambda *_: 1 / 0
    found = world.at(0).read()
    assert problem_of(found) == "a defect of meshctl: ZeroDivisionError"
    assert "a defect in reading the metrics of Release/shop" in caplog.text
    with pytest.raises(ZeroDivisionError):
        world.metrics.counts(RELEASE, world.clock.now())


def test_trouble_carries_whether_it_may_pass():
    assert not Trouble("no").again
