"""Metrics of a release's own from scraped counters: exact, on a grid, the same however often somebody reads."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshctl.adapters.prometheus import PrometheusMetrics, own_kinds
from meshctl.adapters.prometheus.answers import Series, Trouble
from meshctl.core.model import AnalysisSpec, ArmCounts, CustomMetric, MetricKind
from tests.adapters.prometheus_world import NEW, OLD, RELEASE, START_MS, add
from tests.adapters.test_prometheus_blocks import World, seconds

ORDERS = CustomMetric(
    "failed-orders",
    MetricKind.COUNTER_RATIO,
    bad='orders_total{result="failed", version="{{version}}"}',
    total='orders_total{version="{{ version }}"}',
)
TARGET = {"job": "shop", "namespace": "prod"}


@dataclass
class Pod:
    """A pod of the service that counts its orders itself; as a proxy does, it counts from its last restart."""

    pod: str
    version: str
    events: list = field(default_factory=list)
    restarts: list = field(default_factory=list)

    def orders(self, second, count=1, failed=0):
        at_ms = START_MS + round(second * 1000)
        self.events += [(at_ms, "ok")] * (count - failed) + [(at_ms, "failed")] * failed

    def page(self, at_ms):
        born = max((each for each in self.restarts if each <= at_ms), default=0)
        page = {}
        for time, result in self.events:
            if born < time <= at_ms:
                add(page, "orders_total", frozenset({("result", result), ("version", self.version)}))
        return page


class Shop(World):
    """The world of the mesh's metrics, in which nothing goes wrong, and two pods that count orders."""

    def __init__(self, *metrics, **options):
        super().__init__(**options)
        self.release = of(*metrics or (ORDERS,))
        self.old, self.new = Pod("shop-old-0", OLD), Pod("shop-new-0", NEW)
        for second in range(-60, 121):
            self.requests(second + 0.5, 2)
            self.requests(second + 0.5, 1, version=NEW)
        self.scrapes(-59, 121)

    def read(self, cursor="", *, entry=0, weight=10.0, counts=True, **_):
        return self.metrics.read(self.release, OLD, NEW, cursor, entry=entry, weight=weight, counts=counts)

    def pods(self, first=-57, last=121, every=5.0, **target):
        for pod in (self.old, self.new):
            pod.orders(-100, 5)
            self.scrapes(first, last, every, pod, **{**TARGET, **target})
        return self


def of(*metrics):
    analysis = AnalysisSpec(metrics=metrics)
    return replace(RELEASE, spec=replace(RELEASE.spec, analysis=analysis))


def told(blocks, name="failed-orders"):
    """From, to and both versions' counts, of each block that has any."""
    return [
        (
            seconds(each.start),
            seconds(each.end),
            (each.baseline.requests, each.baseline.bad),
            (each.candidate.requests, each.candidate.bad),
        )
        for block in blocks
        for each in block.custom
        if each.name == name
    ]


def between(world, first, last):
    """A reading at the one moment, and the blocks of the one at the other."""
    begin = world.at(first).read()
    found = world.at(last).read(begin.cursor)
    assert found.blocks, found.problem
    return found


def test_both_versions_are_counted_in_the_blocks_of_the_mesh_and_the_first_failure_too():
    world = Shop()
    world.old.orders(6, 10)
    world.old.orders(12, 10, failed=1)
    world.new.orders(12.5, 4, failed=3)
    world.pods()
    found = between(world, 0, 21.5)
    assert told(found.blocks) == [(5, 10, (10, 0), (0, 0)), (10, 15, (10, 1), (4, 3)), (15, 20, (0, 0), (0, 0))]
    assert found.problem is None


def test_counters_that_begin_anew_lose_nothing_that_a_scrape_saw():
    world = Shop()
    world.new.restarts.append(START_MS + 14_000)
    world.new.orders(11, 3)
    world.new.orders(15, 7, failed=2)
    world.pods()
    found = between(world, 0, 31.5)
    assert sum(each[3][0] for each in told(found.blocks)) == 10
    assert sum(each[3][1] for each in told(found.blocks)) == 2


