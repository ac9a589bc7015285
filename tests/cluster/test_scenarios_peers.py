"""Situations that hurt users of other tools, with requests flowing that are counted on the client's side."""

from __future__ import annotations

import copy

from tests.cluster.mesh_world import ISTIO, front, storefront
from tests.cluster.releasing import Scene, by_hand, controller, judged, made_pods, market, scene
from tests.cluster.shop import destination_rule
from tests.cluster.waiting import eventually

__all__ = ["controller", "market", "scene"]
RPS = 100
INSIDE = {"hosts": ["shop"], "gateways": ["mesh"]}


def nothing_failed(*loads):
    for load in loads:
        counts = load.counts()
        assert counts.failed == 0, counts


def test_the_first_release_takes_over_from_pods_that_serve_and_promotion_rolls_none(empty_shop, controller):
    """argo-rollouts #2507: at the first deploy the DestinationRule named pods that were not ready yet, and all
    requests got 503; #587: likewise when the objects first met.  flagger #1752: promotion copies the new version into
    the primary Deployment, so the pods that were tested are not those that serve, and all of them roll at once."""
    empty_shop.deploy("old")
    scene = Scene(empty_shop, controller)
    with empty_shop.load(RPS, via="sidecar") as load:
        load.wait_for(50)
        scene.wish("v1", workload=made_pods("v1"), mesh=INSIDE)
        eventually(lambda: scene.side_share("v1") == 100, 60, "v1 serves alone")
        scene.until(phase="Promoted", reason="FirstRelease")
        load.wait_for(20)
        before = load.counts()
        load.wait_for(100)
        assert load.counts().version("old").requests == before.version("old").requests
        nothing_failed(load)
        scene.wish("v2", by_hand(50), workload=made_pods("v2"), mesh=INSIDE, keepWarm="1s")
        scene.until(phase="Paused", reason="ManualGate")
        tested = scene.pods("v2")
        assert len(tested) == 2
        scene.person.says("promote", "shop", "--reason", "looked at")
        scene.ended(0)
        eventually(lambda: not scene.pods("v1"), 90, "the old version's pods have gone")
        load.wait_for(50)
        assert scene.pods("v2") == tested, "those that were tested serve"
    nothing_failed(load)


def test_a_rollback_after_promotion_is_one_write_to_warm_pods(scene):
    with scene.shop.load(RPS) as load:
        scene.reach("v2", 50)
        scene.person.says("promote", "shop", "--reason", "looked at")
        scene.ended(0)
        assert scene.share("v2") == 100
        load.wait_for(50)
        scene.person.says("rollback", "shop", "--reason", "orders are lost since noon")
        eventually(lambda: scene.share("v1") == 100, 20, "v1 serves alone")
        scene.until(baseline="v1")
        load.wait_for(50)
    nothing_failed(load)


def test_a_release_does_not_hang_behind_a_degraded_version_that_serves(empty_shop, controller):
    """argo-rollouts #4839: as long as one pod of the stable ReplicaSet is not available, a subset-based canary neither
    goes on nor ends, at whatever weight it had: one cannot even replace what is broken."""
    empty_shop.deploy("v1")
    empty_shop.deploy("v2")
    scene = Scene(empty_shop, controller)
    scene.begin("v1")
    with empty_shop.load(RPS) as load:
        stuck = [{"op": "add", "path": "/spec/template/spec/containers/0/image", "value": "nowhere/shop:9"}]
        stuck.append({"op": "remove", "path": "/spec/template/spec/containers/0/command"})
        patch = str(stuck).replace("'", '"')
        empty_shop.cluster.kubectl(
            "patch", "deployment", "shop-v1", "-n", empty_shop.namespace, "--type=json", "-p", patch
        )
        eventually(lambda: len(empty_shop.pods("v1")) == 3, 20, "a pod of v1 never gets ready")
        scene.reach("v2", 10)
        scene.person.says("promote", "shop", "--reason", "what serves is broken")
        scene.ended(0)
        scene.serves("v2")
        load.wait_for(50)
    nothing_failed(load)


def test_no_proxy_ever_routes_to_a_subset_that_is_not_there(empty_shop, controller):
    """argo-rollouts #4195: at finish or abort the subsets change at the same time as the routes, and a proxy that hears
    of them in the other order answers 503 NC."""
    for version in ("v1", "v2"):
        empty_shop.deploy(version, wait=False)
    for version in ("v1", "v2"):
        empty_shop.wait_ready(version)
    scene = Scene(empty_shop, controller)
    delegate = {"mesh": {"ownership": "delegate"}, "keepWarm": "1s"}
    scene.wish("v1", **delegate)
    eventually(lambda: scene.there("VirtualService"), 60, "the delegate is written")
    empty_shop.apply(front(empty_shop))
    scene.serves("v1")
    with empty_shop.load(RPS) as edge, empty_shop.load(RPS, via="sidecar") as inside:
        scene.reach("v2", 10, **delegate)
        scene.person.says("abort", "shop", "--reason", "not today")
        scene.until(phase="RolledBack", reason="Aborted")
        eventually(lambda: scene.subsets() == ["v1"], 60, "the subset of v2 has gone")
        edge.wait_for(50)
        scene.reach("v2", 50, **delegate)
        scene.person.says("promote", "shop", "--reason", "looked at")
        scene.ended(0)
        eventually(lambda: scene.subsets() == ["v2"], 60, "the subset of v1 has gone")
        edge.wait_for(50)
        assert (scene.share("v2"), scene.side_share("v2")) == (100, 100)
    nothing_failed(edge, inside)


