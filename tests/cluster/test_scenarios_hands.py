"""Canaries while others write: hands on the routes, more drivers than one, storms of conflicts and of refusals.

One release goes to and fro between two versions, and requests flow all the time.
"""

from __future__ import annotations

import itertools
from collections import Counter
from contextlib import suppress

import pytest

from tests.cluster.api import Refused
from tests.cluster.driven import ISTIO, MESHCTL, stages, world_of
from tests.cluster.relay import WRITES, Answer
from tests.cluster.waiting import eventually

BUSY = Answer(
    429,
    b'{"kind":"Status","status":"Failure","reason":"TooManyRequests","code":429,"message":"too many requests"}',
    {"content-type": "application/json", "retry-after": "1"},
)
OBJECTS = {
    "releases": (MESHCTL, "Release"),
    "releaseruns": (MESHCTL, "ReleaseRun"),
    "virtualservices": (ISTIO, "VirtualService"),
    "destinationrules": (ISTIO, "DestinationRule"),
}
NUMBERS = itertools.count(101)


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
    load.wait_for(50)
    assert load.counts().failed == before, load.counts().causes


def by_hand(world, version, weight):
    """Somebody else writes the weights."""

    def write():
        routes = world.routes
        for route in routes["spec"]["http"]:
            for each in route["route"]:
                each["weight"] = weight if each["destination"]["subset"].endswith(version) else 100 - weight
        for key in ("managedFields", "creationTimestamp", "generation", "uid"):
            routes["metadata"].pop(key, None)
        path = world.cluster.api.path(ISTIO, "VirtualService", world.shop.namespace, "shop")
        return world.cluster.api.call("PUT", path, routes)

    eventually(write, 10, "the weight is written by hand", despite=(Refused,))


def test_a_weight_above_the_decided_one_is_taken_back_at_once(world):
    with world.driver():
        version = world.canary(strategy={"canary": {"stages": stages("20s")}})
        by_hand(world, version, 70)
        eventually(lambda: world.weight(version) == 25, 5, "it is lowered", detail=world.story)
        world.promoted(version)


def test_a_weight_below_the_decided_one_is_never_raised_but_by_a_person(world):
    with world.driver():
        version = world.canary(strategy={"canary": {"stages": stages("20s")}})
        by_hand(world, version, 5)
        world.person.until(30, reason="LoweredByOther")
        assert world.weight(version) == 5
        world.person.says("resume", "shop")
        world.promoted(version)


def test_two_controllers_and_ticks_between_them_make_one_chain_of_decisions(world):
    with world.driver("controller") as first, world.driver("controller"), world.driver("tick", "--for", "2m"):
        version = world.canary()
        first.kill()
        world.promoted(version)
    run = world.person.status()["run"]
    name = run["name"] if isinstance(run, dict) else run
    assert "the same" in world.person.says("replay", name)


def test_others_who_are_always_a_moment_faster_do_not_keep_a_canary_from_its_end(world):
    """Of three writes to an object two come too late: somebody has just changed it."""
    api, place = world.cluster.api, world.shop.namespace
    numbers, tries, lost = itertools.count(), Counter(), []

    def before(method, path):
        kind, _, name = path.partition("?")[0].removesuffix("/status").rpartition("/")
        kind = kind.rpartition("/")[2]
        if method in ("PUT", "PATCH") and kind in OBJECTS:
            tries[kind, name] += 1
            if tries[kind, name] % 3:
                change = {"metadata": {"annotations": {"example.com/scribble": str(next(numbers))}}}
                with suppress(Refused):
                    api.patch(*OBJECTS[kind], name, place, change)

    def after(method, path, status):
        if method in WRITES and status == 409:
            lost.append(path)

    with world.driver():
        world.kubernetes.before, world.kubernetes.after = before, after
        version = world.canary()
        world.promoted(version, 150)
    assert len(lost) > 5, lost
    assert {kind for kind, _ in tries} == set(OBJECTS)


def test_an_api_server_that_sends_most_requests_away_slows_a_canary_and_does_not_end_it(world):
    numbers, refused = itertools.count(), []

    def before(method, path):
        if next(numbers) % 3 == 0 or "watch=" in path:
            return None
        refused.append(method)
        return BUSY

    with world.driver():
        version = world.canary()
        world.kubernetes.before = before
        world.promoted(version, 150)
    assert len(refused) > 5
    assert WRITES & set(refused)


def test_a_release_edited_in_flight_goes_on(world):
    with world.driver():
        version = world.canary(strategy={"canary": {"stages": stages("12s")}})
        world.wish(version, strategy={"canary": {"stages": stages("3s")}}, keepWarm="5m")
        world.promoted(version)