def test_series_that_are_scraped_less_often_have_windows_of_their_own_length():
    metric = replace(ORDERS, interval=timedelta(seconds=15))
    world = Shop(metric)
    for second in range(-30, 60):
        world.old.orders(second + 0.2, 2)
        world.new.orders(second + 0.2, 1)
    world.pods(first=-59, every=15.0)
    found = between(world, 0, 61.5)
    assert told(found.blocks) == [(15, 30, (30, 0), (15, 0)), (30, 45, (30, 0), (15, 0)), (45, 60, (30, 0), (15, 0))]
    assert [len(block.custom) for block in found.blocks].count(1) == 3


def test_a_window_in_which_one_version_was_not_scraped_counts_for_neither():
    world = Shop()
    world.old.orders(-100)
    world.new.orders(-100)
    for second in range(30):
        world.old.orders(second + 0.2, 2)
        world.new.orders(second + 0.2, 1)
    world.scrapes(-57, 61, proxy=world.old, **TARGET)
    world.scrapes(-57, 10, proxy=world.new, **TARGET)
    world.scrapes(18, 61, proxy=world.new, **TARGET)
    found = between(world, 0, 26.5)
    assert [(each[0], each[1]) for each in told(found.blocks)] == [(5, 10), (15, 20), (20, 25)]


def test_what_was_counted_before_a_confirmation_counts_nowhere():
    world = Shop()
    world.old.orders(12, 10)
    world.new.orders(12, 10, failed=10)
    world.old.orders(26, 10)
    world.new.orders(26, 5, failed=1)
    begin = world.pods().at(0).read()
    cut = world.at(20).read(begin.cursor, counts=False)
    found = world.at(36.5).read(cut.cursor)
    assert sum(each[3][1] for each in told(found.blocks)) == 1
    assert sum(each[3][0] for each in told(found.blocks)) == 5


def test_only_series_of_the_releases_own_namespace_are_read():
    world = Shop().pods()
    foreign = Pod("shop-new-9", NEW)
    foreign.orders(-100, 5)
    foreign.orders(12, 50, failed=50)
    world.scrapes(-57, 121, proxy=foreign, job="shop", namespace="others")
    found = between(world, 0, 21.5)
    assert sum(each[3][0] for each in told(found.blocks)) == 0
    assert all('namespace="prod"' in query for query in world.prometheus.asked if "orders_total" in query)


def test_an_operator_may_leave_every_series_open_and_narrows_by_what_is_not_the_scraper():
    world = Shop(namespace_label="", matchers={"job": "envoy", "cluster": "east"})
    world.scrapes(-59, 121, cluster="east")
    world.new.orders(12, 3)
    world.pods(namespace="elsewhere", cluster="east")
    found = between(world, 0, 21.5)
    assert sum(each[3][0] for each in told(found.blocks)) == 3
    asked = [query for query in world.prometheus.asked if "orders_total" in query]
    assert all('cluster="east"' in query and "job=" not in query and "namespace=" not in query for query in asked)


def test_a_version_never_gets_out_of_its_quotes():
    odd = 'x",namespace="others"} or vector(1) #'
    pattern = replace(ORDERS, total='orders_total{version=~"{{version}}|a.*",pod!~`x\\d`}')
    world = Shop(pattern)
    cursor = world.metrics.read(world.release, OLD, odd, "", entry=0, weight=10.0).cursor
    world.at(12).metrics.read(world.release, OLD, odd, cursor, entry=0, weight=10.0)
    asked = [query for query in world.prometheus.asked if "orders_total" in query]
    assert any('version="x\\",namespace=\\"others\\"} or vector(1) #"' in query for query in asked)
    assert any('version=~"2\\\\.0\\\\.0|a.*",pod!~"x\\\\d"' in query for query in asked)
    assert all(query.count('namespace="prod"') == 1 for query in asked)


def test_targets_that_two_jobs_scrape_are_counted_once():
    world = Shop()
    world.new.orders(12, 3)
    world.pods()
    for pod in (world.old, world.new):
        world.scrapes(-56, 121, proxy=pod, job="twice", namespace="prod")
    found = between(world, 0, 26.5)
    assert sum(each[3][0] for each in told(found.blocks)) == 3


