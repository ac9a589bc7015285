"""Blocks from scraped counters: exact, on a grid, the same however often somebody reads."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshctl.adapters.prometheus import PrometheusMetrics, PrometheusSettings
from meshctl.core.model import ArmCounts
from tests.adapters.prometheus_world import (
    EPOCH,
    NEW,
    OLD,
    RELEASE,
    START_MS,
    Answering,
    FixedClock,
    Proxy,
    Store,
)

STEP_MS = 5000


class World:
    """A service behind some proxies, a Prometheus that scrapes them, and our reader."""

    def __init__(self, pods=("edge-0",), **options):
        self.proxies = [Proxy(pod) for pod in pods]
        self.store = Store()
        chosen = PrometheusSettings(url="http://prometheus:9090", **{"histogram_lag_s": 0.0, **options})
        self.prometheus = Answering(self.store, settings=chosen)
        self.clock = FixedClock(self.prometheus)
        self.metrics = PrometheusMetrics(self.prometheus, self.clock)

    @property
    def proxy(self):
        return self.proxies[0]

    def at(self, seconds):
        """Now it is so many seconds after the start."""
        self.prometheus.now_ms = START_MS + round(seconds * 1000)
        return self

    def scrape(self, seconds, proxy=None, **target):
        self.store.scrape(proxy or self.proxy, START_MS + round(seconds * 1000), **target)

    def scrapes(self, first, last, every=5.0, proxy=None, **target):
        time = first
        while time <= last:
            self.scrape(time, proxy, **target)
            time += every

    def requests(self, seconds, count=1, proxy=None, **labels):
        """So many at this moment."""
        for _ in range(count):
            (proxy or self.proxy).request(START_MS + round(seconds * 1000), **labels)

    def read(self, cursor="", *, entry=0, weight=10.0, counts=True, **versions):
        baseline, candidate = versions.get("baseline", OLD), versions.get("candidate", NEW)
        return self.metrics.read(RELEASE, baseline, candidate, cursor, entry=entry, weight=weight, counts=counts)


def seconds(instant):
    return (instant - EPOCH).total_seconds() - START_MS / 1000


def told(blocks):
    """A block as numbers: from, to, and both arms' requests and failures."""
    return [
        (
            seconds(block.start),
            seconds(block.end),
            (block.baseline.requests, block.baseline.bad),
            (block.candidate.requests, block.candidate.bad),
        )
        for block in blocks
    ]


# ------------------------------------------------------------------------------------ one after the other


def test_the_first_reading_is_a_cursor_and_later_ones_are_blocks_of_a_scrape_interval():
    world = World()
    world.requests(-20, 7)
    for second in range(-10, 60):
        world.requests(second + 0.5, 9)
        world.requests(second + 0.5, 1, version=NEW)
    world.requests(12.2, 2, version=NEW, code=500)
    world.scrapes(-19, 60)
    first = world.at(0).read()
    assert (first.blocks, first.problem) == ((), None)
    found = world.at(31.5).read(first.cursor)
    assert found.problem is None
    assert told(found.blocks) == [
        (0, 10, (45, 0), (5, 0)),
        (10, 15, (45, 0), (5, 0)),
        (15, 20, (45, 0), (7, 2)),
        (20, 25, (45, 0), (5, 0)),
        (25, 30, (45, 0), (5, 0)),
    ]
    assert {(block.entry, block.weight, block.approximate) for block in found.blocks} == {(0, 10.0, False)}
    again = world.at(36.5).read(found.cursor)
    assert told(again.blocks) == [(30, 35, (45, 0), (5, 0))]


def test_latency_is_counted_for_good_requests_by_buckets():
    world = World()
    world.requests(-20, 3)
    world.scrapes(-19, 6)
    for latency, count in ((3, 4), (7, 3), (70, 2), (5000, 1)):
        world.requests(2, count, latency_ms=latency)
    world.requests(2, 5, code=503, latency_ms=1)
    world.scrape(6)
    cursor = world.at(-14).read().cursor
    (block,) = world.at(11.5).read(cursor).blocks[-1:]
    assert block.bounds_ms == (5.0, 10.0, 50.0, 100.0)
    assert block.baseline == ArmCounts(15, 5, (4, 3, 0, 2, 1))
    assert block.candidate == ArmCounts(0, 0, (0, 0, 0, 0, 0))


def test_a_series_that_appears_has_grown_from_nothing():
    world = World()
    world.requests(-20)
    world.scrapes(-19, 1)
    cursor = world.at(-10).read().cursor
    world.requests(3, 2, version=NEW, code=500)
    world.scrape(6)
    found = world.at(11.5).read(cursor)
    assert told(found.blocks)[-1] == (5, 10, (0, 0), (2, 2))


