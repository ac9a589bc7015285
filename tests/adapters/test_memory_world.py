"""Clock, workloads, metrics and the faults of the store in memory."""

from __future__ import annotations

from datetime import UTC, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshctl.adapters.clock import SystemClock
from meshctl.adapters.memory import BOUNDS_MS, Behaviour, FakeWorld
from meshctl.core.errors import Conflict, InvalidInput, StoreError
from meshctl.core.model import ArmCounts, ReadyReplicas, ReleaseState, Routing
from tests.adapters.store_values import MESH, release, request

SHOP = release()


def world(**options):
    return FakeWorld.of({"2.0.0": 2, "2.1.0": 3}, **options)


def route(world, weight):
    objects = world.renderer.render(SHOP, Routing("2.0.0", "2.1.0", weight, "shop-1"))
    fallback = world.renderer.render(SHOP, Routing("2.0.0", "2.1.0", 0.0, "shop-1", aborted=True))
    world.mesh.apply(SHOP, objects, fallback=fallback)


def read(world, cursor, entry=0, weight=10.0):
    return world.metrics.read(SHOP, "2.0.0", "2.1.0", cursor, entry=entry, weight=weight)


# ------------------------------------------------------------------------------------ clocks


def test_the_fake_clock_moves_only_when_it_is_moved():
    clock = world().clock
    before = clock.now()
    assert clock.now() == before
    assert clock.advance(1.5) - before == timedelta(seconds=1.5)
    with pytest.raises(AssertionError):
        clock.advance(-1)


def test_the_system_clock_knows_its_zone():
    assert SystemClock().now().tzinfo is UTC


# ------------------------------------------------------------------------------------ workloads


def test_replicas_are_ready_some_time_after_they_were_asked_for():
    w = world(start_s=5.0)
    assert w.workloads.ready(SHOP, "2.1.0") == ReadyReplicas(0, 3, "not started")
    w.workloads.ensure(SHOP, "2.1.0")
    w.clock.advance(4)
    w.workloads.ensure(SHOP, "2.1.0")
    assert not w.workloads.ready(SHOP, "2.1.0").complete
    w.clock.advance(1)
    assert w.workloads.ready(SHOP, "2.1.0") == ReadyReplicas(3, 3)


def test_retiring_leaves_the_kept_versions_and_other_releases_alone():
    w = world()
    for each in (SHOP, release("cart")):
        for version in ("2.0.0", "2.1.0"):
            w.workloads.ensure(each, version)
    w.workloads.retire(SHOP, ["2.0.0"])
    assert w.workloads.running(SHOP) == {"2.0.0"}
    assert w.workloads.running(release("cart")) == {"2.0.0", "2.1.0"}


def test_retiring_for_an_older_run_leaves_alone_what_a_later_one_needs():
    w = world()
    w.workloads.ensure(SHOP, "2.1.0", run=8)
    w.workloads.ensure(SHOP, "2.1.0", run=7)
    w.workloads.retire(SHOP, [], run=7)
    assert w.workloads.running(SHOP) == {"2.1.0"}
    w.workloads.retire(SHOP, [], run=8)
    assert w.workloads.running(SHOP) == set()


def test_an_unknown_version_cannot_be_started_and_has_no_replicas():
    w = world()
    with pytest.raises(InvalidInput, match=r"shop has no version '9'\n  Known versions: 2\.0\.0, 2\.1\.0\."):
        w.workloads.ensure(SHOP, "9")
    assert w.workloads.ready(SHOP, "9") == ReadyReplicas(0, 0, "not started")


def test_broken_replicas_never_become_ready_and_unknown_ones_cannot_be_found_out():
    w = world()
    w.workloads.ensure(SHOP, "2.1.0")
    w.workloads.broken.add("2.1.0")
    assert w.workloads.ready(SHOP, "2.1.0").ready == 0
    w.workloads.unknown.add("2.1.0")
    assert w.workloads.ready(SHOP, "2.1.0") is None


# ------------------------------------------------------------------------------------ metrics


def test_the_first_reading_is_only_a_cursor_and_the_next_one_a_block():
    w = world(rps=100)
    route(w, 10.0)
    first = read(w, "")
    assert (first.blocks, first.problem) == ((), None)
    w.clock.advance(10)
    block = read(w, first.cursor).blocks[0]
    assert (block.end - block.start, block.entry, block.weight) == (timedelta(seconds=10), 0, 10.0)
    assert (block.baseline.requests, block.candidate.requests) == (900, 100)
    assert len(block.baseline.latency) == len(block.bounds_ms) + 1 == len(BOUNDS_MS) + 1


def test_the_first_reading_before_any_stage_brings_the_baselines_history():
    w = world(rps=100)
    route(w, 0.0)
    began = w.clock.now()
    assert read(w, "", entry=-1).blocks == ()
    w.clock.advance(60)
    block = read(w, "", entry=-1).blocks[0]
    assert (block.start, block.entry, block.weight) == (began, -1, 0.0)
    assert (block.baseline.requests, block.candidate) == (6000, ArmCounts(0, 0, (0,) * (len(BOUNDS_MS) + 1)))