def test_a_version_without_series_is_told_with_what_was_asked():
    world = Shop()
    world.old.orders(-100, 5)
    world.scrapes(-57, 61, proxy=world.old, **TARGET)
    found = between(world, 0, 21.5)
    assert found.problem == (
        "metrics of Release/shop: metric failed-orders: there are no series of 2.1.0: "
        'orders_total{version="2.1.0",namespace="prod"}'
    )
    assert {each[3] for each in told(found.blocks)} == {(0, 0)}


def test_a_selector_that_finds_the_same_series_for_both_versions_is_told():
    world = Shop(replace(ORDERS, total='orders_total{version=~"{{version}}|.*"}')).pods()
    begin = world.at(0).read()
    found = world.at(21.5).read(begin.cursor)
    assert (found.blocks, found.cursor) == ((), begin.cursor)
    assert "metric failed-orders: its selector finds the same series for both versions" in found.problem


class Refusing:
    """Prometheus as before, but it has no answer where orders are asked for."""

    def __init__(self, world):
        self._inner = world.prometheus

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def ask(self, path, parameters, budget):
        if "orders_total" in parameters["query"]:
            raise Trouble("prometheus:9090 answered 503")
        return self._inner.ask(path, parameters, budget)


@pytest.mark.parametrize("dry_run", [False, True])
def test_half_an_answer_gives_no_block_and_a_dry_run_keeps_nobody_waiting(dry_run):
    world = Shop(replace(ORDERS, dry_run=dry_run)).pods()
    begin = world.at(0).read()
    whole = world.at(21.5).read(begin.cursor)
    world.metrics = PrometheusMetrics(Refusing(world), world.clock)
    found = world.read(begin.cursor)
    assert "metric failed-orders: prometheus:9090 answered 503" in found.problem
    if dry_run:
        assert [replace(block, custom=()) for block in whole.blocks] == list(found.blocks)
        assert "a dry run" in found.problem
    else:
        assert (found.blocks, found.cursor) == ((), begin.cursor)


def test_what_decides_does_not_wait_for_a_dry_run():
    dry = CustomMetric("dry", MetricKind.GAUGE, value='queue_length{version="{{version}}"}', dry_run=True)
    world = Shop(dry, ORDERS).pods()
    begin = world.at(0).read()
    world.prometheus.asked.clear()
    world.at(12).read(begin.cursor)
    order = [query.partition("{")[0] for query in world.prometheus.asked if "version=" in query]
    assert order[-6:] == ["orders_total"] * 4 + ["queue_length"] * 2


def test_more_series_than_are_followed_are_refused_by_the_name_of_the_metric():
    world = Shop(series_max=12)
    for number in range(7):
        pod = Pod(f"shop-old-{number}", OLD)
        pod.orders(-100, 2, failed=1)
        world.scrapes(-57, 21, proxy=pod, **TARGET)
    world.pods()
    begin = world.at(0).read()
    reading = world.at(12).read(begin.cursor)
    assert "metric failed-orders" in reading.problem
    assert "name fewer" in reading.problem


def test_what_the_baseline_did_before_is_told_for_learning():
    world = Shop()
    for second in range(-55, 0):
        world.old.orders(second + 0.2, 2, failed=1)
    world.pods()
    (block,) = world.at(0).read(entry=-1).blocks
    (orders,) = block.custom
    assert orders.baseline == ArmCounts(96, 48)
    assert orders.candidate == ArmCounts(0, 0)
    assert orders.end <= block.end


# ------------------------------------------------------------------------------------ histograms and gauges

WAITING = CustomMetric("waiting", MetricKind.HISTOGRAM, buckets='waiting_seconds_bucket{version="{{version}}"}')
QUEUE = CustomMetric("queue", MetricKind.GAUGE, value='queue_length{version="{{version}}"}')