def test_a_proxy_that_appears_says_first_where_it_stands():
    world = World(("edge-0", "edge-1"))
    world.requests(-20)
    world.scrapes(-19, 16)
    other = world.proxies[1]
    world.requests(-500, 10_000, proxy=other)
    cursor = world.at(-10).read().cursor
    world.scrape(4, other)
    world.requests(7, 3, proxy=other, version=NEW, code=500)
    world.scrapes(9, 14, proxy=other)
    found = world.at(16.5).read(cursor)
    assert sum(block.baseline.requests for block in found.blocks) == 0
    assert sum(block.candidate.bad for block in found.blocks) == 3


def test_a_counter_that_falls_began_anew():
    world = World()
    world.requests(-20, 100)
    world.scrapes(-19, 1)
    world.proxy.restarts.append(START_MS + 3000)
    world.requests(4, 6)
    world.scrape(6)
    cursor = world.at(-10).read().cursor
    assert told(world.at(11.5).read(cursor).blocks)[-1] == (5, 10, (6, 0), (0, 0))


def test_the_buckets_of_a_histogram_begin_anew_together():
    world = World()
    world.requests(-20, 10, latency_ms=3)
    world.requests(-20, 15, latency_ms=7)
    world.scrapes(-19, 1)
    world.proxy.restarts.append(START_MS + 3000)
    world.requests(4, 12, latency_ms=3)
    world.scrape(6)
    cursor = world.at(-10).read().cursor
    assert world.at(11.5).read(cursor).blocks[-1].baseline.latency == (12, 0, 0, 0, 0)


def test_all_series_of_a_proxy_under_other_labels_are_not_taken_for_growth():
    world = World()
    world.requests(-50, 1000)
    world.scrapes(-19, 6)
    world.scrapes(11, 16, zone="a")
    cursor = world.at(-14).read().cursor
    found = world.at(21.5).read(cursor)
    assert sum(block.baseline.requests for block in found.blocks) == 0


def test_a_lost_scrape_makes_one_longer_block():
    world = World()
    world.requests(-20)
    for second in range(30):
        world.requests(second + 0.5, 2)
    world.scrapes(-19, -4)
    world.scrapes(11, 26)
    cursor = world.at(-4).read().cursor
    assert told(world.at(26.5).read(cursor).blocks) == [
        (0, 15, (22, 0), (0, 0)),
        (15, 20, (10, 0), (0, 0)),
        (20, 25, (10, 0), (0, 0)),
    ]


def test_where_each_server_counts_for_itself_a_block_waits_for_both_versions():
    world = World(("shop-v1-0", "shop-v2-0"), reporter="destination")
    old, new = world.proxies
    world.requests(-20, proxy=old, reporter="destination")
    world.requests(-20, proxy=new, version=NEW, reporter="destination")
    for second in range(20):
        world.requests(second + 0.5, 4, proxy=old, reporter="destination")
        world.requests(second + 0.5, 1, proxy=new, version=NEW, reporter="destination")
    world.scrapes(-19, 30, proxy=old)
    world.scrapes(-17, -2, proxy=new)
    world.scrapes(13, 28, proxy=new)
    cursor = world.at(-4).read().cursor
    found = told(world.at(26.5).read(cursor).blocks)
    assert found[0] == (0, 15, (44, 0), (13, 0))
    assert [(each[0], each[1]) for each in found[1:]] == [(15, 20), (20, 25)]


def test_blocks_of_a_slow_prometheus_are_as_long_as_its_scrapes_are_apart():
    world = World()
    world.requests(-70)
    for second in range(-60, 90):
        world.requests(second + 0.5)
    world.scrapes(-58, 90, every=15)
    cursor = world.at(0).read().cursor
    found = world.at(50).read(cursor)
    assert [(start, end) for start, end, *_ in told(found.blocks)] == [(0, 20), (20, 35), (35, 50)][: len(found.blocks)]
    assert {block.baseline.requests for block in found.blocks} == {15}
    assert found.silence_s >= 60


# ------------------------------------------------------------------------------------ where counting begins


def test_what_happened_before_a_confirmation_is_in_no_block():
    world = World()
    world.requests(-20)
    world.scrapes(-19, 60)
    for second in range(-5, 60):
        world.requests(second + 0.5, 1, version=NEW, code=500 if second < 12 else 200)
    world.store.samples.clear()
    world.scrapes(-19, 60)
    cursor = world.at(0).read().cursor
    dropped = world.at(12).read(cursor, counts=False)
    assert dropped.blocks == ()
    found = world.at(41.5).read(dropped.cursor)
    assert found.blocks[0].start == EPOCH + timedelta(milliseconds=START_MS + 15_000)
    assert sum(block.candidate.bad for block in found.blocks) == 0
    assert sum(block.candidate.requests for block in found.blocks) == 20


