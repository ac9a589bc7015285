"""Routes that meshctl generates on Istio: whose they are, in which order they change, what other hands do to them."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

from meshctl.adapters.envoy.files import wait_until
from meshctl.adapters.istio import looking, proxies
from meshctl.adapters.istio import mesh as mesh_module
from meshctl.adapters.istio.wayback import WAY_BACK_ANNOTATION, lower_routes
from meshctl.adapters.kubernetes.api import Patch
from meshctl.adapters.kubernetes.kinds import (
    DESTINATION_RULE,
    ENDPOINT_SLICE,
    KINDS,
    POD,
    RELEASE,
    SERVICE,
    VIRTUAL_SERVICE,
)
from meshctl.core.errors import Conflict, Forbidden, InvalidInput, Refused
from meshctl.core.model import MeshSpec, Ownership, Routing
from meshctl.core.routes import subset_labels
from tests.adapters.istio_world import NEW, OLD, RENDERER, IstioWorld, root

MESH = (VIRTUAL_SERVICE, DESTINATION_RULE)


@pytest.fixture(autouse=True)
def brisk(monkeypatch):
    """What was written just before is on its way for a moment only."""
    monkeypatch.setattr(proxies, "SETTLE_S", 0.05)


@pytest.fixture
def world() -> IstioWorld:
    return IstioWorld()


@pytest.fixture
def shop(world) -> IstioWorld:
    """Both versions known, everything to the old one, in effect."""
    world.begin()
    assert world.mesh.confirm(world.release, world.apply(0.0), 5.0)
    world.api.calls.clear()
    return world


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(mesh_module, "WARM_S", 0.2)
    monkeypatch.setattr(mesh_module, "SETTLE_S", 0.2)


def writes(world):
    return [(call.verb, call.kind.name) for call in world.api.calls if call.kind in MESH and call.verb not in READS]


READS = ("get", "list", "watch")


# ------------------------------------------------------------------------------------ whose they are


def test_generated_objects_name_their_release_and_belong_to_one_manager(world):
    world.begin()
    for each in (world.service, world.rule):
        meta = each["metadata"]
        assert meta["labels"]["meshctl.dev/release"] == "shop"
        assert "ownerReferences" not in meta
        assert ("meshctl-controller", "Apply") in [(own["manager"], own["operation"]) for own in meta["managedFields"]]


@pytest.mark.parametrize("kind", MESH, ids=lambda kind: kind.name)
def test_a_foreign_object_of_the_same_name_is_refused_and_its_manager_named(world, kind):
    spec = {"hosts": ["shop"], "http": []} if kind is VIRTUAL_SERVICE else {"host": "shop"}
    body = {
        "apiVersion": kind.api_version,
        "kind": kind.name,
        "metadata": {"name": "shop", "namespace": "default"},
        "spec": spec,
    }
    theirs = world.user.patch(kind, "shop", "default", body, form=Patch.APPLY, manager="argocd-controller")
    with pytest.raises(Refused, match=r"is there already and not meshctl's: written by argocd-controller"):
        world.begin()
    assert world.user.get(kind, "shop", "default") == theirs
    if kind is VIRTUAL_SERVICE:
        with pytest.raises(Refused, match="ownership: adopt"):
            world.mesh.read(world.release)


def test_an_object_that_appears_between_looking_and_writing_is_not_overwritten(world):
    theirs = {"metadata": {"name": "shop", "namespace": "default"}, "spec": {"hosts": ["shop"], "http": []}}

    def before(call):
        if (call.verb, call.kind) == ("create", VIRTUAL_SERVICE):
            world.api.before = None
            world.user.create(VIRTUAL_SERVICE, theirs)

    world.api.before = before
    with pytest.raises(Conflict):
        world.begin()
    assert world.service["spec"] == theirs["spec"]


def test_labels_and_annotations_of_others_stay_and_generated_fields_are_taken_back(shop):
    def change(service):
        service["metadata"]["labels"]["team"] = "shop"
        service["metadata"]["annotations"]["argocd.argoproj.io/tracking-id"] = "x"
        service["spec"]["http"][-1]["retries"] = {"attempts": 9}

    shop.change_service(change)
    shop.apply(10.0)
    service = shop.service
    assert service["metadata"]["labels"]["team"] == "shop"
    assert service["metadata"]["annotations"]["argocd.argoproj.io/tracking-id"] == "x"
    assert "retries" not in service["spec"]["http"][-1]
    assert shop.weights() == {"v2-0-0": 900, "v2-1-0": 100}


def test_the_same_objects_again_write_nothing(shop):
    first = shop.apply(10.0)
    shop.api.calls.clear()
    assert shop.apply(10.0) == first
    assert writes(shop) == []


def test_looking_writes_nothing_and_asks_for_nothing_but_three_objects(shop):
    shop.mesh.read(shop.release)
    assert [(call.verb, call.kind.name) for call in shop.api.calls] == [
        ("get", "VirtualService"),
        ("get", "DestinationRule"),
        ("get", "Release"),
    ]


def test_a_release_made_anew_under_the_same_name_is_not_aborted_by_the_marks_of_the_one_before(shop):
    shop.apply(10.0)
    shop.mesh.lower(shop.release, "shop-1")
    shop.user.delete(RELEASE, "shop", "default", propagation="Orphan")
    shop.user.create(RELEASE, {"metadata": {"name": "shop", "namespace": "default"}, "spec": {}})
    live = shop.mesh.read(shop.release)
    assert (live.run, live.aborted) == ("", False)


def test_a_release_acts_in_its_own_namespace_only(world):
    release = world.release
    world.release = replace(release, spec=replace(release.spec, mesh=MeshSpec(hosts=("shop.bank.svc.cluster.local",))))
    with pytest.raises(InvalidInput, match=r"spec\.mesh\.hosts\.0: 'shop\.bank\.svc\.cluster\.local' is not a service"):
        world.begin()
    with pytest.raises(InvalidInput, match="is not a service"):
        world.mesh.read(world.release)
    assert writes(world) == []
    world.release = release
    world.begin()
    world.apply(10.0)
    world.mesh.lower(release, "shop-1")
    assert {call.namespace for call in world.api.calls if call.kind in KINDS} == {"default"}


@pytest.mark.parametrize("name", ["grpc", "tcp-db"])
def test_a_service_without_http_is_refused_by_name(world, name):
    service = world.user.get(SERVICE, "shop", "default")
    world.user.replace(SERVICE, {**service, "spec": {"ports": [{"port": 80, "name": name}]}})
    spoken = name.partition("-")[0]
    with pytest.raises(Refused, match=f"Service default/shop speaks {spoken}; gRPC and TCP routes are not supported"):
        world.begin()
    assert writes(world) == []


# ------------------------------------------------------------------------------------ make before break


def test_the_subset_comes_before_the_route_and_goes_after_it(shop):
    shop.release = replace(shop.release, spec=replace(shop.release.spec, version="3.0.0"))
    shop.api.calls.clear()
    shop.mesh.apply(shop.release, RENDERER.render(shop.release, Routing(OLD, "3.0.0", 0.0, "shop-2")))
    assert writes(shop) == [("patch", "DestinationRule"), ("patch", "VirtualService"), ("patch", "DestinationRule")]
    assert set(subset_labels(shop.rule)) == {"v2-0-0", "v3-0-0"}


def test_a_subset_that_a_proxy_may_still_use_stays_until_the_next_write(shop, impatient):
    shop.istiod.stuck = True
    shop.mesh.apply(shop.release, shop.alone(OLD, run="shop-2"))
    assert set(subset_labels(shop.rule)) == {"v2-0-0", "v2-1-0"}
    assert list(shop.weights()) == ["v2-0-0"]
    shop.mesh.apply(shop.release, shop.alone(OLD, run="shop-3"))
    assert set(subset_labels(shop.rule)) == {"v2-0-0", "v2-1-0"}, "not yet either: nothing is known of the proxies"
    shop.istiod.stuck = False
    shop.mesh.apply(shop.release, shop.alone(OLD, run="shop-4"))
    assert set(subset_labels(shop.rule)) == {"v2-0-0"}


def test_traffic_is_not_sent_where_no_pod_is_ready(shop):
    shop.start_pods(NEW, ready=False)
    before = shop.service
    with pytest.raises(Refused, match=rf"no ready pod behind Service shop where traffic is to go \({NEW} 0\)"):
        shop.apply(10.0)
    assert shop.service == before


def test_a_pod_that_is_being_deleted_counts_for_nothing_though_it_is_still_an_endpoint(shop):
    for pod in shop.user.list(POD, "default", labels=f"version={NEW}").items:
        pod["metadata"]["finalizers"] = ["example.com/wait"]
        shop.user.replace(POD, pod)
        shop.user.delete(POD, pod["metadata"]["name"], "default")
    with pytest.raises(Refused, match="no ready pod behind Service shop"):
        shop.apply(10.0)


def test_why_a_write_was_refused_is_told_with_the_routes_until_one_succeeds(shop):
    shop.start_pods(NEW, ready=False)
    with pytest.raises(Refused):
        shop.apply(10.0)
    live = shop.mesh.read(shop.release)
    assert live.in_effect
    assert "no ready pod behind Service shop" in live.lacks
    shop.start_pods(NEW)
    shop.apply(10.0)
    assert "no ready pod" not in shop.mesh.read(shop.release).lacks


def test_traffic_is_not_sent_before_every_proxy_knows_the_subset(world, impatient):
    world.begin()
    assert world.mesh.confirm(world.release, world.mesh.read(world.release).revision, 5.0)
    world.istiod.stuck = True
    before = world.service
    with pytest.raises(Refused, match=r"edge-0\.istio-system has not been given the subset v2-1-0 yet; no route was"):
        world.apply(10.0)
    assert world.service == before
    world.istiod.stuck = False
    world.apply(10.0)
    assert world.weights() == {"v2-0-0": 900, "v2-1-0": 100}


def test_the_first_routes_of_all_wait_for_the_subset_too(world, impatient):
    world.istiod.stuck = True
    with pytest.raises(Refused, match="no route was changed"):
        world.begin()
    assert world.user.find(VIRTUAL_SERVICE, "shop", "default") is None


def test_nothing_holds_up_a_way_back(shop, impatient):
    shop.apply(50.0)
    shop.istiod.stuck = True
    for version in (OLD, NEW):
        shop.start_pods(version, ready=False)
    shop.apply(10.0)
    assert shop.weights() == {"v2-0-0": 900, "v2-1-0": 100}
    shop.mesh.apply(shop.release, shop.objects(0.0, aborted=True))
    assert shop.weights() == {"v2-0-0": 1000, "v2-1-0": 0}
    assert shop.mesh.read(shop.release).aborted


# ------------------------------------------------------------------------------------ lowering


def test_lowering_is_one_write_and_needs_no_other_right(shop):
    shop.apply(10.0)
    anna = shop.api.seen_by("anna")
    for kind in KINDS:
        for verb in ("get", "list", "watch", "create", "update", "patch", "delete"):
            if (verb, kind) not in {("get", VIRTUAL_SERVICE), ("patch", VIRTUAL_SERVICE)}:
                anna.deny(verb, kind)
    assert lower_routes(anna, shop.release, "shop-1")
    assert [call.verb for call in anna.calls if call.kind is VIRTUAL_SERVICE] == ["get", "patch"]
    assert shop.weights() == {"v2-0-0": 1000, "v2-1-0": 0}
    assert shop.service["metadata"]["annotations"]["meshctl.dev/aborted"] == "shop-1"
    anna.deny("patch", VIRTUAL_SERVICE)
    shop.apply(10.0, run="shop-2")
    with pytest.raises(Forbidden):
        lower_routes(anna, shop.release, "shop-2")


def test_a_lowering_that_meets_another_writer_begins_anew(shop):
    shop.apply(10.0)

    def before(call):
        if (call.verb, call.kind) == ("patch", VIRTUAL_SERVICE):
            shop.api.before = None
            shop.meddle({OLD: 20.0, NEW: 80.0})

    shop.api.before = before
    shop.mesh.lower(shop.release, "shop-1")
    assert shop.weights() == {"v2-0-0": 1000, "v2-1-0": 0}


def test_a_lowering_does_not_touch_a_run_that_takes_over_meanwhile(shop):
    shop.apply(10.0)

    def before(call):
        if (call.verb, call.kind) == ("patch", VIRTUAL_SERVICE):
            shop.api.before = None
            body = [{"op": "replace", "path": "/metadata/annotations/meshctl.dev~1run", "value": "shop-2"}]
            shop.user.patch(VIRTUAL_SERVICE, "shop", "default", body, form=Patch.JSON)

    shop.api.before = before
    with pytest.raises(Conflict, match="belong to shop-2"):
        shop.mesh.lower(shop.release, "shop-1")
    assert shop.weights() == {"v2-0-0": 900, "v2-1-0": 100}


def test_lowering_without_a_way_back_is_refused_and_says_what_to_do(shop):
    shop.apply(10.0)
    shop.remove_annotation(WAY_BACK_ANNOTATION)
    with pytest.raises(Refused, match="carries no way back"):
        shop.mesh.lower(shop.release, "shop-1")


def test_lowering_takes_what_a_stranger_gets_too(shop):
    shop.apply(10.0)

    def change(service):
        service["spec"]["http"][-1]["route"].append({"destination": {"host": "other"}, "weight": 500})

    shop.change_service(change)
    shop.mesh.lower(shop.release, "shop-1")
    assert shop.mesh.read(shop.release).weights[OLD] == 100.0


def test_previews_stay_what_they_are(shop):
    previews = shop.service["spec"]["http"][:2]
    shop.apply(10.0)
    shop.mesh.lower(shop.release, "shop-1")
    assert shop.service["spec"]["http"][:2] == previews


# ------------------------------------------------------------------------------------ drift


def test_weights_are_relative_whatever_they_sum_to(shop):
    def change(service):
        for each, weight in zip(service["spec"]["http"][-1]["route"], (1, 2), strict=True):
            each["weight"] = weight

    shop.change_service(change)
    assert shop.mesh.read(shop.release).weights == {OLD: pytest.approx(100 / 3), NEW: pytest.approx(200 / 3)}


def test_strangers_among_the_destinations_are_told_by_name(shop):
    def change(service):
        route = service["spec"]["http"][-1]["route"]
        route[0]["weight"] = 500
        route.append({"destination": {"host": "shop.bank.svc.cluster.local", "subset": "v1"}, "weight": 300})
        route.append({"destination": {"host": "shop"}, "weight": 200})

    shop.change_service(change)
    assert shop.mesh.read(shop.release).weights == {
        OLD: 50.0,
        NEW: 0.0,
        "shop.bank.svc.cluster.local/v1": 30.0,
        "shop.default.svc.cluster.local": 20.0,
    }


def test_a_route_that_answers_by_itself_is_a_stranger(shop):
    def change(service):
        service["spec"]["http"][-1] = {"name": "main", "redirect": {"uri": "/sorry"}}

    shop.change_service(change)
    assert shop.mesh.read(shop.release).weights == {"spec.http[2] (main) redirect": 100.0}


def _second_route(service):
    """A route of another path, beside the main one."""
    main = copy.deepcopy(service["spec"]["http"][-1])
    main |= {"name": "slow", "match": [{"uri": {"prefix": "/slow"}}]}
    service["spec"]["http"].insert(2, main)


@pytest.mark.parametrize(("changed", "read"), [(50.0, 50.0), (0.0, 0.0), (10.0, 10.0)])
@pytest.mark.parametrize("route", ["slow", "main"])
def test_one_of_several_routes_that_was_changed_is_seen(shop, route, changed, read):
    shop.apply(10.0)
    shop.change_service(_second_route)
    shop.meddle({OLD: 100.0 - changed, NEW: changed}, (route,))
    assert shop.mesh.read(shop.release).weights[NEW] == read


def test_a_destination_rule_that_is_gone_is_not_in_effect_and_written_anew(shop):
    shop.apply(10.0)
    shop.user.delete(DESTINATION_RULE, "shop", "default")
    live = shop.mesh.read(shop.release)
    assert not live.in_effect
    assert live.lacks == "no DestinationRule of shop declares the subset v2-0-0, v2-1-0"
    assert OLD not in live.weights
    shop.apply(10.0)
    assert shop.mesh.read(shop.release).weights == {OLD: 90.0, NEW: 10.0}
    assert set(subset_labels(shop.rule)) == {"v2-0-0", "v2-1-0"}


def test_routes_that_somebody_deleted_are_none_and_written_anew(shop):
    shop.user.delete(VIRTUAL_SERVICE, "shop", "default")
    assert shop.mesh.read(shop.release) is None
    shop.begin()
    assert shop.weights() == {"v2-0-0": 1000}


# ------------------------------------------------------------------------------------ delegates


def test_a_delegate_has_no_hosts_and_is_in_effect_through_its_root():
    world = IstioWorld(Ownership.DELEGATE)
    revision = world.begin()
    assert not {"hosts", "gateways"} & set(world.service["spec"])
    assert world.mesh.confirm(world.release, revision, 5.0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (None, r"no VirtualService delegates to VirtualService default/shop; a route of yours must: delegate: \{name"),
        ({"delegate": {"name": "other"}}, "no VirtualService delegates to VirtualService default/shop"),
        ({"delegate": {"name": "shop", "namespace": "bank"}}, "no VirtualService delegates"),
        ({"route": [{"destination": {"host": "shop"}}]}, r"spec\.http\[0\] delegates to .* and has a route too"),
    ],
)
def test_a_delegate_without_a_root_is_written_but_gets_no_candidate(change, said):
    world = IstioWorld(Ownership.DELEGATE)
    world.user.delete(VIRTUAL_SERVICE, "front", "default")
    if change is not None:
        world.user.create(VIRTUAL_SERVICE, root(**change))
    world.begin()
    live = world.mesh.read(world.release)
    assert not live.in_effect
    assert live.lacks
    world.apply(0.0)
    with pytest.raises(Refused, match=said):
        world.apply(1.0)


def test_a_root_that_is_a_delegate_itself_is_one_level_too_many():
    world = IstioWorld(Ownership.DELEGATE)
    front = world.user.get(VIRTUAL_SERVICE, "front", "default")
    del front["spec"]["hosts"]
    world.user.replace(VIRTUAL_SERVICE, front)
    world.begin()
    assert world.mesh.read(world.release).lacks == (
        "VirtualService default/front delegates to VirtualService default/shop and is a delegate itself; "
        "Istio follows one level only"
    )


def test_a_root_may_be_in_another_namespace_and_its_own_is_enough_where_no_other_may_be_read():
    world = IstioWorld(Ownership.DELEGATE)
    front = root()
    front["metadata"]["namespace"] = "istio-system"
    world.user.create(VIRTUAL_SERVICE, front)
    world.user.delete(VIRTUAL_SERVICE, "front", "default")
    assert world.mesh.confirm(world.release, world.begin(), 5.0)
    world = IstioWorld(Ownership.DELEGATE)
    listed = world.api.list

    def only_here(kind, namespace="", **options):
        if kind is VIRTUAL_SERVICE and not namespace:
            raise Forbidden("listing virtualservices in all namespaces")
        return listed(kind, namespace, **options)

    world.api.list = only_here
    assert world.mesh.confirm(world.release, world.begin(), 5.0)


def test_routes_that_another_object_shadows_are_told_with_that_reason(world, monkeypatch):
    monkeypatch.setattr(looking, "WONDER_S", 0.1)
    other = {"metadata": {"name": "old", "namespace": "default"}, "spec": {"hosts": ["shop"], "http": []}}
    world.user.create(VIRTUAL_SERVICE, other)
    for connection in world.istiod.connections.values():
        connection.sees = lambda host: False
    world.begin()
    said = "perhaps since VirtualService default/old takes shop.default.svc.cluster.local at mesh too"
    assert wait_until(lambda: said in world.mesh.read(world.release).lacks, 5.0)


def test_endpoints_and_pods_are_read_in_the_releases_namespace(shop):
    shop.apply(10.0)
    asked = [call for call in shop.api.calls if call.kind in (ENDPOINT_SLICE, POD)]
    assert asked
    assert {call.namespace for call in asked} == {"default"}