def test_all_named_routes_move_and_the_virtual_service_stays_its_owners(namespace, controller):
    """argo-rollouts #4741: of several named routes only some were moved, and nobody said so; #3854: it takes over the
    whole of ``spec.http``, so that later changes of the owner in Git are hidden or lost."""
    scene = Scene(namespace, controller)
    namespace.apply(destination_rule(namespace.host, ["v1", "v2"]), manager="argocd-controller")
    namespace.apply(storefront(namespace), manager="argocd-controller")
    namespace.wait_weights({"v1": 100})
    adopt = {"ownership": "adopt", "adopt": {"virtualService": "storefront", "routes": ["main", "slow"]}}

    def http():
        return namespace.api.get(ISTIO, "VirtualService", "storefront", namespace.namespace)["spec"]["http"]

    def shares():
        return [[each.get("weight", 0) for each in route["route"]] for route in http()]

    with namespace.load(RPS) as edge, namespace.load(RPS, via="sidecar") as inside:
        scene.wish("v1", mesh=adopt)
        scene.until(phase="Promoted", baseline="v1")
        before = unweighted(http())
        scene.reach("v2", 10, mesh=adopt)
        assert [each[1] * 10 for each in shares()[:2]] == [sum(each) for each in shares()[:2]]
        assert shares()[2] == [100]
        patch = '[{"op": "add", "path": "/spec/http/2/timeout", "value": "9s"}]'
        namespace.cluster.kubectl(
            "patch", "virtualservice", "storefront", "-n", namespace.namespace, "--type=json", "-p", patch
        )
        scene.person.says("promote", "shop", "--reason", "looked at")
        scene.ended(0)
        assert [each[0] for each in shares()[:2]] == [0, 0]
        before[2]["timeout"] = "9s"
        assert unweighted(http()) == before
        edge.wait_for(50)
    nothing_failed(edge, inside)


def unweighted(http):
    """Everything but the weights."""
    rest = copy.deepcopy(http)
    for route in rest:
        for each in route["route"]:
            each.pop("weight", None)
    return rest


def test_a_service_that_always_failed_a_little_can_be_released(empty_shop, controller):
    """flagger #739: thresholds are absolute, so a service with more errors than the threshold can never be released,
    however equal the versions are.  Here the candidate is compared with what serves at the same time."""
    for version in ("v1", "v2"):
        empty_shop.deploy(version, wait=False, ERRORS=0.1)
    for version in ("v1", "v2"):
        empty_shop.wait_ready(version)
    scene = Scene(empty_shop, controller)
    scene.begin("v1")
    with empty_shop.load(RPS) as load:
        scene.wish("v2", judged(50))
        scene.ended(0)
        assert scene.share("v2") == 100
    counts = load.counts()
    assert counts.failed_by_mesh == counts.failed_by_workload == 0, counts
    assert counts.version("v1").failed > 0


def test_no_traffic_is_no_failure(scene):
    """flagger #1501: without requests the metrics have no value, which counts as a failed check, so that a release in a
    quiet night is rolled back.  Here it waits, and goes on by itself with the first requests."""
    scene.shop.deploy("v7")
    scene.wish("v7", judged(50))
    scene.has("v7", 50)
    scene.until(phase="Held", reason="NoTraffic")
    assert scene.share("v7") == 50
    with scene.shop.load(RPS) as load:
        scene.ended(0)
        scene.person.says("rollback", "shop", "--reason", "v1 is wanted by the next scene")
        scene.until(baseline="v1")
        load.wait_for(20)
    nothing_failed(load)


def test_deleting_the_release_moves_no_request(empty_shop, controller):
    """flagger #1562: deleting the Canary takes routes and primary away, and the service is down until somebody scales
    the old Deployment up by hand."""
    for version in ("v1", "v2"):
        empty_shop.deploy(version, wait=False)
    for version in ("v1", "v2"):
        empty_shop.wait_ready(version)
    scene = Scene(empty_shop, controller)
    scene.begin("v1")
    with empty_shop.load(RPS) as load:
        scene.reach("v2", 10)
        empty_shop.cluster.kubectl("delete", "release", "shop", "-n", empty_shop.namespace, "--wait=true")
        load.wait_for(300)
        assert (scene.share("v1"), scene.share("v2")) == (90, 10)
    nothing_failed(load)