def test_durations_that_envoy_shows_late_are_not_taken_for_those_after_a_confirmation():
    world = World(histogram_lag_s=5.0)
    world.requests(-20)
    for second in range(-15, 60):
        world.requests(second + 0.5)
    world.scrapes(-19, 60)
    begin = world.at(-10).read().cursor
    dropped = world.at(0).read(begin, counts=False)
    found = world.at(26.5).read(dropped.cursor).blocks
    assert [block.baseline.requests for block in found] == [5, 5, 5, 5]
    assert [sum(block.baseline.latency) for block in found] == [0, 5, 5, 5]


def test_a_confirmation_that_the_metrics_did_not_hear_of_starts_anew():
    world = World()
    world.requests(-20)
    world.scrapes(-19, 30)
    cursor = world.at(0).read().cursor
    world.prometheus.ask = lambda *_: (_ for _ in ()).throw(OSError("away"))
    assert world.at(5).read(cursor, counts=False).cursor == ""


def test_the_history_of_the_baseline_is_one_block():
    world = World(history_s=120.0)
    world.requests(-200)
    for second in range(-300, 0):
        world.requests(second + 0.5, 2, code=500 if second % 50 == 0 else 200)
    world.scrapes(-298, 20)
    found = world.at(0).read("", entry=-1)
    (block,) = found.blocks
    assert (seconds(block.start), seconds(block.end)) == (-120, -5)
    assert (block.baseline.requests, block.baseline.bad, block.entry) == (230, 4, -1)
    assert (block.candidate.requests, sum(block.candidate.latency)) == (0, 0)
    following = world.at(11.5).read(found.cursor, entry=-1)
    assert following.blocks[0].start == block.end
    assert {block.bounds_ms for block in following.blocks} == {block.bounds_ms}


def test_the_history_of_a_young_service_is_as_long_as_it_has_been_scraped():
    world = World(history_s=300.0)
    for second in range(-30, 0):
        world.requests(second + 0.5, 2)
    world.scrapes(-29, 0)
    (block,) = world.at(0).read("", entry=-1).blocks
    assert (seconds(block.start), seconds(block.end), block.baseline.requests) == (-25, -5, 40)


def test_a_service_without_a_past_has_no_history_and_a_cursor_all_the_same():
    world = World()
    found = world.at(0).read("", entry=-1)
    assert found.blocks == ()
    assert found.cursor
    assert "no request was answered yet" in found.problem


def test_other_versions_in_the_cursor_start_anew():
    world = World()
    world.requests(-20)
    world.scrapes(-19, 30)
    cursor = world.at(0).read().cursor
    other = world.at(20).read(cursor, candidate="3.0.0")
    assert other.blocks == ()
    assert "starts anew" in other.problem


# ------------------------------------------------------------------------------------ properties


@st.composite
def stories(draw):
    """Proxies with requests, restarts and lost or slow scrapes over two minutes; moments at which somebody reads."""
    proxies = []
    for number in range(draw(st.integers(1, 3))):
        phase = draw(st.integers(1, 4999))
        slow = draw(st.sampled_from([0, 200, 4000]))
        lost = draw(st.sets(st.integers(0, 30), max_size=6))
        jitter = draw(st.integers(0, 3))
        times = [
            START_MS - 30_000 + phase + STEP_MS * index + (jitter if index % 2 else 0)
            for index in range(31)
            if index not in lost
        ]
        proxies.append((f"edge-{number}", times, slow, draw(st.lists(st.integers(0, 120_000), max_size=1))))
    events = draw(
        st.lists(
            st.tuples(
                st.integers(-60_000, 120_000),
                st.integers(0, len(proxies) - 1),
                st.sampled_from([OLD, OLD, OLD, NEW]),
                st.sampled_from([200, 200, 200, 404, 500]),
                st.sampled_from([1.0, 7.0, 30.0, 400.0]),
            ),
            max_size=60,
        )
    )
    looks = sorted(draw(st.sets(st.integers(2_000, 112_000), min_size=1, max_size=6)))
    return proxies, events, looks