def test_reading_twice_from_one_cursor_gives_the_same_and_no_time_no_block():
    w = world()
    route(w, 10.0)
    cursor = read(w, "").cursor
    assert read(w, cursor).blocks == ()
    w.clock.advance(3)
    assert read(w, cursor) == read(w, cursor)


@given(st.lists(st.floats(0.01, 30.0), min_size=1, max_size=20), st.sampled_from([0.1, 1.0, 33.3, 100.0]))
def test_however_time_is_cut_no_request_is_lost_or_counted_twice(steps, weight):
    whole, cut = world(rps=97), world(rps=97)
    for each in (whole, cut):
        each.metrics.behave("2.1.0", Behaviour(bad=0.3))
        route(each, weight)
    begin = cursor = read(cut, "").cursor
    start = read(whole, "").cursor
    parts = []
    for step in steps:
        cut.clock.advance(step)
        whole.clock.advance(step)
        reading = read(cut, cursor)
        cursor = reading.cursor
        parts.append(reading.blocks[0])
    total = read(cut, begin).blocks[0]
    assert sum(part.candidate.requests for part in parts) == total.candidate.requests
    assert sum(part.candidate.bad for part in parts) == total.candidate.bad
    assert abs(read(whole, start).blocks[0].baseline.requests - total.baseline.requests) <= 1


def test_the_counts_follow_the_weights_in_force_not_the_wished_ones():
    w = world(rps=100)
    route(w, 10.0)
    cursor = read(w, "").cursor
    w.clock.advance(10)
    w.mesh.stuck = True
    route(w, 50.0)
    w.clock.advance(10)
    assert read(w, cursor).blocks[0].candidate.requests == 200
    w.mesh.settle()
    w.clock.advance(10)
    assert read(w, cursor).blocks[0].candidate.requests == 700


def test_a_bad_and_slow_version_shows_in_the_counts():
    w = world(rps=100)
    w.metrics.behave("2.1.0", Behaviour(bad=0.05, median_ms=80.0))
    route(w, 50.0)
    cursor = read(w, "").cursor
    w.clock.advance(100)
    block = read(w, cursor).blocks[0]
    assert (block.baseline.bad, block.candidate.bad) == (0, 250)
    within_60_ms = BOUNDS_MS.index(60.0) + 1
    fast = [sum(arm.latency[:within_60_ms]) / sum(arm.latency) for arm in (block.baseline, block.candidate)]
    assert fast[0] > 0.75
    assert fast[1] < 0.35


def test_a_version_that_turns_bad_does_so_from_then_on():
    w = world(rps=100)
    route(w, 50.0)
    cursor = read(w, "").cursor
    w.clock.advance(10)
    w.metrics.behave("2.1.0", Behaviour(bad=1.0))
    w.metrics.load(200)
    w.clock.advance(10)
    assert read(w, cursor).blocks[0].candidate.bad == 1000


def test_a_problem_of_the_metrics_leaves_the_cursor_and_loses_nothing():
    w = world(rps=100)
    route(w, 10.0)
    cursor = read(w, "").cursor
    w.clock.advance(10)
    w.metrics.problem = "Prometheus does not answer"
    reading = read(w, cursor)
    assert (reading.blocks, reading.cursor, reading.problem) == ((), cursor, "Prometheus does not answer")
    w.metrics.problem = None
    w.clock.advance(10)
    assert read(w, cursor).blocks[0].baseline.requests == 1800


def test_a_cursor_of_other_versions_starts_anew():
    w = world()
    route(w, 10.0)
    cursor = read(w, "").cursor
    w.clock.advance(1)
    other = w.metrics.read(SHOP, "2.1.0", "2.2.0", cursor, entry=0, weight=0.0)
    assert other.blocks == ()
    assert other.cursor != cursor


# ------------------------------------------------------------------------------------ faults of the store


def save(store, version):
    return store.save(
        "shop", version, ReleaseState(), judge_state="", cursor="", events=(), blocks=(), served=(), mesh=MESH
    )


def test_conflicts_can_be_asked_for():
    store = world().store
    store.put_release(SHOP)
    store.conflicts = 2
    for _ in range(2):
        with pytest.raises(Conflict):
            save(store, 1)
    assert save(store, 1) == 2


def test_a_full_disk_refuses_writes_and_answers_reads():
    store = world().store
    store.put_release(SHOP)
    store.disk_full = True
    writes = (
        lambda: save(store, 1),
        lambda: store.request("shop", request()),
        lambda: store.put_release(release("cart")),
        lambda: store.put_release(release(version="9")),
    )
    for write in writes:
        with pytest.raises(StoreError, match="no space left"):
            write()
    assert (store.names(), store.load("shop").version, store.load("shop").requests) == (["shop"], 1, ())
    store.disk_full = False
    save(store, 1)


def test_an_unreadable_store_answers_nothing():
    store = world().store
    store.put_release(SHOP)
    store.unreadable = True
    for ask in (store.names, store.revision, lambda: store.load("shop"), lambda: save(store, 1)):
        with pytest.raises(StoreError, match="cannot be read"):
            ask()
