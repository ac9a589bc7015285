"""Canaries among faults of everything around meshctl: none is stuck, and no request fails because of it.

One release goes to and fro between two versions, and requests flow all the time.
"""

from __future__ import annotations

import itertools
import json

import pytest

from tests.cluster.driven import AWAY, stages, world_of
from tests.cluster.relay import WRITES, Answer
from tests.cluster.waiting import eventually

NUMBERS = itertools.count(1)
PAGE = Answer(200, b"<!DOCTYPE html><html><body>Please log in</body></html>", {"content-type": "text/html"})
EMPTY = Answer(200, b'{"status":"success","data":{"resultType":"matrix","result":[]}}')


@pytest.fixture(scope="module")
def flowing(cluster):
    with world_of(cluster, next(NUMBERS)) as world, world.shop.load(rps=100) as load:
        yield world, load


@pytest.fixture
def world(flowing):
    """Healed after each test; then it is told whether a client's request failed."""
    world, load = flowing
    before = load.counts().failed
    yield world
    world.kubernetes.honest()
    world.prometheus.honest()
    world.cluster.heal()
    load.wait_for(50)
    assert load.counts().failed == before, load.counts().causes


def test_without_metrics_a_canary_holds_and_with_them_it_goes_on(world):
    prometheus = world.cluster.prometheus

    def lie(answer):
        world.prometheus.before = lambda method, path: answer

    faults = {
        "killed": prometheus.kill,
        "hung": prometheus.freeze,
        "empty answers": lambda: lie(EMPTY),
        "a page to log in": lambda: lie(PAGE),
    }
    with world.driver():
        version = world.canary(strategy={"canary": {"stages": stages("10m")}})
        for fault, begin in faults.items():
            begin()
            eventually(
                lambda: world.person.status().get("reason") in ("MetricsOutage", "NoTraffic"),
                60,
                f"it says that the metrics are missing: {fault}",
                detail=world.story,
            )
            assert world.weight(version) == 25
            assert fault != "a page to log in" or "HTML" in json.dumps(world.person.status())
            world.prometheus.honest()
            prometheus.heal()
            world.person.until(60, phase="Progressing", weight=25)
        world.person.says("promote", "shop", "--reason", "the metrics are back")
        world.promoted(version)


@pytest.mark.parametrize("name", ["api_server", "istiod"])
def test_the_control_plane_dies_in_the_middle_and_the_canary_goes_on_afterwards(flowing, world, name):
    _, load = flowing
    with world.driver():
        version = world.canary()
        getattr(world.cluster, name).kill()
        load.wait_for(500)
        assert world.weight(version) in (25, 100)
        getattr(world.cluster, name).heal()
        world.promoted(version)


def test_a_driver_killed_after_each_of_its_writes_gets_to_the_end(world):
    with world.driver("tick", "--for", "10m") as driver:  # it needs no lease, which would have to run out each time
        written = []

        def after(method, path, status):
            place = path.partition("?")[0]
            if method in WRITES and status < 300 and "/events" not in place:
                written.append(f"{method} {place.rpartition('/namespaces/')[2]}")
                driver.kill()

        world.kubernetes.after = after
        version = "v2" if world.person.status()["baseline"] == "v1" else "v1"
        world.wish(version, strategy={"canary": {"stages": stages("2s")}})

        def ended():
            if not driver.alive:
                driver.start()
            return world.person.status().get("baseline") == version

        eventually(ended, 240, "it is promoted", despite=AWAY, detail=lambda: f"{written}{world.story()}")
        world.kubernetes.honest()
        if not driver.alive:
            driver.start()
        world.promoted(version)
    assert len(written) >= 5, written
    assert driver.starts >= 5, (driver.starts, written)