@dataclass
class Waiting:
    """A pod that measures how long each of its guests has waited, in seconds."""

    pod: str
    version: str
    bounds: tuple = ("0.1", "0.5", "2", "+Inf")
    events: list = field(default_factory=list)

    def guest(self, second, waited, count=1):
        self.events += [(START_MS + round(second * 1000), waited)] * count

    def page(self, at_ms):
        page = {}
        for bound in self.bounds:
            count = sum(time <= at_ms and waited <= float(bound) for time, waited in self.events)
            labels = frozenset({("version", self.version), ("le", bound)})
            add(page, "waiting_seconds_bucket", labels, by=count)
        return page


def waiting_shop(**pods):
    world = Shop(WAITING)
    world.old, world.new = Waiting("old-0", OLD, **pods), Waiting("new-0", NEW)
    for second in range(-20, 40):
        world.old.guest(second + 0.2, 0.3)
        world.new.guest(second + 0.2, 1.0, count=2)
    for pod in (world.old, world.new):
        world.scrapes(-57, 121, proxy=pod, **TARGET)
    return world


def test_values_of_a_histogram_are_counted_between_its_own_bounds():
    found = between(waiting_shop(), 0, 21.5)
    (waited,) = found.blocks[1].custom
    assert waited.bounds == (0.1, 0.5, 2.0)
    assert waited.baseline == ArmCounts(5, 0, (0, 5, 0, 0))
    assert waited.candidate == ArmCounts(10, 0, (0, 0, 10, 0))


def test_buckets_that_only_one_version_has_are_put_together_and_the_bounds_of_a_run_stay():
    world = waiting_shop(bounds=("0.1", "0.25", "0.5", "1", "2", "+Inf"))
    begin = world.at(0).read()
    found = world.at(21.5).read(begin.cursor)
    assert {custom.bounds for block in found.blocks for custom in block.custom} == {(0.1, 0.5, 2.0)}
    for pod in (world.old, world.new):
        fewer = replace(pod, bounds=("0.1", "2", "+Inf"))
        world.scrapes(122, 150, proxy=fewer, **TARGET)
        world.scrapes(122, 150)
    late = world.at(140).read(found.cursor)
    late = world.at(141).read(late.cursor)
    assert "metric waiting: the buckets of waiting have changed: none at 0.5 any more" in late.problem


def test_series_that_are_no_buckets_are_told():
    world = Shop(replace(WAITING, buckets='orders_total{version="{{version}}"}')).pods()
    begin = world.at(0).read()
    assert "metric waiting: has no label le" in world.at(12).read(begin.cursor).problem


@dataclass
class Queue:
    """A pod whose queue is as long as it is told to be."""

    pod: str
    version: str
    lengths: dict = field(default_factory=dict)

    def page(self, at_ms):
        known = [time for time in self.lengths if START_MS + time * 1000 <= at_ms]
        if not known:
            return {}
        return {frozenset({("__name__", "queue_length"), ("version", self.version)}): self.lengths[max(known)]}


