"""The fast path: an endpoint that comes or goes is told within a moment, from real watches on the API in memory."""

from __future__ import annotations

import queue

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshctl.adapters.kubernetes.cached import PARTS
from meshctl.adapters.kubernetes.kinds import ENDPOINT_SLICE
from meshctl.adapters.kubernetes.lookout import Lookout, ready_addresses
from meshctl.adapters.kubernetes.watching import Cache
from tests.adapters.pods_world import NAMESPACE, NOT_READY, PodsWorld

SOON_S = 10.0
SHOP = {(NAMESPACE, "shop"): ("shop",)}


class Ear:
    """What the controller heard."""

    def __init__(self):
        self._heard = queue.Queue()
        self.forgotten = []

    def look_now(self, namespace, release):
        assert self.forgotten == [(namespace, release)], "what was seen a moment ago counts no more"
        self.forgotten = []
        self._heard.put((namespace, release))

    def forget(self, namespace, service):
        self.forgotten.append((namespace, service))

    def next(self):
        return self._heard.get(timeout=SOON_S)

    def silent(self):
        return self._heard.empty()


@pytest.fixture
def world():
    found = PodsWorld()
    found.deploy("2.1.0")
    found.settle()
    return found


@pytest.fixture
def ear():
    return Ear()


@pytest.fixture
def slices(world, ear):
    """A running cache of the slices whose changes reach the ear."""
    lookout = Lookout(ear.look_now, ear.forget)
    cache = Cache(world.api, ENDPOINT_SLICE, NAMESPACE, trim=PARTS[ENDPOINT_SLICE], changed=lookout.changed)
    lookout.follow(cache)
    lookout.move(SHOP)
    cache.start()
    assert cache.wait_until_synced(SOON_S)
    assert ear.next() == (NAMESPACE, "shop")
    cache.lookout = lookout
    yield cache
    cache.stop()


def test_pods_that_are_deleted_are_told_at_once(world, slices, ear):
    world.end_pods("2.1.0")
    assert ear.next() == (NAMESPACE, "shop")


def test_pods_that_fail_their_probe_are_told_at_once(world, slices, ear):
    world.status["2.1.0"] = NOT_READY
    world.settle()
    assert ear.next() == (NAMESPACE, "shop")


def test_pods_that_become_ready_are_told_at_once(world, slices, ear):
    world.deploy("2.2.0")
    world.settle()
    assert ear.next() == (NAMESPACE, "shop")


def test_a_slice_that_goes_is_told(world, slices, ear):
    world.hands.delete(ENDPOINT_SLICE, "shop-1", NAMESPACE)
    assert ear.next() == (NAMESPACE, "shop")


def test_a_release_that_does_not_move_is_not_looked_at(world, slices, ear):
    slices.lookout.move({})
    world.end_pods("2.1.0")
    other = {"metadata": {"name": "cart-1", "namespace": NAMESPACE, "labels": {"kubernetes.io/service-name": "cart"}}}
    slices.lookout.move({(NAMESPACE, "cart"): ("cart",)})
    endpoint = {"addresses": ["10.0.9.9"], "conditions": {"ready": True}}
    world.hands.create(ENDPOINT_SLICE, {**other, "addressType": "IPv4", "endpoints": [endpoint]})
    assert ear.next() == (NAMESPACE, "cart")
    assert ear.silent()


ENDPOINTS = st.lists(
    st.fixed_dictionaries(
        {"addresses": st.lists(st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3"]), min_size=1, max_size=1)},
        optional={
            "conditions": st.fixed_dictionaries(
                {}, optional={"ready": st.booleans(), "serving": st.booleans(), "terminating": st.booleans()}
            )
        },
    ),
    max_size=4,
)


def told(before, after):
    """Whether a change of one slice's endpoints reaches the controller."""
    heard = []
    lookout = Lookout(lambda namespace, release: heard.append(release), lambda namespace, service: None)
    now = {}

    class Kept:
        def get(self, name, namespace=""):
            return now.get(name)

    lookout.follow(Kept())
    lookout.move(SHOP)
    for endpoints in (before, after):
        metadata = {"name": "shop-1", "namespace": NAMESPACE, "labels": {"kubernetes.io/service-name": "shop"}}
        now["shop-1"] = {"metadata": metadata, "endpoints": endpoints}
        heard.clear()
        lookout.changed(ENDPOINT_SLICE, NAMESPACE, "shop-1")
    return heard == ["shop"]


@given(ENDPOINTS, ENDPOINTS)
def test_exactly_those_changes_are_told_that_change_where_requests_may_go(before, after):
    assert told(before, after) == (ready_addresses({"endpoints": before}) != ready_addresses({"endpoints": after}))


@given(ENDPOINTS)
def test_an_endpoint_that_ends_is_never_ready_and_one_that_says_nothing_is(endpoints):
    for endpoint in endpoints:
        conditions = endpoint.get("conditions", {})
        ready = conditions.get("ready", True) and not conditions.get("terminating", False)
        assert bool(ready_addresses({"endpoints": [endpoint]})) == ready
