"""A canary by the user's own VirtualService, whose other parts somebody edits meanwhile."""

from __future__ import annotations

import pytest

from tests.cluster.driven import ISTIO, World, stages
from tests.cluster.mesh_world import storefront
from tests.cluster.shop import destination_rule
from tests.cluster.waiting import eventually


@pytest.fixture
def world(namespace):
    namespace.apply(destination_rule(namespace.host, ["v1", "v2"]), manager="argocd-controller")
    namespace.apply(storefront(namespace), manager="argocd-controller")
    namespace.wait_weights({"v1": 100})
    namespace.wait_endpoints(["v1"])
    world = World(namespace)
    yield world
    world.close()


def weights(world):
    """Percent of v2, by route."""
    routes = world.cluster.api.get(ISTIO, "VirtualService", "storefront", world.shop.namespace)["spec"]["http"]
    return {
        route["name"]: 100 * each.get("weight", 0) / sum(one.get("weight", 0) for one in route["route"])
        for route in routes
        for each in route.get("route", [])
        if each["destination"]["subset"] == "v2"
    }


def edit(world, operations):
    """A JSON patch of somebody else."""
    path = world.cluster.api.path(ISTIO, "VirtualService", world.shop.namespace, "storefront")
    world.cluster.api.call("PATCH", path, operations, kind="application/json-patch+json")


def test_what_a_foreign_hand_writes_beside_the_weights_survives_a_canary(world):
    """argo-rollouts #4741 was a silent no-op on several named routes, #3854 a VirtualService taken over."""
    mesh = {"ownership": "adopt", "adopt": {"virtualService": "storefront", "routes": ["main", "slow"]}}
    plan = {"mesh": mesh, "strategy": {"canary": {"stages": stages()}}}
    with world.shop.load(rps=100) as load, world.driver():
        world.wish("v1", **plan)
        world.person.until(60, phase="Promoted", baseline="v1")
        world.wish("v2", **plan)
        eventually(lambda: weights(world) == {"main": 25, "slow": 25}, 30, "25 %", detail=world.story)
        added = {"name": "added", "match": [{"uri": {"prefix": "/added"}}], "redirect": {"uri": "/"}}
        edit(world, [{"op": "add", "path": "/spec/http/0/retries", "value": {"attempts": 1}}])
        edit(world, [{"op": "add", "path": "/spec/http/0", "value": added}])
        edit(world, [{"op": "replace", "path": "/spec/http/3/corsPolicy/maxAge", "value": "7s"}])
        world.person.until(90, phase="Promoted", baseline="v2")
    assert weights(world) == {"main": 100, "slow": 100}
    routes = world.cluster.api.get(ISTIO, "VirtualService", "storefront", world.shop.namespace)["spec"]["http"]
    assert [route["name"] for route in routes] == ["added", "main", "slow", "rest"]
    assert routes[1]["retries"] == {"attempts": 1}
    assert routes[3]["corsPolicy"] == {"maxAge": "7s"}
    assert load.counts().failed == 0, load.counts().causes