def queues(old, new, *, last=121):
    """A shop in which one pod of each version has had these queues, in steps of five seconds, again and again."""
    world = Shop(QUEUE)
    steps = range(-3600, 121, 5)
    world.old = Queue("old-0", OLD, {second: old[second // 5 % len(old)] for second in steps})
    world.new = Queue("new-0", NEW, {second: new[second // 5 % len(new)] for second in steps})
    for pod in (world.old, world.new):
        world.scrapes(-3597 if pod is world.old else -57, last, proxy=pod, **TARGET)
    return world


def test_of_a_gauge_the_mean_of_each_window_is_one_value_between_steps_around_what_was_usual():
    world = queues((10.0, 12.0, 11.0), (22.0, 20.0, 24.0))
    begin = world.at(0).read(entry=-1)
    (past,) = begin.blocks[0].custom
    assert (past.baseline.requests, past.candidate.requests) == (239, 0)
    found = world.at(61.5).read(begin.cursor)
    assert found.problem is None
    values = [custom for block in found.blocks for custom in block.custom]
    assert [(seconds(each.start), seconds(each.end)) for each in values] == [
        (end - 15, end) for end in (0, 15, 30, 45, 60)
    ]
    (bounds,) = {each.bounds for each in (past, *values)}
    assert all(1.09 < upper / lower < 1.11 for lower, upper in pairwise(bounds))
    for each in values:
        place = [index for index, count in enumerate(each.baseline.latency) if count]
        assert bounds[place[0] - 1] < 11.0 <= bounds[place[0]]
        assert each.candidate.latency[-1] == 1


@given(st.lists(st.floats(-5, 1e6), min_size=1, max_size=20))
def test_steps_of_a_gauge_are_few_increasing_and_above_zero(values):
    series = Series({}, "", dict(enumerate(values)))
    bounds = own_kinds._steps(QUEUE, [series])
    assert len(bounds) <= own_kinds.STEPS_MOST + 1
    assert all(lower < upper for lower, upper in pairwise((0.0, *bounds)))
    assert bool(bounds) == any(value > 1e-9 for value in values)


def test_a_gauge_below_zero_counts_as_small_and_one_that_is_no_number_gives_no_block():
    world = queues((10.0, 12.0), (-3.0, -2.0))
    begin = world.at(0).read(entry=-1)
    found = world.at(31.5).read(begin.cursor)
    assert {each.candidate.latency[0] for block in found.blocks for each in block.custom} == {1}
    world = queues((10.0, 12.0), (float("nan"),))
    begin = world.at(0).read(entry=-1)
    found = world.at(31.5).read(begin.cursor)
    assert (found.blocks, found.cursor) == ((), begin.cursor)
    assert "metric queue: prometheus:9090 says that queue_length is nan" in found.problem


@st.composite
def stories(draw):
    """Pods with orders, restarts, lost and slow scrapes over two minutes; moments at which somebody reads."""
    pods = []
    every = draw(st.sampled_from([5, 10, 15]))
    for number in range(draw(st.integers(2, 4))):
        phase, slow = draw(st.integers(1, every * 1000 - 1)), draw(st.sampled_from([0, 300, 4000]))
        lost = draw(st.sets(st.integers(0, 30), max_size=4))
        times = [START_MS - 60_000 + phase + every * 1000 * n for n in range(180 // every) if n not in lost]
        version = (OLD, NEW)[number % 2]
        pods.append((version, times, slow, draw(st.lists(st.integers(0, 110_000), max_size=1))))
    orders = draw(
        st.lists(
            st.tuples(st.integers(-50, 115), st.integers(0, len(pods) - 1), st.integers(1, 4), st.booleans()),
            max_size=40,
        )
    )
    looks = sorted(draw(st.sets(st.integers(2_000, 112_000), min_size=1, max_size=6)))
    return every, pods, orders, looks


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(stories())
def test_however_reading_is_cut_up_the_counts_are_the_same_and_never_more_than_happened(story):
    every, described, orders, looks = story
    world = Shop(replace(ORDERS, interval=timedelta(seconds=every)))
    pods = [Pod(f"shop-{number}", version) for number, (version, *_) in enumerate(described)]
    for second, number, count, failed in orders:
        pods[number].orders(second + 0.3, count, failed=count if failed else 0)
    for pod, (_, times, slow, restarts) in zip(pods, described, strict=True):
        pod.orders(-200, 2, failed=1)
        pod.restarts += [START_MS + each for each in restarts]
        for time in times:
            world.store.scrape(pod, time, time + slow, **TARGET)
    begin = world.at(0).read().cursor
    parts, cursor = [], begin
    for look in [*looks, 118_000]:
        reading = world.at(look / 1000).read(cursor)
        parts += reading.blocks
        assert world.read(cursor) == reading, "reading twice gives the same"
        cursor = reading.cursor
    assert tuple(parts) == world.at(118).read(begin).blocks
    counted = told(parts)
    assert all(one[1] <= other[0] for one, other in pairwise(counted))
    for arm, version in ((2, OLD), (3, NEW)):
        happened = sum(count for second, number, count, _ in orders if described[number][0] == version and second > -10)
        failed = sum(count for s, n, count, bad in orders if described[n][0] == version and bad and s > -10)
        assert sum(each[arm][0] for each in counted) <= happened + sum(2 for each in described if each[3])
        assert sum(each[arm][1] for each in counted) <= failed + sum(1 for each in described if each[3])
