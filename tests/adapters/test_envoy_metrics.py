"""Metrics from real Envoy: exact counts between two readings, whatever happens to Envoy in between."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from meshctl.adapters.envoy.bootstrap import BOUNDS_MS
from meshctl.adapters.envoy.metrics import EnvoyMetrics
from meshctl.adapters.supervision import ProcessTable
from meshctl.core.model import Reading
from tests.adapters.envoy_world import NEW, OLD, RELEASE, Now, World, objects, version, workload

pytestmark = pytest.mark.e2e


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "m", workload({OLD: version(), NEW: version(ERRORS="0.5")}))
    world.start()
    world.have_ready(OLD, NEW)
    world.apply({OLD: 500, NEW: 500})
    yield world
    world.stop()


def read(world: World, cursor: str, entry: int = 0) -> Reading:
    return world.metrics.read(RELEASE, OLD, NEW, cursor, entry=entry, weight=50.0)


def test_a_block_holds_exactly_what_users_saw(shop: World):
    shop.get(50)
    first = read(shop, "")
    assert first.blocks == ()
    answers = shop.get(400)
    block = read(shop, first.cursor).blocks[0]
    assert block is not None
    assert block.baseline.requests == answers[f"200 {OLD} -"]
    assert block.candidate.requests == answers[f"200 {NEW} -"] + answers[f"500 {NEW} -"]
    assert (block.baseline.bad, block.candidate.bad) == (0, answers[f"500 {NEW} -"])
    assert sum(block.candidate.latency) == answers[f"200 {NEW} -"], "latency counts good answers only"
    assert sum(block.baseline.latency) == block.baseline.requests
    assert (block.bounds_ms, len(block.baseline.latency)) == (BOUNDS_MS, len(BOUNDS_MS) + 1)
    assert (block.entry, block.weight) == (0, 50.0)


def test_blocks_follow_each_other_without_gap_or_overlap(shop: World):
    cursor, total, end = read(shop, "").cursor, 0, None
    for _ in range(3):
        shop.get(100)
        found = read(shop, cursor)
        assert found.blocks
        assert end in (None, found.blocks[0].start)
        cursor, end = found.cursor, found.blocks[0].end
        total += found.blocks[0].baseline.requests + found.blocks[0].candidate.requests
    assert total == 300


def test_requests_with_the_preview_header_are_not_counted(shop: World):
    cursor = read(shop, "").cursor
    shop.get(50, headers={"x-meshctl-preview": NEW})
    block = read(shop, cursor).blocks[0]
    assert block is not None
    assert (block.baseline.requests, block.candidate.requests) == (0, 0)


def test_the_history_of_the_baseline_reaches_back_to_envoys_start(shop: World):
    answers = shop.get(200)
    block = read(shop, "", entry=-1).blocks[0]
    assert block is not None
    assert block.baseline.requests == answers[f"200 {OLD} -"]
    assert (block.candidate.requests, block.entry) == (0, -1)
    assert block.start < block.end


def test_after_a_restart_of_envoy_its_new_counts_are_the_difference(shop: World):
    shop.get(300)
    cursor = read(shop, "").cursor
    process = ProcessTable(shop.base).get("envoy")
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    shop.until(lambda: shop.server.running() and "shop" in shop.server.admin.listeners())
    answers = shop.get(100)
    block = read(shop, cursor).blocks[0]
    assert block is not None
    assert block.baseline.requests == answers[f"200 {OLD} -"]


def test_without_envoy_a_reading_is_a_problem_and_keeps_its_place(shop: World):
    cursor = read(shop, "").cursor
    shop.server.stop()
    found = read(shop, cursor)
    assert (found.blocks, found.cursor) == ((), cursor)
    assert found.problem
    assert "metrics of Release/shop" in found.problem


class Ahead:
    """A clock that stands in the future, until it is put right."""

    def __init__(self) -> None:
        self.ahead = timedelta(hours=1)

    def now(self) -> datetime:
        return Now().now() + self.ahead


def test_what_was_counted_while_the_clock_went_back_is_in_no_block(shop: World):
    clock = Ahead()
    metrics = EnvoyMetrics(shop.server, clock)

    def look(cursor: str) -> Reading:
        return metrics.read(RELEASE, OLD, NEW, cursor, entry=0, weight=50.0)

    cursor = look("").cursor
    shop.get(50)
    clock.ahead = timedelta(0)
    found = look(cursor)
    assert (found.blocks, found.problem) == ((), "the clock went back since the last reading; counting starts anew")
    shop.get(20)
    block = look(found.cursor).blocks[0]
    assert block is not None
    assert block.baseline.requests + block.candidate.requests == 20


def test_an_unreadable_cursor_starts_anew_and_says_so(shop: World):
    found = read(shop, "{")
    assert found.blocks == ()
    assert found.problem
    assert "starts anew" in found.problem
    assert read(shop, found.cursor).problem is None


def test_a_version_that_hangs_is_bad_and_a_client_that_gives_up_is_nobodys_fault(tmp_path: Path):
    world = World(tmp_path / "m", workload({OLD: version(), NEW: version(DELAY_S="0.4")}))
    try:
        world.start()
        world.have_ready(OLD, NEW)
        world.mesh.apply(RELEASE, objects({OLD: 0, NEW: 1000}, timeout="5s"))
        cursor = read(world, "").cursor
        host, _, port = world.server.listen("shop").partition(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n")
            world.until(
                lambda: "http.shop.downstream_rq_active: 1" in world.server.admin.get("/stats?filter=rq_active")
            )
        world.until(lambda: 'flags="DC"' in world.server.admin.get("/stats?format=prometheus&filter=^meshctl"))
        block = read(world, cursor).blocks[0]
        assert block is not None
        assert (block.candidate.requests, sum(block.candidate.latency)) == (0, 0)
        revision = world.mesh.apply(RELEASE, objects({OLD: 0, NEW: 1000}, timeout="100ms"))
        assert world.mesh.confirm(RELEASE, revision, 2.0)
        assert world.get(4) == {"504 - UT": 4}
        block = read(world, cursor).blocks[0]
        assert block is not None
        assert (block.candidate.requests, block.candidate.bad, sum(block.candidate.latency)) == (4, 4, 0)
    finally:
        world.stop()