def play(story):
    described, events, looks = story
    world = World(tuple(pod for pod, *_ in described))
    for offset, number, version, code, latency in events:
        world.proxies[number].request(START_MS + offset, latency, version=version, code=code)
    for proxy, (_, times, slow, restarts) in zip(world.proxies, described, strict=True):
        proxy.request(START_MS - 200_000)
        proxy.restarts += [START_MS + each for each in restarts]
        for time in times:
            world.store.scrape(proxy, time, time + slow)
    return world, looks


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(stories())
def test_however_reading_is_cut_up_the_blocks_are_the_same(story):
    world, looks = play(story)
    begin = world.at(0).read().cursor
    parts, cursor = [], begin
    for look in [*looks, 118_000]:
        reading = world.at(look / 1000).read(cursor)
        parts += reading.blocks
        assert world.read(cursor) == reading, "reading twice gives the same"
        cursor = reading.cursor
    assert tuple(parts) == world.at(118).read(begin).blocks
    for one, other in pairwise(parts):
        assert one.end == other.start


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(stories())
def test_blocks_hold_exactly_what_the_scrapes_saw_grow(story):
    world, _ = play(story)
    begin = world.at(0).read().cursor
    blocks = world.at(118).read(begin).blocks
    for block in blocks:
        expected = naive(world, block.start, block.end)
        for arm, version in ((block.baseline, OLD), (block.candidate, NEW)):
            assert (arm.requests, arm.bad, arm.latency) == expected[version]


def naive(world, start, end):
    """The same by brute force: every series by itself, sample by sample, looking back one minute from its block."""
    found = {version: [0, 0, [0] * 5] for version in (OLD, NEW)}
    bounds = ["5", "10", "50", "100", "+Inf"]
    first, last = (round((each - EPOCH).total_seconds() * 1000) for each in (start, end))
    instants: dict = {}
    for key, samples in world.store.samples.items():
        instants.setdefault(dict(key)["pod"], set()).update(samples)
    for key, samples in world.store.samples.items():
        labels = dict(key)
        arm = found[labels["destination_version"]]
        for time in samples:
            if not first < time <= last:
                continue
            oldest = (time - 1) // STEP_MS * STEP_MS - 60_000
            earlier = [each for each in samples if oldest < each < time]
            scraped = [each for each in instants[labels["pod"]] if oldest < each < time]
            since = max(earlier or scraped, default=None)
            if since is None or since < START_MS or not recognised(world, labels, time, oldest):
                continue
            grown = fell_or_grew(world, labels, time, max(earlier)) if earlier else samples[time][0]
            if labels["__name__"] == "istio_requests_total":
                arm[0] += grown
                arm[1] += grown if labels["response_code"] == "500" else 0
            elif labels["response_code"] != "500":
                arm[2][bounds.index(labels["le"])] += grown
    for arm in found.values():
        arm[2] = tuple(round(upper - lower) for lower, upper in zip([0, *arm[2]], arm[2], strict=False))
    return {version: tuple(arm) for version, arm in found.items()}


def recognised(world, labels, time, oldest):
    """Whether some series of the proxy was there before under the same labels."""
    return any(
        time in samples and any(oldest < each < time for each in samples)
        for key, samples in world.store.samples.items()
        if all(dict(key)[name] == labels[name] for name in ("pod", "__name__"))
        and (dict(key)["response_code"] != "500" or labels["__name__"] == "istio_requests_total")
    )


def fell_or_grew(world, labels, time, before):
    """The growth of a series; of a bucket, anew when its histogram began anew."""
    family = sorted(
        (float(dict(key).get("le", "inf")), samples[time][0], samples[before][0])
        for key, samples in world.store.samples.items()
        if {**dict(key), "le": ""} == {**labels, "le": ""} or dict(key) == labels
    )
    steps = [0, *(now - old for _, now, old in family)]
    anew = any(upper < lower for lower, upper in pairwise(steps))
    own = next(samples for key, samples in world.store.samples.items() if dict(key) == labels)
    return own[time][0] - (0 if anew else own[before][0])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(stories(), st.lists(st.booleans(), min_size=7, max_size=7))
def test_two_servers_behind_one_address_count_nothing_twice(story, turns):
    world, looks = play(story)
    other = Store()
    for proxy, (_, times, slow, _) in zip(world.proxies, story[0], strict=True):
        for time in times:
            other.scrape(proxy, time + 1700, time + 1700 + slow)
    stores = (world.store, other)
    events = [event for proxy in world.proxies for event in proxy.events]
    truth = {version: sum(truly(event, version) for event in events) for version in (OLD, NEW)}
    cursor, seen = world.at(0).read().cursor, {OLD: 0, NEW: 0}
    for look, turn in zip([*looks, 118_000], turns, strict=False):
        world.prometheus.store = stores[turn]
        reading = world.at(look / 1000).read(cursor)
        cursor = reading.cursor
        for block in reading.blocks:
            seen[OLD] += block.baseline.requests
            seen[NEW] += block.candidate.requests
    assert all(seen[version] <= truth[version] for version in seen)


def truly(event, version):
    time, labels, _ = event
    return time > START_MS and dict(labels)["destination_version"] == version
